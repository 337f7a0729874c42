"""Finds a person in a gallery: builds the index of a folder of crops, then ranks it for query images.

oamn search index GALLERY --out INDEX
oamn search query IMAGE... --index INDEX --html result.html
oamn search remove IMAGE... --index INDEX

GALLERY is a folder or a CSV file (columns path, and if known pid, camid and any others). Without --weights and
--config-file the small model that ships with the package is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from oamn_plugin.hosts.encoder import add_model_arguments
from oamn_plugin.occlusion import OCCLUSION_TYPES


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    index = commands.add_parser("index", help="build an index, add to it, or carry on with an interrupted build")
    index.add_argument("gallery", help="folder with images, or CSV file")
    index.add_argument("--out", required=True, metavar="INDEX", help="folder of the index; one that exists is added to")
    types = "occlusion types to build; default: all nine, or those the index has; others on demand"
    index.add_argument("--types", nargs="+", metavar="TYPE", choices=OCCLUSION_TYPES, help=types)
    index.add_argument("--approximate", action="store_true", help="IVF-PQ: a few bytes an image, for large galleries")
    index.add_argument("--code-bytes", type=int, default=64, help="bytes a descriptor with --approximate (default 64)")
    index.add_argument("--lists", type=int, default=0, help="inverted lists with --approximate (default: 4 sqrt(N))")
    index.add_argument("--probes", type=int, default=32, help="lists looked into for a query (default 32)")
    query = commands.add_parser("query", help="search for images")
    query.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or CSV files")
    query.add_argument("--index", required=True, metavar="INDEX", help="folder of the index")
    query.add_argument("--topk", type=int, default=20, help="matches a query (default 20)")
    query.add_argument("--json", metavar="FILE", help="write the results as JSON; - for the terminal")
    query.add_argument("--html", metavar="FILE", help="write the results as one HTML page")
    query.add_argument("--max-pages", type=int, default=20, help="queries shown on the HTML page (default 20)")
    query.add_argument("--other-cameras", action="store_true", help="leave out the query's person in its own camera")
    query.add_argument("--evaluate", action="store_true", help="score the queries by their identities and cameras")
    remove = commands.add_parser("remove", help="take images out of an index")
    remove.add_argument("images", nargs="+", metavar="IMAGE", help="paths of the images")
    remove.add_argument("--index", required=True, metavar="INDEX", help="folder of the index")
    for command in (index, query):
        command.add_argument("--pattern", help="regular expression for paths, with the groups pid and camid")
        add_model_arguments(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    return {"index": run_index, "query": run_query, "remove": run_remove}[args.command](args)


def run_index(args: argparse.Namespace) -> int:
    """Builds or extends an index."""
    from oamn_plugin.hosts.encoder import load_model
    from oamn_plugin.search.faiss_files import IVFPQ
    from oamn_plugin.search.index import GalleryIndex

    images = read_images([args.gallery], args.pattern)
    kind = IVFPQ(args.code_bytes, args.lists, args.probes) if args.approximate else None
    encoder = load_model(args.config_file, args.weights, args.opts)
    index = GalleryIndex(args.out, encoder, approximate=kind, progress=True)
    if index.unfinished:
        print(f"carrying on with an interrupted build of {index.folder}")
    added = index.add(images, args.types)
    print(f"{index.folder}: {len(index)} images, {added} of them new; types: {', '.join(index.types)}")
    unreadable = {image.path for image in images} & set(index.unreadable)
    if unreadable:
        print(f"{len(unreadable)} images could not be read and are left out:")
        for path in sorted(unreadable):
            print(f"  {path}: {index.unreadable[path]}")
    return 0


def run_query(args: argparse.Namespace) -> int:
    """Searches, and shows what was found."""
    from oamn_plugin.datasets.images import read_image
    from oamn_plugin.hosts.encoder import load_model
    from oamn_plugin.search.index import GalleryIndex
    from oamn_plugin.search.page import render_search
    from oamn_plugin.search.results import results_json, results_text, search

    queries = read_images(args.images, args.pattern)
    encoder = load_model(args.config_file, args.weights, args.opts)
    index = GalleryIndex(args.index, encoder, progress=True)
    pictures = [read_image(query.path) for query in queries]
    results, described = search(index, encoder, queries, pictures, args.topk, args.other_cameras)
    scores = evaluate(index, described, queries) if args.evaluate else {}
    content: dict[str, Any] = {"index": str(index.folder), "gallery": len(index), "queries": results_json(results)}
    if scores:
        content["scores"] = scores
    if args.json == "-":
        print(json.dumps(content, indent=2))
    else:
        print(results_text(results, shown=min(args.topk, 10)))
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
    from oamn_plugin.search.index import GalleryIndex

    index = GalleryIndex(args.index)
    print(f"{index.folder}: removed {index.remove(args.images)} images, {len(index)} are left")
    return 0


def read_images(sources: list[str], pattern: str | None) -> list[Any]:
    """The images of all sources."""
    from oamn_plugin.datasets.labels import MARKET_PATTERN
    from oamn_plugin.search.gallery import read_gallery

    return [image for source in sources for image in read_gallery(source, pattern or MARKET_PATTERN)]


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
