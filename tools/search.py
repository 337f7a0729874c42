#!/usr/bin/env python
"""Finds a person in a gallery: builds the index of a folder of crops, then ranks it for query images.

python tools/search.py index GALLERY --out INDEX
python tools/search.py query IMAGE... --index INDEX --html result.html
python tools/search.py remove IMAGE... --index INDEX

GALLERY is a folder or a CSV file (columns path, and if known pid, camid and any others). Without --weights and
--config-file the small model that ships with the package is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone without installation

from oamn_plugin.hosts.encoder import add_model_arguments
from oamn_plugin.occlusion import OCCLUSION_TYPES


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    index = commands.add_parser("index", help="build an index, add to it, or carry on with an interrupted build")
    index.add_argument("gallery", help="folder with images, or CSV file")
    index.add_argument(
        "--out", required=True, metavar="INDEX", help="folder, or place in Milvus; what exists is added to"
    )
    types = "occlusion types to build; default: all nine, or those the index has; others on demand"
    index.add_argument("--types", nargs="+", metavar="TYPE", choices=OCCLUSION_TYPES, help=types)
    index.add_argument("--approximate", action="store_true", help="add a quick search, for large galleries")
    index.add_argument("--target-recall", type=float, default=0.95, help="share of the ten nearest that it must find")
    index.add_argument("--num-gpus", type=int, default=1, help="processes that share the encoding")
    query = commands.add_parser("query", help="search for images")
    query.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or CSV files")
    query.add_argument("--index", required=True, metavar="INDEX", help="folder, or place in Milvus")
    query.add_argument("--topk", type=int, default=20, help="matches a query (default 20)")
    query.add_argument("--json", metavar="FILE", help="write the results as JSON; - for the terminal")
    query.add_argument("--html", metavar="FILE", help="write the results as one HTML page")
    query.add_argument("--max-pages", type=int, default=20, help="queries shown on the HTML page (default 20)")
    query.add_argument("--other-cameras", action="store_true", help="leave out the query's person in its own camera")
    query.add_argument("--evaluate", action="store_true", help="score the queries by their identities and cameras")
    remove = commands.add_parser("remove", help="take images out of an index")
    remove.add_argument("images", nargs="+", metavar="IMAGE", help="paths of the images")
    remove.add_argument("--index", required=True, metavar="INDEX", help="folder, or place in Milvus")
    for command in (index, query):
        command.add_argument("--pattern", help="regular expression for file names with the groups pid and camid")
        add_model_arguments(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; expected errors are one message and exit code 2."""
    args = build_parser().parse_args(argv)
    from oamn_plugin.errors import ExpectedError

    try:
        return {"index": run_index, "query": run_query, "remove": run_remove}[args.command](args)
    except ExpectedError as error:
        print(f"search: {error}", file=sys.stderr)
    except OSError as error:
        print(f"search: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    return 2


def run_index(args: argparse.Namespace) -> int:
    """Builds or extends an index."""
    from oamn_plugin.hosts.encoder import load_model
    from oamn_plugin.search.locations import open_index
    from oamn_plugin.search.workers import together

    if args.num_gpus > 1:
        return run_together(args.num_gpus)
    images = read_images([args.gallery], args.pattern)
    encoder = load_model(args.config_file, args.weights, args.opts)
    with together(encoder) as first:
        index = open_index(args.out, encoder, progress=first)
        if first and index.unfinished:
            print(f"carrying on with an interrupted build of {index.folder}")
        added = index.add(images, args.types)
    if not first:
        return 0
    print(f"{index.folder}: {len(index)} images, {added} of them new; types: {', '.join(index.types)}")
    if index.changes.replaced or index.changes.relabelled:
        print(f"{index.changes.replaced} replaced files encoded anew, {index.changes.relabelled} images labelled anew")
    if index.vanished:
        print(f"{len(index.vanished)} files are gone, such as {index.vanished[0]}; remove takes them out")
    if args.approximate:
        for trial in index.quantise(args.target_recall):
            chosen = "  <- chosen" if trial == index.approximate else ""
            print(f"recall@10 {trial.recall:.3f}  {trial.milliseconds:7.2f} ms  {trial.probes:5} lists  "
                  f"{trial.candidates:4} candidates{chosen}")  # fmt: skip
    unreadable = {image.path for image in images} & set(index.unreadable)
    if unreadable:
        print(f"{len(unreadable)} images could not be read and are left out:")
        for path in sorted(unreadable):
            print(f"  {path}: {index.unreadable[path]}")
    return 0


def run_together(count: int) -> int:
    """Starts the same command in several processes that share the encoding."""
    import subprocess

    own = [word for word in sys.argv[1:] if not word.startswith("--num-gpus=")]
    if "--num-gpus" in own:
        place = own.index("--num-gpus")
        del own[place : place + 2]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return subprocess.run([sys.executable, *start, sys.argv[0], *own]).returncode


def run_query(args: argparse.Namespace) -> int:
    """Searches, and shows what was found."""
    from oamn_plugin.datasets.images import read_image
    from oamn_plugin.hosts.encoder import load_model
    from oamn_plugin.search.locations import open_index
    from oamn_plugin.search.page import render_search
    from oamn_plugin.search.results import search, to_json, to_text

    queries = read_images(args.images, args.pattern)
    encoder = load_model(args.config_file, args.weights, args.opts)
    index = open_index(args.index, encoder, progress=True)
    pictures = [read_image(query.path) for query in queries]
    results, described = search(index, encoder, queries, pictures, args.topk, args.other_cameras)
    scores = evaluate(index, described, queries) if args.evaluate else {}
    content: dict[str, Any] = {"index": str(index.folder), "gallery": len(index), "queries": to_json(results)}
    if scores:
        content["scores"] = scores
    if args.json == "-":
        print(json.dumps(content, indent=2))
    else:
        print(to_text(results, shown=min(args.topk, 10)))
        for line in score_lines(scores):
            print(line)
    if args.json and args.json != "-":
        Path(args.json).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if args.html:
        lead = f"{len(index)} gallery images, searched with and without occlusion unification."
        page = render_search(results[: args.max_pages], encoder, "Person search", lead, score_lines(scores))
        Path(args.html).write_text(page, encoding="utf-8")
        print(f"wrote {args.html}", file=sys.stderr)
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Takes images out."""
    from oamn_plugin.search.locations import open_index

    index = open_index(args.index)
    print(f"{index.folder}: removed {index.remove(args.images)} images, {len(index)} are left")
    return 0


def read_images(sources: list[str], pattern: str | None) -> list[Any]:
    """The images of all sources."""
    from oamn_plugin.search.gallery import PATTERN, read_gallery

    return [image for source in sources for image in read_gallery(source, pattern or PATTERN)]


def evaluate(index: Any, described: Any, queries: list[Any]) -> dict[str, dict[str, float]]:
    """The evaluator's scores in percent, with unification and without."""
    from oamn_plugin.errors import ExpectedError

    try:
        return {
            name: index.evaluate(one, queries, plain=name == "plain").to_percent()
            for name, one in described._asdict().items()
        }
    except ValueError as error:
        raise (
            error if isinstance(error, ExpectedError) else ExpectedError(f"cannot score these queries: {error}")
        ) from error


def score_lines(scores: dict[str, dict[str, float]]) -> list[str]:
    """The scores in a line each."""
    return [
        f"{name}: Rank-1 {score['Rank-1']:.2f} %, mAP {score['mAP']:.2f} % over {score['num_query']} queries"
        for name, score in scores.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
