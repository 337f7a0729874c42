"""Tries to break the promises of docs/reliability.md: one line a case, exit code 1 if any fails.

python tools/torture.py
python tools/torture.py --only kill disk --work /tmp/torture

Everything is small (generated data, MobileNetV2 at a tenth of its width, 64 x 32 pixels) and real: processes are killed
with SIGKILL, disks are full. A few minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone without installation


class Skipped(Exception):  # noqa: N818 it is no error
    """A case that this machine does not allow; the message says why."""


class Outcome(NamedTuple):
    """What became of a case: ``passed``, ``FAILED`` or ``skipped``, and one line about it."""

    group: str
    name: str
    state: str
    detail: str
    seconds: float


Case = tuple[str, Callable[[], str]]
"""Name and what to do: it returns a line about what was seen and raises AssertionError where a promise is broken."""


def run_case(group: str, case: Case) -> Outcome:
    """Runs one case; whatever it raises is its outcome."""
    start = time.monotonic()
    try:
        state, detail = "passed", case[1]()
    except Skipped as reason:
        state, detail = "skipped", str(reason)
    except Exception as error:
        state, detail = "FAILED", f"{type(error).__name__}: {error}"
    return Outcome(group, case[0], state, detail, time.monotonic() - start)


def show(outcome: Outcome) -> None:
    """Prints the line of a case."""
    print(
        f"{outcome.state:7}  {outcome.group:9} {outcome.name:42} {outcome.seconds:5.0f} s  {outcome.detail}", flush=True
    )


def markdown(outcomes: list[Outcome]) -> str:
    """The outcomes as a table for docs/reliability.md."""
    rows = [f"| {one.group} | {one.name} | {one.state} | {one.detail} |" for one in outcomes]
    return "\n".join(["| group | case | outcome | seen |", "|---|---|---|---|", *rows]) + "\n"


def groups(work: Path, seed: int) -> Iterator[tuple[str, Callable[[], list[Case]]]]:
    """Names of the groups and what makes their cases."""
    from torture_inputs import Yard

    yard = Yard(work, seed)
    yield "kill", yard.kills
    yield "signal", yard.signals
    yield "corrupt", yard.corruptions
    yield "disk", yard.disks
    yield "numbers", yard.numbers
    yield "files", yard.bad_files
    yield "hostile", yard.hostile_files
    yield "processes", yard.processes


NAMES = ("kill", "signal", "corrupt", "disk", "numbers", "files", "hostile", "processes")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="GROUP", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--work", type=Path, help="folder for runs and data; kept. Default: a temporary one, removed")
    parser.add_argument("--seed", type=int, default=0, help="where the random kills and damages fall")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the outcomes as a Markdown table")
    return parser


def main() -> int:
    """Runs the cases; 0 if none failed."""
    args = build_parser().parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    work = args.work or Path(tempfile.mkdtemp(prefix="torture-"))
    work.mkdir(parents=True, exist_ok=True)
    outcomes = []
    try:
        for group, make in groups(work, args.seed):
            for case in make() if not args.only or group in args.only else []:
                outcomes.append(run_case(group, case))
                show(outcomes[-1])
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)
    counts = {state: sum(one.state == state for one in outcomes) for state in ("passed", "FAILED", "skipped")}
    print("  ".join(f"{count} {state}" for state, count in counts.items()))
    if args.table:
        args.table.write_text(markdown(outcomes), encoding="utf-8")
    return int(counts["FAILED"] > 0)


if __name__ == "__main__":
    sys.exit(main())
