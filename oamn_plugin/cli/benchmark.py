"""Trains and tests the methods of a suite and writes one report.

oamn benchmark embedded --dry-run
oamn benchmark embedded

A suite that was stopped resumes where it stopped; finished runs are skipped as long as their configuration has not
changed. A failed run does not stop the others. With --jobs several run at a time, each on its share of the cores.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError

if TYPE_CHECKING:
    from oamn_plugin.benchmark.suite import Suite
    from oamn_plugin.reporting.page import Picture


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("suite", metavar="SUITE.yml", help="suite file, or the name of one in configs/suites/")
    parser.add_argument(
        "--only", action="append", default=[], metavar="METHOD", help="run this method only; repeatable"
    )
    parser.add_argument("--baseline", metavar="METHOD", help="compare with this method instead of the suite's baseline")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="these seeds instead of the suite's")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: the suite's, else 1)")
    parser.add_argument(
        "--dry-run", action="store_true", help="list the runs with their estimated cost, and check them all"
    )
    parser.add_argument("--report-only", action="store_true", help="run nothing, write the report of the finished runs")
    parser.add_argument(
        "--docs", type=Path, metavar="FOLDER", help="write a page of the finished runs, FOLDER/SUITE.md"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """0: all finished; 1: some run failed; 2: the suite cannot run; 130: stopped."""
    args = build_parser().parse_args(argv)
    from oamn_plugin.benchmark.runner import dry_run, report_suite, run_suite, told_once, write_docs
    from oamn_plugin.benchmark.suite import load_suite
    from oamn_plugin.hosts.toolboxes import TOOLBOXES

    suite = load_suite(args.suite)
    if args.baseline is not None:
        suite = suite.against(args.baseline)
    if args.seeds:
        suite = replace(suite, seeds=tuple(dict.fromkeys(args.seeds)))
    if args.jobs is not None:
        suite = replace(suite, jobs=args.jobs)
    if args.dry_run:
        text, found = dry_run(suite, TOOLBOXES, args.only)
        print(text, end="")
        for line in told_once(found):
            print(line, file=sys.stderr)
        return 2 if found else 0
    if args.docs:
        print(f"wrote {write_docs(suite, TOOLBOXES, args.docs, Path(args.suite).stem)}")
        return 0
    if args.report_only:
        report_suite(suite, TOOLBOXES, pictures=example(suite))
        return 0
    outcome = run_suite(suite, TOOLBOXES, args.only)
    if outcome.finished and not outcome.stopped:
        report_suite(suite, TOOLBOXES, list(outcome.failed), example(suite))
    return 130 if outcome.stopped else int(bool(outcome.failed))


def example(suite: Suite) -> list[Picture]:
    """The rank lists at the top of the suite's report; empty if it names no example, or that has no weights yet."""
    method = next((one for one in suite.methods if one.name == suite.example), None)
    run = suite.run_folder(method, suite.seeds[0]) if method else None
    if run is None or not suite.protocols or not (run / "model_final.pth").is_file():
        return []
    from oamn_plugin.hosts.fastreid.example import rank_list_picture

    try:
        return [rank_list_picture(run, suite.protocols[0])]
    except (ExpectedError, OSError, RuntimeError) as error:  # the figures are there all the same
        print(f"no picture of {suite.example}: {error}")
        return []
