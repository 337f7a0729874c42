"""Opens a page on this computer to search with: drop an image of a person, see the ranked gallery and why.

oamn app                     the packaged model on the embedded data set
oamn app --index INDEX...    galleries of your own, each with the model that it was built with
oamn app --run RUN_DIR...    models of your own, on the embedded data set or for indexes that do not name their model

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

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError, need

LOOPBACK = "127.0.0.1"
UPLOAD_LIMIT = 20 * 1024 * 1024
"""Bytes of an uploaded image."""
WAITING = 16
"""Searches that may wait for the one that runs."""
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
WELCOME = "<div class='note'>Drop an image of a person, occluded or not. The gallery is ranked plainly and, unless its \
index compares plainly, unified: every gallery image covered where the query is covered.</div>"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--index", nargs="+", default=[], metavar="INDEX", help="folders of oamn search index")
    runs = "folders of training runs (config.yaml and model_final.pth)"
    parser.add_argument("--run", nargs="+", default=[], metavar="RUN_DIR", help=runs)
    parser.add_argument("--size", default="tiny", help="size of the embedded set without --index (default tiny)")
    parser.add_argument("--port", type=int, default=7860, help="default 7860; 0: any free one")
    parser.add_argument("--host", default=LOOPBACK, help="another address opens it to the network: take care")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serves the page until interrupted."""
    args = build_parser().parse_args(argv)
    quiet_gradio()
    need("gradio")
    args.port = usable_port(args.host, args.port)
    models = model_loaders(args.run)
    serve(Session(index_folders(args, models), models), args)
    return 0


def quiet_gradio() -> None:
    """No statistics, no version check, no hub: nothing needs a network. Uploads lie in a folder of their own."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    uploads = tempfile.mkdtemp(prefix="oamn-app-")
    os.environ["GRADIO_TEMP_DIR"] = uploads
    atexit.register(shutil.rmtree, uploads, ignore_errors=True)


def model_loaders(runs: list[str]) -> dict[str, Callable[[], Any]]:
    """Functions that load the model of each run, by its name; the packaged model if there are no runs."""
    from functools import partial

    from oamn_plugin.hosts.encoder import load_model

    for folder in map(Path, runs):
        for name in ("config.yaml", "model_final.pth"):
            if not (folder / name).is_file():
                raise ExpectedError(f"{folder} is no folder of a training run: it has no {name}")
    named = distinct_names(runs)
    found: dict[str, Callable[[], Any]] = {
        name: partial(load_model, str(run / "config.yaml"), str(run / "model_final.pth")) for name, run in named.items()
    }
    return found or {"packaged model": partial(load_model)}


def index_folders(args: argparse.Namespace, models: dict[str, Callable[[], Any]]) -> dict[str, Path]:
    """Names and folders of the galleries to choose from; without ``--index``, the embedded set's for every model."""
    found = distinct_names(args.index)
    for folder in found.values():
        if not (folder / "index.json").is_file():
            raise ExpectedError(f"{folder} is no gallery index: build one with oamn search index")
    return found or {f"embedded data set, {name}": embedded_index(args, load()) for name, load in models.items()}


def distinct_names(folders: list[str]) -> dict[str, Path]:
    """Folders by the shortest ends of their paths that tell them apart.

    >>> list(distinct_names(["/logs/a/street", "/logs/b/street", "/logs/shop", "/logs/shop/"]))
    ['a/street', 'b/street', 'shop']
    """
    paths = list(dict.fromkeys(Path(folder).expanduser().absolute() for folder in folders))
    found = {}
    for path in paths:
        others = [other for other in paths if other != path]
        ends = (Path(*path.parts[-count:]) for count in range(1, len(path.parts) + 1))
        end = next(
            (end for end in ends if not any(other.parts[-len(end.parts) :] == end.parts for other in others)), path
        )
        found[end.as_posix()] = path
    return found


def embedded_index(args: argparse.Namespace, encoder: Any) -> Path:
    """The index of the embedded data set's gallery, beside the data set."""
    from oamn_plugin.datasets.embedded import ensure
    from oamn_plugin.search.gallery import read_gallery
    from oamn_plugin.search.index import GalleryIndex

    data = ensure(size=args.size)
    identity = json.dumps(encoder.identity(), sort_keys=True)  # other settings need another index, as other weights do
    folder = data.parent / f"{data.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.index"
    print(f"gallery: {data / 'bounding_box_test'}; images to try: {data / 'query'}")
    GalleryIndex(folder, encoder, progress=True).add(read_gallery(data / "bounding_box_test"))
    return folder


class Session:
    """The galleries of a page, each with its model; they are loaded when first chosen.

    Args:
        indexes: name to folder.
        models: name to loader, for galleries that do not say how their model is loaded.
    """

    def __init__(self, indexes: dict[str, Path], models: dict[str, Callable[[], Any]]) -> None:
        self.indexes, self.models = indexes, models
        self._loaded: dict[str, tuple[Any, Any]] = {}

    def search(self, path: str | None, gallery: str, topk: float) -> str:
        """HTML of what was found for an uploaded file, or of what is wrong with it."""
        from oamn_plugin.datasets.images import read_image
        from oamn_plugin.search.calibration import usable_threshold
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
            encoder, index = self._load(gallery)
            threshold, reason = usable_threshold(index)
            note = f"<div class='note'>The threshold is not used: {html.escape(reason)}.</div>" if reason else ""
            query = read_gallery(path)[0]
            results, _ = search(index, encoder, [query], [picture], min(50, max(1, int(topk))), threshold=threshold)
            return note + render_fragment(results, encoder)
        except ExpectedError as error:
            message = str(error).replace(str(Path(path).parent) + os.sep, "")  # the name as the user knows it
            return f"<div class='problem' role='alert'>{html.escape(message)}</div>"

    def _load(self, gallery: str) -> tuple[Any, Any]:
        from oamn_plugin.search.index import GalleryIndex

        if gallery not in self.indexes:
            raise ExpectedError("choose a gallery of the list")
        if gallery not in self._loaded:
            folder = self.indexes[gallery]
            encoder = self._model_of(folder)
            self._loaded[gallery] = encoder, GalleryIndex(folder, encoder)
        return self._loaded[gallery]

    def _model_of(self, folder: Path) -> Any:
        """The model that an index names, else the one of those given that built it."""
        from oamn_plugin.hosts.encoder import index_model, load_index_model
        from oamn_plugin.search.index import GalleryIndex

        stored = index_model(folder)
        if stored:
            return load_index_model(stored)
        identity = GalleryIndex(folder).identity
        for load in self.models.values():
            encoder = load()
            if encoder.identity().weights == identity.weights:
                return encoder
        raise ExpectedError(f"the gallery {folder.name} was built with another model: name its run with --run RUN_DIR")


def build_page(session: Session) -> Any:
    """The page."""
    import gradio as gr

    with gr.Blocks(title="Person search", analytics_enabled=False, delete_cache=(60, 600)) as page:
        gr.Markdown("# Person search\nAn occluded person in, a ranked gallery out.", elem_id="title")
        with gr.Row(equal_height=True):
            upload = gr.File(label="Image of a person", type="filepath", height=168, scale=2, elem_id="upload")
            with gr.Column(scale=3, min_width=320):
                galleries = list(session.indexes)
                gallery = gr.Dropdown(galleries, value=galleries[0], label="Gallery", elem_id="gallery")
                topk = gr.Slider(5, 50, value=10, step=5, label="Matches", elem_id="topk")
        results = gr.HTML(WELCOME, elem_id="results", padding=False)
        inputs = [upload, gallery, topk]
        gr.on(
            [upload.change, gallery.change, topk.release],
            session.search,
            inputs,
            results,
            api_name="search",
            concurrency_limit=1,
        )
    return page.queue(max_size=WAITING)


def serve(session: Session, args: argparse.Namespace) -> None:
    """Serves the page until interrupted."""
    import socket

    import gradio as gr
    from starlette.middleware import Middleware

    from oamn_plugin.search.guard import LOCAL_NAMES, Guard

    plain = ["ui-sans-serif", "system-ui", "sans-serif"]  # nothing is fetched from a font service
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", font=plain, font_mono=["ui-monospace", "monospace"]
    ).set(body_background_fill="#faf9f6", body_background_fill_dark="#15181b", block_radius="0.7rem")
    names = {*LOCAL_NAMES, args.host.lower(), socket.gethostname().lower()}
    private = args.host.lower() in LOCAL_NAMES
    guard = Middleware(Guard, names=names, addresses=not private, largest=UPLOAD_LIMIT + 65536)  # a form adds bytes
    print(f"the page is at http://{args.host}:{args.port} (Ctrl+C ends it)", flush=True)
    try:
        build_page(session).launch(
            server_name=args.host, server_port=args.port, inbrowser=args.open, share=False, quiet=True,
            ssr_mode=False, theme=theme, css=CSS, max_file_size=UPLOAD_LIMIT, allowed_paths=[], footer_links=[],
            enable_monitoring=False, pwa=False, mcp_server=False, app_kwargs={"middleware": [guard]},
        )  # fmt: skip
    except OSError:  # gradio waits five seconds for its server and then speaks of ports
        raise ExpectedError(
            f"the page did not start at {args.host}:{args.port}: another program took the port, or this machine is "
            "busy. Try again, or with another --port; 0 takes a free one"
        ) from None


def usable_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        ExpectedError: there is no such port or address here, or something listens there.
    """
    import socket

    if not 0 <= port <= 65535:
        raise ExpectedError(f"--port must lie between 0 (any free one) and 65535, got {port}")
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = error.strerror or error
        raise ExpectedError(
            f"cannot listen at {host}:{port}: {reason}. Choose another --port; 0 takes a free one"
        ) from None
