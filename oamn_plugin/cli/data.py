"""Prepares and checks data sets.

    oamn data list
    oamn data check OccludedDuke --root datasets
    oamn data check --config-file my.yml
    oamn data occluded-duke DukeMTMC-reID.zip LISTS_DIR
    oamn data occlude datasets/Market-1501-v15.09.15
    oamn data embedded --size demo
    oamn data occluders OUT

Exit codes: 0 all is well, 1 `check` found a problem, 2 bad input, 75 stopped by SIGTERM or Ctrl-C: run again.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.environment import default_root
from oamn_plugin.errors import ExpectedError

OK, PROBLEMS = 0, 1
_NAMED = 10  # unreadable images that `check` names before it only counts


def main(arguments: list[str] | None = None) -> int:
    """Runs one sub-command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    from oamn_plugin.datasets.folders import stopping_cleanly

    try:
        with stopping_cleanly("oamn data"):
            return options.run(options)
    except ValueError as error:  # the package's own errors are of this kind, and say what to do
        raise ExpectedError(str(error)) from error


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description="Prepares and checks data sets for occluded person re-identification.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    root = Parser(add_help=False)
    root.add_argument(
        "--root",
        default=default_root(),
        help="folder that holds the data sets (default: $FASTREID_DATASETS, else datasets; now %(default)s)",
    )
    seed = Parser(add_help=False)
    seed.add_argument("--seed", type=int, default=0, help="same seed, same images (default: %(default)s)")

    command = commands.add_parser("list", parents=[root], help="list the known data sets and which are there")
    command.set_defaults(run=_list)

    command = commands.add_parser(
        "check", parents=[root], help="compare a data set with the published counts, or check your own"
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME", help="data set, such as OccludedDuke; see `list`")
    which.add_argument(
        "--config-file",
        metavar="FILE",
        help="check every data set of a fastreid configuration, and all else that would stop a training",
    )
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

    command = commands.add_parser("occluders", parents=[seed], help="write the embedded set's occluders as cut-outs")
    command.add_argument("out", type=Path, metavar="OUT", help="folder to make, of PNG files with transparency")
    command.add_argument("--number", type=int, default=200, help="how many (default: %(default)s)")
    command.set_defaults(run=_occluders)
    return parser


def _list(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.catalogue import CATALOGUE
    from oamn_plugin.datasets.records import DataSetError
    from oamn_plugin.errors import printable

    name, trains = (
        max(map(len, names)) + 2 for names in (CATALOGUE, (entry.trains_on for entry in CATALOGUE.values()))
    )
    print(f"{'name':<{name}}{'train':>8}{'query':>8}{'gallery':>9}  {'trains on':<{trains}}there")
    for entry in CATALOGUE.values():
        try:
            place = str(entry.layout.find(options.root))
        except DataSetError:
            place = "-"
        train = f"{entry.train.images:,}" if entry.train else "-"
        sizes = f"{train:>8}{entry.query.images:>8,}{entry.gallery.images:>9,}"
        print(f"{entry.name:<{name}}{sizes}  {entry.trains_on:<{trains}}{printable(place)}")
    return OK


def _check(options: argparse.Namespace) -> int:
    if options.config_file:
        return _check_configuration(options)
    from oamn_plugin.datasets.catalogue import find_entry

    entry = find_entry(options.name)
    folder = entry.layout.find(options.root)
    split = entry.reader(folder)
    _print_counts(f"{entry.title} in {folder}", split, entry)
    print("(there / published)")
    problems = entry.differences(split) + _unreadable([split], options.no_decode)
    return _report(problems, "all as published")


def _check_configuration(options: argparse.Namespace) -> int:
    """The sets of a configuration, as a training would read them; the only sub-command that loads a toolbox."""
    from oamn_plugin.datasets.records import Record, Split
    from oamn_plugin.hosts.fastreid.config import load_config
    from oamn_plugin.hosts.fastreid.data import build_dataset, data_root
    from oamn_plugin.hosts.fastreid.preflight import preflight
    from oamn_plugin.hosts.shared.preflight import PreflightError, loaded

    root = load_config(options.config_file).DATASETS.ROOT or options.root
    cfg = load_config(options.config_file, ["DATASETS.ROOT", root])
    sets, problems = loaded(partial(build_dataset, cfg), [*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS])
    splits = []
    for name, found in sets.items():
        splits.append(Split(*([Record(*item) for item in part] for part in (found.train, found.query, found.gallery))))
        _print_counts(f"{name}, data sets in {data_root(cfg)}", splits[-1])
    try:
        preflight(cfg)
    except PreflightError as error:
        problems += [line.removeprefix("  - ") for line in str(error).splitlines()[1:]]
    return _report([*dict.fromkeys(problems), *_unreadable(splits, options.no_decode)], "a training can begin")


def _print_counts(title: str, split: Any, published: Any = None) -> None:
    """Images, identities and cameras of the three lists, beside what was published of them if anything was."""
    from oamn_plugin.datasets.records import counts
    from oamn_plugin.errors import printable

    print(printable(title))
    print(f"{'':<8}{'images':>18}{'identities':>18}{'cameras':>9}")
    for part in ("train", "query", "gallery"):
        there = counts(getattr(split, part))
        cells = [f"{there.images:,}", f"{there.pids:,}"]
        if published:
            wanted = getattr(published, part)
            known = (wanted.images, wanted.pids) if wanted else (0, 0)
            cells = [f"{have} / {number:,}" for have, number in zip(cells, known, strict=True)]
        print(f"{part:<8}" + "".join(f"{cell:>18}" for cell in cells) + f"{there.cameras:>9}")


def _unreadable(splits: list[Any], no_decode: bool) -> list[str]:
    """Decodes every image once and prints how many cannot be decoded."""
    from tqdm import tqdm

    from oamn_plugin.datasets.images import find_bad_images

    if no_decode:
        return []
    paths = list(dict.fromkeys(record.path for split in splits for part in split for record in part))
    bad = [error for error in find_bad_images(tqdm(paths, desc="decoding", unit="image", disable=None)) if error]
    print(f"unreadable images: {len(bad):,} of {len(paths):,}")
    more = [f"and {len(bad) - _NAMED:,} more unreadable images"] if len(bad) > _NAMED else []
    return [f"{error.path}: {error.reason}" for error in bad[:_NAMED]] + more


def _report(problems: list[str], all_well: str) -> int:
    from oamn_plugin.errors import printable

    for problem in problems:
        print(f"PROBLEM  {printable(problem)}")
    if not problems:
        print(all_well)
    return PROBLEMS if problems else OK


def _occluded_duke(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.catalogue import CATALOGUE
    from oamn_plugin.datasets.occluded_duke import build_occluded_duke

    target = options.out or Path(options.root) / "Occluded_Duke"
    build_occluded_duke(options.duke, options.lists, target, progress=True)
    entry = CATALOGUE["OccludedDuke"]
    differences = entry.differences(entry.reader(target))
    print(f"{entry.title} is in {target}")
    return _report(differences, "all as published")


def _occlude(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.occlude import occlude_dataset

    market = options.market.expanduser().resolve()
    target = options.out or market.with_name(f"{market.name}-occluded")
    target = occlude_dataset(market, target, options.seed, copy=options.copy, policy=options.bad_images, progress=True)
    count = sum(1 for _ in (target / "query").iterdir())
    print(f"{count:,} occluded queries are in {target}, what covers them in annotations.csv")
    return OK


def _embedded(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.embedded import ensure

    print(ensure(options.root, options.size, options.seed))
    return OK


def _occluders(options: argparse.Namespace) -> int:
    from oamn_plugin.datasets.cutouts import write_cutouts

    folder = write_cutouts(options.out, options.number, options.seed, progress=True)
    print(f"{options.number:,} occluders are in {folder}; its README.txt says what they are not for")
    return OK
