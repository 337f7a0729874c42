"""Runs a suite: one subprocess a run, failures kept for the end, a stop at any moment leaves a state to go on from."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from .schedule import (
    CONSOLE,
    Job,
    Record,
    command_text,
    estimate,
    plan,
    testing_command,
    training_command,
    write_record,
)
from .suite import Suite
from .tables import Table, to_text

_GRACE_S = 20.0
"""Seconds that a training gets to end by itself once asked to."""
_LOG_LINES = 15


@dataclass
class Outcome:
    """What a suite's run came to.

    Attributes:
        finished: labels of the runs with results.
        failed: label of each failed run to the last lines of its log.
        stopped: True after Ctrl-C or SIGTERM.
    """

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def run_suite(suite: Suite, only: Sequence[str] = (), stream: TextIO | None = None) -> Outcome:
    """Trains and tests what is not finished yet.

    Args:
        suite: the suite.
        only: names of methods; empty for all.
        stream: where progress is printed, standard output by default.

    Returns:
        What was finished and what failed. A failed run does not stop the rest; an interrupt does, and the next call
        goes on where this one stopped.
    """
    out, outcome = stream or sys.stdout, Outcome()
    jobs = plan(suite, only)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        for number, job in enumerate(jobs, start=1):
            place = f"[{number}/{len(jobs)}] {job.label}"
            if job.state == "finished":
                print(f"{place}: finished before", file=out, flush=True)
                outcome.finished.append(job.label)
                continue
            hint = _hint(suite, job, plan(suite, only))
            print(f"{place}: {_WORDS[job.state]}{hint}; log in {job.folder / CONSOLE}", file=out, flush=True)
            _do(suite, job, outcome, out)
    except KeyboardInterrupt:
        outcome.stopped = True
        print("\nstopped; the same command goes on from here", file=out, flush=True)
    finally:
        signal.signal(signal.SIGTERM, previous)
    _report_failures(outcome, out)
    return outcome


def dry_run(suite: Suite, only: Sequence[str] = ()) -> str:
    """The runs of a suite, their states and estimated costs, as text."""
    jobs = plan(suite, only)
    costs = estimate(suite, jobs)
    rows: list[list[Any]] = []
    for job in jobs:
        seconds, reason = costs.get(job.label, (0.0, ""))
        shown = duration(job.record.seconds) if job.state == "finished" else duration(seconds)
        rows.append([job.method.name, str(job.seed), job.state, shown, reason, str(job.folder)])
    known = [seconds for seconds, _ in costs.values() if seconds is not None]
    unknown = len(costs) - len(known)
    total = f"{len(costs)} of {len(jobs)} runs to do"
    if costs:
        total += f", about {duration(sum(known))}" if known else ", cost unknown until one has finished"
        total += f" and {unknown} of unknown cost" if unknown and known else ""
    table = Table(("Method", "Seed", "State", "Cost", "Estimated from", "Folder"), rows, suite.name)
    return f"{to_text(table)}\n{total}\n"


def report_suite(suite: Suite, failed: Sequence[str] = (), stream: TextIO | None = None) -> dict[str, Path]:
    """Writes the report of whatever is finished.

    Args:
        suite: the suite.
        failed: labels of the runs that failed, named in the report.
        stream: where the tables are printed.

    Raises:
        ComparisonError: nothing is finished yet.
    """
    from .compare import write_comparison  # loads plots and statistics, which running and listing do without

    jobs = plan(suite)
    folders: dict[str, list[Path]] = {method.name: [] for method in suite.methods}
    for job in jobs:
        if job.state in ("finished", "untested"):
            folders[job.method.name].append(job.folder)
    missing = [job.label for job in jobs if job.state not in ("finished", "untested")]
    notes = [f"{label}: failed" if label in failed else f"{label}: not run yet" for label in missing]
    return write_comparison(
        folders,
        suite.report,
        suite.baseline,
        suite.name,
        ablation=suite.ablation,
        settings={method.name: command_text(suite, method) for method in suite.methods},
        notes=notes,
        published=suite.published,
        stream=stream,
    )


def duration(seconds: float | None) -> str:
    """Seconds as they are read.

    >>> duration(42), duration(760), duration(9000), duration(None)
    ('42 s', '13 min', '2.5 h', 'unknown')
    """
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_WORDS = {
    "new": "started",
    "interrupted": "goes on",
    "changed": "its command changed, starts afresh",
    "untested": "tested on new protocols",
}


def _do(suite: Suite, job: Job, outcome: Outcome, out: TextIO) -> None:
    """Brings one run to its end; its record says at every moment how far it is."""
    if job.state == "changed":
        _set_aside(job.folder)
    record = Record(job.fingerprint) if job.state == "changed" else job.record
    testing = job.state == "untested"
    write_record(job.folder, record)
    start = time.monotonic()
    try:
        code = _call(testing_command(suite, job) if testing else training_command(suite, job), job.folder / CONSOLE)
    finally:
        if not testing:
            record.seconds += time.monotonic() - start
        write_record(job.folder, record)
    if code or not (job.folder / "results.json").is_file():
        reason = f"ended with exit code {code}" if code else "ended without results.json"
        outcome.failed[job.label] = f"{reason}\n{_last_lines(job.folder / CONSOLE)}"
        print(f"    failed: {reason}", file=out, flush=True)
        return
    record.finished, record.tested = True, sorted({*record.tested, *suite.protocols})
    write_record(job.folder, record)
    outcome.finished.append(job.label)
    print(f"    finished in {duration(time.monotonic() - start)}", file=out, flush=True)


def _call(command: Sequence[str], log: Path) -> int:
    """Runs a command with its output in a log; an interrupt is passed on and given time to be obeyed."""
    with log.open("a", encoding="utf-8") as file:
        print("$", shlex.join(command), file=file, flush=True)
        # a session of its own: Ctrl-C reaches it once, from here, and not a second time from the terminal
        child = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(_GRACE_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                child.kill()
                child.wait()
            raise


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _set_aside(folder: Path) -> None:
    """Keeps what another command left: the folder gets the suffix .old-1, .old-2, ..."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(aside)


def _hint(suite: Suite, job: Job, jobs: Sequence[Job]) -> str:
    costs = estimate(suite, jobs)
    seconds = costs.get(job.label, (None, ""))[0]
    rest = [cost for cost, _ in costs.values()]
    if seconds is None:
        return ""
    known = sum(cost for cost in rest if cost is not None)
    return f", about {duration(seconds)} (suite: {'at least ' if None in rest else ''}{duration(known)} to go)"


def _last_lines(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def _report_failures(outcome: Outcome, out: TextIO) -> None:
    if not outcome.failed:
        return
    print(f"\n{len(outcome.failed)} of the runs failed:", file=out)
    for label, text in outcome.failed.items():
        print(f"\n{label}: {text}", file=out, flush=True)
