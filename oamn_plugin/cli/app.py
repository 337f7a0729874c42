"""Opens a page on this computer to search with: drop an image of a person, see the ranked gallery and why.

oamn app                                   the packaged model on the embedded data set
oamn app --index INDEX [--run RUN_DIR]     galleries and models of your own, as many as you like

Only this computer can reach the page. It reads the uploaded image and the galleries it was started with, nothing else.
Needs the extra: pip install oamn_plugin[app]
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import html
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oamn_plugin.errors import ExpectedError, need

PACKAGED = "packaged small model"
LOOPBACK = "127.0.0.1"
UPLOAD_LIMIT = "20mb"
CSS = """
.gradio-container {
  width: 100% !important; max-width: 86rem !important; margin: 0 auto !important;
  padding: 2.2rem 1.2rem 3rem !important;
}
#title h1 { font-size: 1.9rem; font-weight: 650; letter-spacing: -.02em; margin-bottom: .2rem; }
#title p { opacity: .7; font-size: 1.02rem; }
#results { min-height: 12rem; }
.note { border: 1px solid var(--border-color-primary); border-radius: .7rem; padding: 1.6rem; opacity: .8; }
.problem { border: 1px solid #ce423a; border-radius: .7rem; padding: 1rem 1.2rem; overflow-wrap: anywhere; }
footer { display: none !important; }
"""
WELCOME = "<div class='note'>Drop an image of a person, occluded or not. The gallery is ranked twice: unified, every \
gallery image covered the way the query is, and plain.</div>"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", nargs="+", default=[], metavar="INDEX", help="folders of oamn search index")
    runs = "folders of training runs (config.yaml and model_final.pth), beside the packaged model"
    parser.add_argument("--run", nargs="+", default=[], metavar="RUN_DIR", help=runs)
    parser.add_argument("--size", default="demo", help="size of the embedded set without --index (default demo)")
    parser.add_argument("--port", type=int, default=7860, help="default 7860; 0: any free one")
    parser.add_argument("--host", default=LOOPBACK, help="another address lets others on the network in: take care")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serves the page until interrupted."""
    args = build_parser().parse_args(argv)
    quiet_gradio()
    need("gradio")
    serve(Session(model_loaders(args.run), index_folders(args)), args)
    return 0


def quiet_gradio() -> None:
    """No statistics, no version check, no hub: nothing needs a network. Uploads lie in a folder of their own."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    uploads = tempfile.mkdtemp(prefix="oamn-app-")
    os.environ["GRADIO_TEMP_DIR"] = uploads
    atexit.register(shutil.rmtree, uploads, ignore_errors=True)


def model_loaders(runs: list[str]) -> dict[str, Callable[[], Any]]:
    """Names of the models to choose from, and what loads them."""
    from functools import partial

    from oamn_plugin.hosts.encoder import load_model
    from oamn_plugin.modeling.packaged import is_packaged

    found: dict[str, Callable[[], Any]] = {}
    for run in runs:
        folder = Path(run)
        for name in ("config.yaml", "model_final.pth"):
            if not (folder / name).is_file():
                raise ExpectedError(f"{folder} is no folder of a training run: it has no {name}")
        found[folder.name] = partial(load_model, str(folder / "config.yaml"), str(folder / "model_final.pth"))
    if is_packaged():
        found[PACKAGED] = load_model
    if not found:
        raise ExpectedError("there is no model: no weights are packaged, so name a run with --run RUN_DIR")
    return found


def index_folders(args: argparse.Namespace) -> dict[str, Path]:
    """Names of the galleries to choose from, and their folders; the embedded set's is built if there is none."""
    found = {Path(folder).name: Path(folder) for folder in args.index}
    for folder in found.values():
        if not (folder / "index.json").is_file():
            raise ExpectedError(f"{folder} is no gallery index: build one with oamn search index")
    return found or {"embedded data set": embedded_index(args)}


def embedded_index(args: argparse.Namespace) -> Path:
    """The index of the embedded data set's gallery, beside the data set."""
    from oamn_plugin.datasets.embedded import ensure
    from oamn_plugin.search.gallery import read_gallery
    from oamn_plugin.search.index import GalleryIndex

    encoder = next(iter(model_loaders(args.run).values()))()
    data = ensure(size=args.size)
    identity = json.dumps(encoder.identity(), sort_keys=True)  # other settings need another index, as other weights do
    folder = data.parent / f"{data.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.index"
    print(f"gallery: {data / 'bounding_box_test'}; images to try: {data / 'query'}")
    GalleryIndex(folder, encoder, progress=True).add(read_gallery(data / "bounding_box_test"))
    return folder


class Session:
    """The models and galleries of a page; each is loaded when it is first chosen.

    Args:
        models: name to loader.
        indexes: name to folder.
    """

    def __init__(self, models: dict[str, Callable[[], Any]], indexes: dict[str, Path]) -> None:
        self.models, self.indexes = models, indexes
        self._encoders: dict[str, Any] = {}
        self._indexes: dict[tuple[str, str], Any] = {}

    def search(self, path: str | None, model: str, gallery: str, topk: float) -> str:
        """HTML of what was found for an uploaded file, or of what is wrong with it."""
        from oamn_plugin.datasets.images import read_image
        from oamn_plugin.search.gallery import read_gallery
        from oamn_plugin.search.page import render_fragment
        from oamn_plugin.search.results import search

        if not path:
            return WELCOME
        try:
            uploads = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
            if uploads not in Path(path).resolve().parents:
                raise ExpectedError("only uploaded images can be searched for")
            picture = read_image(path)
            encoder, index = self._load(model, gallery)
            query = read_gallery(path)[0]
            results, _ = search(index, encoder, [query], [picture], max(1, int(topk)))
            return render_fragment(results, encoder)
        except ExpectedError as error:
            message = str(error).replace(str(Path(path).parent) + os.sep, "")  # the name as the user knows it
            return f"<div class='problem' role='alert'>{html.escape(message)}</div>"

    def _load(self, model: str, gallery: str) -> tuple[Any, Any]:
        from oamn_plugin.search.index import GalleryIndex

        if model not in self.models or gallery not in self.indexes:
            raise ExpectedError("choose a model and a gallery of the lists")
        if model not in self._encoders:
            self._encoders[model] = self.models[model]()
        key = model, gallery
        if key not in self._indexes:
            self._indexes[key] = GalleryIndex(self.indexes[gallery], self._encoders[model])
        return self._encoders[model], self._indexes[key]


def build_page(session: Session) -> Any:
    """The page."""
    import gradio as gr

    with gr.Blocks(title="Person search", analytics_enabled=False, delete_cache=(60, 600)) as page:
        gr.Markdown("# Person search\nAn occluded person in, a ranked gallery out.", elem_id="title")
        with gr.Row(equal_height=True):
            upload = gr.File(label="Image of a person", type="filepath", height=168, scale=2, elem_id="upload")
            with gr.Column(scale=3, min_width=320):
                models, galleries = list(session.models), list(session.indexes)
                with gr.Row():
                    model = gr.Dropdown(models, value=models[0], label="Model", elem_id="model")
                    gallery = gr.Dropdown(galleries, value=galleries[0], label="Gallery", elem_id="gallery")
                topk = gr.Slider(5, 50, value=10, step=5, label="Matches", elem_id="topk")
        results = gr.HTML(WELCOME, elem_id="results", padding=False)
        inputs = [upload, model, gallery, topk]
        gr.on(
            [upload.change, model.change, gallery.change, topk.release],
            session.search,
            inputs,
            results,
            api_name="search",
            concurrency_limit=1,
        )
    return page


def serve(session: Session, args: argparse.Namespace) -> None:
    """Serves the page until interrupted."""
    import gradio as gr

    plain = ["ui-sans-serif", "system-ui", "sans-serif"]  # nothing is fetched from a font service
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", font=plain, font_mono=["ui-monospace", "monospace"]
    ).set(body_background_fill="#faf9f6", body_background_fill_dark="#15181b", block_radius="0.7rem")
    port = args.port or free_port()
    print(f"the page is at http://{args.host}:{port} (Ctrl+C ends it)", flush=True)
    build_page(session).launch(
        server_name=args.host, server_port=port, inbrowser=args.open, share=False, quiet=True,
        ssr_mode=False, theme=theme, css=CSS, max_file_size=UPLOAD_LIMIT, allowed_paths=[], footer_links=[],
        enable_monitoring=False, pwa=False, mcp_server=False,
    )  # fmt: skip


def free_port() -> int:
    """A port that nothing listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
