"""Finds a person in a gallery: builds the index of a folder of crops, then ranks it for query images.

oamn search index GALLERY --out INDEX
oamn search query IMAGE... --index INDEX --html result.html
oamn search calibrate IMAGE... --index INDEX --false-match-rate 0.01
oamn search remove IMAGE... --index INDEX

GALLERY is a folder or a CSV file (columns path, and if known pid, camid and any others). An index remembers its model:
query and calibrate need not name it. index without --weights uses the small model that ships with the package.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError, printable
from oamn_plugin.hosts.encoder import add_model_arguments
from oamn_plugin.occlusion import OCCLUSION_TYPES


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    index = commands.add_parser("index", help="build an index, add to it, or continue an interrupted build")
    index.add_argument("gallery", help="folder with images, or CSV file")
    index.add_argument(
        "--out", required=True, metavar="INDEX", help="folder, or address in Milvus; an existing index is extended"
    )
    types = "occlusion types to build now (default: all nine, or those of the index); others are built when needed"
    index.add_argument("--types", nargs="+", metavar="TYPE", choices=OCCLUSION_TYPES, help=types)
    index.add_argument("--approximate", action="store_true", help="add a quick search, for large galleries")
    index.add_argument("--target-recall", type=float, default=0.95, help="of the ten nearest (default 0.95)")
    index.add_argument("--num-gpus", type=int, default=1, help="processes that share the encoding")
    query = commands.add_parser("query", help="search for images")
    query.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or CSV files")
    query.add_argument("--index", required=True, metavar="INDEX", help="folder, or place in Milvus")
    query.add_argument("-k", "--topk", type=int, default=20, help="matches per query (default 20)")
    query.add_argument("--json", metavar="FILE", help="write the results as JSON; - for the terminal")
    query.add_argument("--html", metavar="FILE", help="write the results as one HTML page")
    query.add_argument("--max-pages", type=int, default=20, help="queries shown on the HTML page (default 20)")
    others = "leave out images of the query's person by the query's camera; both must be known"
    query.add_argument("--other-cameras", action="store_true", help=others)
    query.add_argument("--evaluate", action="store_true", help="print Rank-1 and mAP; identities must be known")
    strangers = "set the distance above which a query is answered with 'nobody in this gallery'"
    calibrate = commands.add_parser("calibrate", help=strangers)
    own = "images like the queries to come (default: the gallery's own images)"
    calibrate.add_argument("images", nargs="*", metavar="IMAGE", help=own)
    calibrate.add_argument("--index", required=True, metavar="INDEX", help="folder, or place in Milvus")
    rate = "share of queries of unknown people that may be matched with somebody (default 0.01)"
    calibrate.add_argument("--false-match-rate", type=float, default=0.01, metavar="RATE", help=rate)
    remove = commands.add_parser("remove", help="take images out of an index")
    remove.add_argument("images", nargs="+", metavar="IMAGE", help="paths of the images")
    remove.add_argument("--index", required=True, metavar="INDEX", help="folder, or place in Milvus")
    for command in (index, query, calibrate):
        command.add_argument("--pattern", help="regular expression for paths, with the groups pid and camid")
        add_model_arguments(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    args.words = sys.argv[1:] if argv is None else argv
    commands = {"index": run_index, "query": run_query, "calibrate": run_calibrate, "remove": run_remove}
    return commands[args.command](args)


def run_index(args: argparse.Namespace) -> int:
    """Builds or extends an index."""
    from oamn_plugin.datasets.folders import stopping_cleanly
    from oamn_plugin.hosts.encoder import model_of
    from oamn_plugin.search import open_index
    from oamn_plugin.search.words import describe_model
    from oamn_plugin.search.workers import together

    if args.num_gpus > 1:
        return run_together(args.num_gpus, args.words)
    images = read_images([args.gallery], args.pattern)
    encoder = model_of(args, args.out)
    with stopping_cleanly(f"index {args.out}"), together(encoder) as first:
        if first:
            print(f"model: {describe_model(encoder)}")
        index = open_index(args.out, encoder, progress=first)
        if first and index.unfinished:
            print(f"carrying on with an interrupted build of {index.folder}")
        if args.approximate:
            check_approximate(index, images)
        added = index.add(images, args.types)
    if not first:
        return 0
    known = f"identities of {sum(bool(image.pid) for image in index.images)} known"
    vanished, reasons = index.vanished, index.unreadable  # each reads a collection in Milvus from end to end
    print(f"{index.folder}: {len(index)} images, {added} of them new, {known}; types: {', '.join(index.types)}")
    if index.changes.replaced or index.changes.relabelled:
        print(f"{index.changes.replaced} images encoded anew, {index.changes.relabelled} labelled anew")
    if vanished:
        print(f"{len(vanished)} files are gone, such as {vanished[0]}; remove takes them out")
    if args.approximate:
        for trial in index.quantise(args.target_recall):
            chosen = "  <- chosen" if trial == index.approximate else ""
            recall = f"recall@10 {trial.recall:.3f} (at least {trial.at_least:.3f})"
            work = f"{trial.probes:5} lists  {trial.candidates:4} candidates"
            print(f"{recall}  {trial.milliseconds:7.2f} ms  {work}{chosen}")
    unreadable = {image.path for image in images} & set(reasons)
    if unreadable:
        print(f"{len(unreadable)} images could not be read and are left out:")
        for path in sorted(unreadable):
            print(f"  {printable(path)}: {printable(reasons[path])}")
    return 0


def check_approximate(index: Any, images: list[Any]) -> None:
    """Raises before the encoding the errors of a quick search that would come after it."""
    from oamn_plugin.search.faiss_files import check_possible
    from oamn_plugin.search.milvus_index import MilvusIndex

    if isinstance(index, MilvusIndex):
        index.quantise()
    elif not index.unfinished:  # how many images an interrupted build will bring is not known yet
        check_possible(len({os.path.abspath(image.path) for image in (*index.images, *images)}))


def run_together(count: int, words: list[str]) -> int:
    """Runs the same command in several processes that share the encoding."""
    import subprocess

    from oamn_plugin.benchmark.processes import child_environment

    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *start, "-m", "oamn_plugin", "search", *words, "--num-gpus", "1"]
    return subprocess.run(command, env=child_environment(count), check=False).returncode


def run_query(args: argparse.Namespace) -> int:
    """Searches, and shows what was found."""
    from oamn_plugin.search.calibration import usable_threshold
    from oamn_plugin.search.page import render_search
    from oamn_plugin.search.results import read_pictures, search, to_document
    from oamn_plugin.search.words import describe_model, to_text

    for name in ("topk", "max_pages"):
        if getattr(args, name) < 1:
            raise ExpectedError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    for path in {args.html, args.json} - {None, "-"}:
        check_writable(Path(path))
    queries, pictures, unreadable = read_pictures(read_images(args.images, args.pattern))
    for path, reason in unreadable.items():
        print(f"search: left out {printable(path)}: {printable(reason)}", file=sys.stderr)
    index, encoder = index_and_model(args)
    if args.evaluate:
        index.check_scorable(queries)
    if args.other_cameras and (unknown := sum(not (query.pid and query.camid) for query in queries)):
        told = f"--other-cameras has no effect on {unknown} of {len(queries)} queries: person or camera is not known"
        print(f"search: {told}", file=sys.stderr)
    threshold, reason = usable_threshold(index)
    if reason:
        print(f"search: the threshold of {index.folder} is not used, {reason}: run calibrate again", file=sys.stderr)
    results, described = search(index, encoder, queries, pictures, args.topk, args.other_cameras, threshold)
    scores = score_queries(index, described, queries) if args.evaluate else {}
    content = json.dumps(to_document(results, index, encoder, scores, unreadable), indent=2)
    if args.json == "-":
        print(content)
    else:
        print(f"model: {describe_model(encoder)}")
        print(to_text(results))
        for line in score_lines(scores):
            print(line)
    if args.json and args.json != "-":
        Path(args.json).write_text(content + "\n", encoding="utf-8")
    if args.html:
        how = "compared as they are" if encoder.unification.kind == "none" else "searched with and without unification"
        lead = f"{len(index)} gallery images, {how}."
        page = render_search(results[: args.max_pages], encoder, "Person search", lead, score_lines(scores))
        Path(args.html).write_text(page, encoding="utf-8")
        print(f"wrote {args.html}", file=sys.stderr)
    return 0


def run_calibrate(args: argparse.Namespace) -> int:
    """Calibrates the threshold for unknown people and stores it with the index."""
    from dataclasses import asdict

    from oamn_plugin.search.calibration import NOTE, calibrate, own_images

    index, encoder = index_and_model(args)
    images = read_images(args.images, args.pattern) if args.images else own_images(index)
    threshold = calibrate(index, encoder, images, args.false_match_rate, progress=True)
    index.save_note(NOTE, asdict(threshold))
    people = f" of {threshold.people} people" if threshold.people else ""
    print(f"{index.folder}: {threshold}{people}, {threshold.pairs} pairs")
    if threshold.turned_away is not None:
        share = 100 * threshold.turned_away
        print(f'"nobody in this gallery" would also be said of {share:.1f} % of these queries with their people in it')
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Takes images out."""
    from oamn_plugin.search import open_index

    index = open_index(args.index)
    print(f"{index.folder}: removed {index.remove(args.images)} images, {len(index)} are left")
    return 0


def read_images(sources: list[str], pattern: str | None) -> list[Any]:
    """The images of all sources."""
    from oamn_plugin.datasets.labels import MARKET_PATTERN
    from oamn_plugin.search.gallery import read_gallery

    return [image for source in sources for image in read_gallery(source, pattern or MARKET_PATTERN)]


def index_and_model(args: argparse.Namespace) -> tuple[Any, Any]:
    """The index that a command works with, and the model it was built with."""
    from oamn_plugin.hosts.encoder import model_of
    from oamn_plugin.search import open_index

    open_index(args.index)  # before the model is loaded: is there one?
    encoder = model_of(args, args.index)
    index = open_index(args.index, encoder, progress=True)
    if index.unfinished:
        print(f"search: a build of {index.folder} is pending: run index again; what is there is used", file=sys.stderr)
    return index, encoder


def check_writable(path: Path) -> None:
    """Raises OSError if a file cannot be written, before the work is done; leaves no file behind."""
    new = not path.exists()
    with open(path, "ab"):
        pass
    if new:
        path.unlink()


def score_queries(index: Any, described: Any, queries: list[Any]) -> dict[str, dict[str, float]]:
    """The evaluator's scores in percent, with unification and without."""
    names = ("unified", "plain") if index.unification.kind != "none" else ("plain",)
    try:
        return {name: index.evaluate(described, queries, plain=name == "plain").to_percent() for name in names}
    except ValueError as error:
        if isinstance(error, ExpectedError):
            raise
        raise ExpectedError(f"cannot score these queries: {error}") from error


def score_lines(scores: dict[str, dict[str, float]]) -> list[str]:
    """The scores in a line each."""
    return [
        f"{name}: Rank-1 {score['Rank-1']:.2f} %, mAP {score['mAP']:.2f} % over {score['num_query']} queries"
        for name, score in scores.items()
    ]
