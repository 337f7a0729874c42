"""Runs a suite: one subprocess a run, failures kept for the end, a stop at any moment leaves a state to go on from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from oamn_plugin.benchmark.estimates import duration, estimate, makespan
from oamn_plugin.benchmark.processes import Child, Stop, child_environment, end_all, stopping_on_signals, wait_for_any
from oamn_plugin.benchmark.schedule import (
    CONSOLE,
    TRAINED,
    Job,
    RunRecord,
    command_text,
    has_weights,
    plan_runs,
    testing_command,
    training_command,
    write_record,
)
from oamn_plugin.benchmark.suite import Suite
from oamn_plugin.reporting.tables import Table, to_text

if TYPE_CHECKING:
    from oamn_plugin.reporting.page import Picture

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


@dataclass(frozen=True)
class _Active:
    """A run that a child is at: where it stands in the list, and what is written of it."""

    place: str
    job: Job
    record: RunRecord
    child: Child
    spent: float

    @property
    def testing(self) -> bool:
        return self.job.state == "untested"

    def keep_time(self) -> None:
        """Seconds of training, over all starts, into the run's record."""
        if not self.testing:
            self.record.seconds = self.spent + self.child.seconds
        write_record(self.job.folder, self.record)


def run_suite(suite: Suite, only: Sequence[str] = (), stream: TextIO | None = None) -> Outcome:
    """Trains and tests what is not finished yet, ``suite.jobs`` runs at a time.

    Args:
        suite: the suite.
        only: names of methods; empty for all.
        stream: where progress is printed, standard output by default.

    Returns:
        What was finished and what failed. A failed run does not stop the rest; an interrupt does, and the next call
        goes on where this one stopped.
    """
    out, outcome = stream or sys.stdout, Outcome()
    with stopping_on_signals() as stop:
        active: list[_Active] = []
        try:
            for place, job in _to_do(suite, only, outcome, out):
                while not stop and (len(active) == suite.jobs or _waits_for_weights(job, active)):
                    _finish_one(suite, active, outcome, stop, out)
                if stop:
                    break
                if not _may_start(suite, place, job, outcome, out):
                    continue
                hint = _hint(suite, job, plan_runs(suite, only))
                print(f"{place}: {_WORDS[job.state]}{hint}; log in {job.folder / CONSOLE}", file=out, flush=True)
                active.append(_start(suite, place, job))
            while active and not stop:
                _finish_one(suite, active, outcome, stop, out)
        finally:  # also when something unforeseen goes wrong: no training is left behind
            end_all([run.child for run in active], stop)
            for run in active:
                run.keep_time()
                if run.child.code == 0:  # it ended just before it could be asked to stop
                    _book(suite, run, outcome, out)
        outcome.stopped = bool(stop)
    if outcome.stopped:
        print("\nstopped; the same command goes on from here", file=out, flush=True)
    _report_failures(outcome, out)
    return outcome


def dry_run(suite: Suite, only: Sequence[str] = ()) -> str:
    """The runs of a suite, their states and estimated costs, as text."""
    jobs = plan_runs(suite, only)
    costs = estimate(suite, jobs)
    rows: list[list[Any]] = []
    for job in jobs:
        seconds, reason = costs.get(job.label, (0.0, ""))
        shown = duration(job.record.seconds) if job.state == "finished" else duration(seconds)
        rows.append([job.method.name, str(job.seed), job.state, shown, reason, str(job.folder)])
    known = [seconds for seconds, _ in costs.values() if seconds is not None]
    unknown = len(costs) - len(known)
    together = f", {suite.jobs} at a time" if suite.jobs > 1 else ""
    total = f"{len(costs)} of {len(jobs)} runs to do{together}"
    if costs:
        cost = duration(makespan(known, suite.jobs))
        total += f", about {cost}" if known else ", cost unknown until one has finished"
        total += f" and {unknown} of unknown cost" if unknown and known else ""
    table = Table(("Method", "Seed", "State", "Cost", "Estimated from", "Folder"), rows, suite.name)
    return f"{to_text(table)}\n{total}\n"


def report_suite(
    suite: Suite, failed: Sequence[str] = (), pictures: Sequence[Picture] = (), stream: TextIO | None = None
) -> dict[str, Path]:
    """Writes the report of whatever is finished.

    Args:
        suite: the suite.
        failed: labels of the runs that failed, named in the report.
        pictures: what the report opens with.
        stream: where the tables are printed.

    Raises:
        ComparisonError: nothing is finished yet.
    """
    # loads plots and statistics, which running and listing do without
    from oamn_plugin.reporting.compare import write_comparison

    jobs = plan_runs(suite)
    folders: dict[str, list[Path]] = {method.name: [] for method in suite.methods}
    for job in jobs:
        if job.state in TRAINED:
            folders[job.method.name].append(job.folder)
    missing = [job.label for job in jobs if job.state not in TRAINED]
    notes = [f"{label}: failed" if label in failed else f"{label}: not run yet" for label in missing]
    return write_comparison(
        folders,
        suite.report,
        suite.baseline,
        suite.name,
        pictures,
        ablation=suite.ablation,
        settings={method.name: command_text(suite, method) for method in suite.methods},
        notes=notes,
        stream=stream,
    )


_WORDS = {
    "new": "started",
    "interrupted": "goes on",
    "changed": "its command changed, starts afresh",
    "untested": "tested on new protocols",
}


def _to_do(suite: Suite, only: Sequence[str], outcome: Outcome, out: TextIO) -> Iterable[tuple[str, Job]]:
    """The runs that are not finished, each with its place in the list; the others are told on the way."""
    jobs = plan_runs(suite, only)
    for number, job in enumerate(jobs, start=1):
        place = f"[{number}/{len(jobs)}] {job.label}"
        if job.state == "finished":
            print(f"{place}: finished before", file=out, flush=True)
            outcome.finished.append(job.label)
        else:
            yield place, job


def _waits_for_weights(job: Job, active: Sequence[_Active]) -> bool:
    """Whether the training whose weights this run tests is still at it."""
    names = [(run.job.method.name, run.job.seed) for run in active]
    return bool(job.method.weights_of) and (job.method.weights_of, job.seed) in names


def _may_start(suite: Suite, place: str, job: Job, outcome: Outcome, out: TextIO) -> bool:
    """Whether there are weights to test, or a training of its own; notes a run without as failed."""
    if has_weights(suite, job):
        return True
    outcome.failed[job.label] = f"{job.method.weights_of!r} has no weights of this seed: run it first"
    print(f"{place}: failed: {outcome.failed[job.label]}", file=out, flush=True)
    return False


def _start(suite: Suite, place: str, job: Job) -> _Active:
    """Starts a run; its record says at every moment how far it is."""
    if job.state == "changed":
        _set_aside(job.folder)
    record = RunRecord(job.fingerprint) if job.state == "changed" else job.record
    write_record(job.folder, record)
    command = testing_command(suite, job) if job.state == "untested" else training_command(suite, job)
    child = Child(command, job.folder / CONSOLE, child_environment(suite.jobs))
    return _Active(place, job, record, child, record.seconds)


def _finish_one(suite: Suite, active: list[_Active], outcome: Outcome, stop: Stop, out: TextIO) -> None:
    """Waits for one of the runs and takes it from the list; returns without when asked to stop."""
    ended = wait_for_any([run.child for run in active], stop)
    for run in [run for run in active if run.child is ended]:
        active.remove(run)
        run.keep_time()
        _book(suite, run, outcome, out)


def _book(suite: Suite, run: _Active, outcome: Outcome, out: TextIO) -> None:
    """Notes how a run ended."""
    job, code = run.job, run.child.code
    if code or not (job.folder / "results.json").is_file():
        reason = f"ended with exit code {code}" if code else "ended without results.json"
        outcome.failed[job.label] = f"{reason}\n{_last_lines(job.folder / CONSOLE)}"
        print(f"{run.place}: failed: {reason}", file=out, flush=True)
        return
    run.record.finished, run.record.tested = True, sorted({*run.record.tested, *suite.protocols})
    write_record(job.folder, run.record)
    outcome.finished.append(job.label)
    print(f"{run.place}: finished in {duration(run.child.seconds)}", file=out, flush=True)


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
    known = makespan([cost for cost in rest if cost is not None], suite.jobs)
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
