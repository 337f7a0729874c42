"""Prepares and checks data sets.

    oamn data list
    oamn data check OccludedDuke --root datasets
    oamn data occluded-duke DukeMTMC-reID.zip LISTS_DIR
    oamn data occlude datasets/Market-1501-v15.09.15
    oamn data embedded --size demo

Exit codes: 0 all is well, 1 `check` found a problem, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from oamn_plugin.errors import ExpectedError

OK, PROBLEMS, INTERRUPTED = 0, 1, 130
_NAMED = 10  # unreadable images that `check` names before it only counts


def main(arguments: list[str] | None = None) -> int:
    """Runs one sub-command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("interrupted: nothing was left half made", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:  # the package's own errors are of this kind, and say what to do
        raise ExpectedError(str(error)) from error


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Prepares and checks data sets for occluded person re-identification.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument(
        "--root",
        default=os.environ.get("FASTREID_DATASETS", "datasets"),
        help="folder that holds the data sets (default: $FASTREID_DATASETS, else datasets; now %(default)s)",
    )
    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument("--seed", type=int, default=0, help="same seed, same images (default: %(default)s)")

    command = commands.add_parser("list", parents=[root], help="list the known data sets and which are there")
    command.set_defaults(run=_list)

    command = commands.add_parser("check", parents=[root], help="compare a data set with what was published")
    command.add_argument("name", metavar="NAME", help="data set, such as OccludedDuke; see `list`")
    command.add_argument("--no-decode", action="store_true", help="count only, do not decode every image")
    command.set_defaults(run=_check)

    command = commands.add_parser(
        "occluded-duke", parents=[root], help="build Occluded-Duke from your DukeMTMC-reID and the published name lists"
    )
    command.add_argument(
        "duke", type=Path, metavar="DUKE", help="DukeMTMC-reID.zip, or the folder it was unpacked into"
    )
    command.add_argument(
        "lists", type=Path, metavar="LISTS_DIR", help="folder with train.list, query.list, gallery.list"
    )
    command.add_argument("--out", type=Path, help="folder to make (default: ROOT/Occluded_Duke)")
    command.set_defaults(run=_occluded_duke)

    command = commands.add_parser("occlude", parents=[seed], help="make an occluded-query version of a holistic set")
    command.add_argument("market", type=Path, metavar="MARKET_DIR", help="folder in the layout of Market-1501")
    command.add_argument("--out", type=Path, help="folder to make (default: MARKET_DIR-occluded)")
    command.add_argument("--copy", action="store_true", help="copy gallery and training images instead of linking them")
    command.add_argument(
        "--bad-images", choices=("fail", "skip"), default="fail", help="what to do at an unreadable query"
    )
    command.set_defaults(run=_occlude)

    command = commands.add_parser("embedded", parents=[root, seed], help="generate the embedded data set")
    command.add_argument("--size", default="demo", help="tiny, demo or benchmark (default: %(default)s)")
    command.set_defaults(run=_embedded)
    return parser


def _list(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.catalogue import CATALOGUE
    from oamn_plugin.datasets.records import DataSetError

    print(f"{'name':<22}{'train':>8}{'query':>8}{'gallery':>9}  {'trains on':<14}there")
    for entry in CATALOGUE.values():
        try:
            place = str(entry.layout.find(options.root))
        except DataSetError:
            place = "-"
        train = f"{entry.train.images:,}" if entry.train else "-"
        sizes = f"{train:>8}{entry.query.images:>8,}{entry.gallery.images:>9,}"
        print(f"{entry.name:<22}{sizes}  {entry.trains_on:<14}{place}")
    return OK


def _check(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.catalogue import find_entry
    from oamn_plugin.datasets.images import find_bad_images
    from oamn_plugin.datasets.records import counts

    entry = find_entry(options.name)
    folder = entry.layout.find(options.root)
    split = entry.reader(folder)
    print(f"{entry.title} in {folder}")
    print(f"{'':<8}{'images':>18}{'identities':>18}{'cameras':>9}")
    for part in ("train", "query", "gallery"):
        there, published = counts(getattr(split, part)), getattr(entry, part)
        images, pids = (published.images, published.pids) if published else (0, 0)
        cells = (f"{have:,} / {wanted:,}" for have, wanted in ((there.images, images), (there.pids, pids)))
        print(f"{part:<8}" + "".join(f"{cell:>18}" for cell in cells) + f"{there.cameras:>9}")
    print("(there / published)")
    problems = entry.differences(split)
    paths = [record.path for part in split for record in part]
    if not options.no_decode:
        bad = [error for error in find_bad_images(_progress(paths, "decoding", "image")) if error]
        problems += [f"{error.path}: {error.reason}" for error in bad[:_NAMED]]
        if len(bad) > _NAMED:
            problems.append(f"and {len(bad) - _NAMED:,} more unreadable images")
        print(f"unreadable images: {len(bad):,} of {len(paths):,}")
    for problem in problems:
        print(f"PROBLEM  {problem}")
    if not problems:
        print("all as published")
    return PROBLEMS if problems else OK


def _occluded_duke(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.catalogue import CATALOGUE
    from oamn_plugin.datasets.occluded_duke import build_occluded_duke

    target = options.out or Path(options.root) / "Occluded_Duke"
    build_occluded_duke(options.duke, options.lists, target, partial(_progress, label="copying", unit="image"))
    entry = CATALOGUE["OccludedDuke"]
    differences = entry.differences(entry.reader(target))
    print(f"{entry.title} is in {target}")
    for difference in differences:
        print(f"PROBLEM  {difference}")
    return PROBLEMS if differences else OK


def _occlude(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.occlude import load_annotations, occlude_dataset

    market = options.market.expanduser().resolve()
    target = options.out or market.with_name(f"{market.name}-occluded")
    bar = partial(_progress, label="occluding", unit="query")
    occlude_dataset(market, target, options.seed, copy=options.copy, policy=options.bad_images, progress=bar)
    print(f"{len(load_annotations(target)):,} occluded queries are in {target}, what covers them in annotations.csv")
    return OK


def _embedded(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.embedded import ensure

    print(ensure(options.root, options.size, options.seed))
    return OK


def _progress(items: Iterable[Any], label: str, unit: str) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(items, desc=label, unit=unit, disable=None)  # None: silent where the output is no terminal
