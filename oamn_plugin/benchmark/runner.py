"""Runs a suite: one subprocess a run, failures kept for the end, a stop at any moment leaves a state to go on from."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oamn_plugin.benchmark.estimates import duration, estimate, makespan
from oamn_plugin.benchmark.processes import Child, Stop, child_environment, end_all, stopping_on_signals, wait_for_any
from oamn_plugin.benchmark.schedule import (
    CONSOLE,
    TRAINED,
    UNTESTED,
    Job,
    RunRecord,
    Toolbox,
    check_run,
    code_state,
    command_text,
    plan_run,
    plan_runs,
    read_record,
    results_digest,
    testing_command,
    training_command,
    write_record,
)
from oamn_plugin.benchmark.suite import Method, Suite
from oamn_plugin.datasets.embedded import drawing_nothing
from oamn_plugin.errors import ExpectedError
from oamn_plugin.locks import LOCK, BusyError, holder, holding
from oamn_plugin.reporting.tables import Table, to_text

if TYPE_CHECKING:
    from oamn_plugin.reporting.page import Picture

_HELD_S = 1.0
"""Seconds between two looks at a folder that another process holds."""
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
    """A run that a child is at: where it stands in the list, what is written of it, and its lock."""

    place: str
    job: Job
    record: RunRecord
    child: Child
    spent: float
    lock: contextlib.ExitStack

    @property
    def testing(self) -> bool:
        return self.job.state in UNTESTED

    def keep_time(self) -> None:
        """Seconds of training, over all starts, into the run's record."""
        if not self.testing:
            self.record.seconds = self.spent + self.child.seconds
        write_record(self.job.folder, self.record)


def run_suite(suite: Suite, toolboxes: Mapping[str, Toolbox], only: Sequence[str] = ()) -> Outcome:
    """Trains and tests what is not finished yet, ``suite.jobs`` runs at a time.

    A run whose folder another process holds, a training or another suite, is waited for while the others go on.

    Args:
        suite: the suite.
        toolboxes: the hosts' by name.
        only: names of methods; empty for all.

    Returns:
        What was finished and what failed. A failed run does not stop the rest; an interrupt does, and the next call
        goes on where this one stopped.
    """
    return _Runner(suite, toolboxes, only).run()


class _Runner:
    """One call of :func:`run_suite`."""

    def __init__(self, suite: Suite, toolboxes: Mapping[str, Toolbox], only: Sequence[str]) -> None:
        self.suite, self.toolboxes, self.only = suite, toolboxes, only
        self.outcome = Outcome()
        self.active: list[_Active] = []
        self.held: dict[str, tuple[float, str]] = {}  # when the folders of others were looked at last, and whose

    def run(self) -> Outcome:
        with stopping_on_signals() as stop:
            try:
                left = self._to_do()
                while (left or self.active) and not stop:
                    if not self._start_one(left):
                        self._wait(stop)
            finally:  # also when something unforeseen goes wrong: no training is left behind
                end_all([run.child for run in self.active], stop)
                for run in self.active:
                    with run.lock:
                        run.keep_time()
                        if run.child.code == 0:  # it ended just before it could be asked to stop
                            self._book(run)
            self.outcome.stopped = bool(stop)
        if self.outcome.stopped:
            _tell("\nstopped; the same command goes on from here")
        self._tell_failures()
        return self.outcome

    def _to_do(self) -> list[tuple[str, Job]]:
        """The runs that are not finished, each with its place in the list; mistakes are told before any training."""
        jobs, left = plan_runs(self.suite, self.toolboxes, self.only), []
        for number, job in enumerate(jobs, start=1):
            place = f"[{number}/{len(jobs)}] {job.label}"
            if job.state in ("finished", "wrong"):
                self._settle(place, job)
            else:
                left.append((place, job))
        return left

    def _settle(self, place: str, job: Job) -> None:
        """Notes a run that needs no start: finished, or with a mistake in its configuration."""
        if job.state == "finished":
            _tell(f"{place}: finished before")
            self.outcome.finished.append(job.label)
        else:
            self._fail(place, job, job.reason)

    def _fail(self, place: str, job: Job, reason: str) -> None:
        self.outcome.failed[job.label] = reason
        first = reason.partition("\n")[0]
        _tell(f"{place}: failed: {first}")

    def _start_one(self, left: list[tuple[str, Job]]) -> bool:
        """Starts or settles the first run that can be; False where all have to wait."""
        if len(self.active) == self.suite.jobs:
            return False
        for place, job in left:
            if self._waits_for_weights(job, left) or self._waits_for_others(place, job):
                continue
            try:
                self._begin(place, job)
            except BusyError:  # another suite was quicker; the next look says which
                continue
            left.remove((place, job))
            return True
        return False

    def _waits_for_weights(self, job: Job, left: Sequence[tuple[str, Job]]) -> bool:
        """Whether the training whose weights this run needs is still at it, here or in another process."""
        others = [*(run.job for run in self.active), *(other for _, other in left)]
        return (job.method.source, job.seed) in [(other.method.name, other.seed) for other in others]

    def _waits_for_others(self, place: str, job: Job) -> bool:
        """Whether another process holds the run's folder; each is told once."""
        looked, told = self.held.get(place, (0.0, ""))
        if time.monotonic() - looked < _HELD_S:
            return True
        owner = holder(job.folder / LOCK) or holder(_lock_of(job.folder))
        if owner and owner != told:
            _tell(f"{place}: waits for {owner}, which is at work in {job.folder}")
        if owner:
            self.held[place] = time.monotonic(), owner
        return bool(owner)

    def _begin(self, place: str, job: Job) -> None:
        """Starts a run under its lock, if nothing stands in the way and nobody has finished it meanwhile.

        Raises:
            BusyError: another process has the lock.
        """
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(holding(_lock_of(job.folder)))
                job = plan_run(self.suite, self.toolboxes, job.method, job.seed)
                if job.kept:
                    self._take_back(place, job)
                    job = plan_run(self.suite, self.toolboxes, job.method, job.seed)
                if job.state in ("finished", "wrong"):
                    self._settle(place, job)
                    return
                if lacking := self._lacking_weights(job):
                    self._fail(place, job, lacking)
                    return
                check_run(self.suite, self.toolboxes, job)  # before anything of an earlier run is moved
            except BusyError:
                raise
            except ExpectedError as error:
                self._fail(place, job, str(error))
                return
            words = _WORDS[job.state].format(reason=job.reason)
            _tell(f"{place}: {words}{self._hint(job)}; log in {job.folder / CONSOLE}")
            if job.state == "changed":
                _set_aside(job.folder)
            if (state := code_state()) not in job.record.code:
                job.record.code.append(state)
            write_record(job.folder, job.record)
            command = (testing_command if job.state in UNTESTED else training_command)(self.suite, job)
            child = Child(command, job.folder / CONSOLE, child_environment(self.suite.jobs), lock)
            self.active.append(_Active(place, job, job.record, child, job.record.seconds, stack.pop_all()))

    def _take_back(self, place: str, job: Job) -> None:
        """Puts a finished run that was set aside into its place again, in exchange for what is there."""
        assert job.kept
        _tell(f"{place}: {job.kept.name} is this very run: taken back")
        if job.folder.exists():
            _set_aside(job.folder)
        job.kept.rename(job.folder)

    def _lacking_weights(self, job: Job) -> str:
        if not job.method.source:
            return ""
        source = plan_run(self.suite, self.toolboxes, self.suite.source(job.method), job.seed)
        return "" if source.state in TRAINED else f"{source.method.name!r} has no weights of this seed: run it first"

    def _wait(self, stop: Stop) -> None:
        """Until one of the own runs has ended; without any, for a moment."""
        if not self.active:
            time.sleep(_HELD_S / 10)
            return
        ended = wait_for_any([run.child for run in self.active], stop)
        for run in [run for run in self.active if run.child is ended]:
            self.active.remove(run)
            with run.lock:
                run.keep_time()
                self._book(run)

    def _book(self, run: _Active) -> None:
        """Notes how a run ended."""
        job, code = run.job, run.child.code
        if code or not (job.folder / "results.json").is_file():
            reason = f"ended with exit code {code}" if code else "ended without results.json"
            self.outcome.failed[job.label] = f"{reason}\n{_last_lines(job.folder / CONSOLE)}"
            _tell(f"{run.place}: failed: {reason}")
            return
        run.record.finished, run.record.tested = True, sorted(self.suite.protocols)
        run.record.results = results_digest(job.folder)
        write_record(job.folder, run.record)
        self.outcome.finished.append(job.label)
        _tell(f"{run.place}: finished in {duration(run.child.seconds)}")

    def _hint(self, job: Job) -> str:
        costs = estimate(plan_runs(self.suite, self.toolboxes, self.only))
        seconds = costs.get(job.label, (None, ""))[0]
        rest = [cost for cost, _ in costs.values()]
        if seconds is None:
            return ""
        known = makespan([cost for cost in rest if cost is not None], self.suite.jobs)
        return f", about {duration(seconds)} (suite: {'at least ' if None in rest else ''}{duration(known)} to go)"

    def _tell_failures(self) -> None:
        if not self.outcome.failed:
            return
        _tell(f"\n{len(self.outcome.failed)} of the runs failed:")
        for line in told_once(self.outcome.failed):
            _tell(f"\n{line}")


def _tell(text: str) -> None:
    print(text, flush=True)


def told_once(reasons: Mapping[str, str]) -> list[str]:
    """``NAME; NAME: REASON`` for each reason: a missing data set stops many.

    >>> told_once({"a": "no data", "b": "no weights", "c": "no data"})
    ['a; c: no data', 'b: no weights']
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{'; '.join(sharing)}: {reason}" for reason, sharing in names.items()]


def dry_run(suite: Suite, toolboxes: Mapping[str, Toolbox], only: Sequence[str] = ()) -> tuple[str, dict[str, str]]:
    """What a suite would do, nothing of which is done.

    Returns:
        The runs, their states and estimated costs as text; and method to what its preflight found, if anything. Each
        method is checked once, with its first run that is to be started.
    """
    jobs = plan_runs(suite, toolboxes, only)
    costs = estimate(jobs)
    rows: list[list[Any]] = []
    found: dict[str, str] = {}
    checked: set[str] = set()
    for job in jobs:
        owner = holder(job.folder / LOCK) or holder(_lock_of(job.folder))
        if job.state == "wrong":
            found.setdefault(job.method.name, job.reason)
        elif job.state not in ("finished", "set aside") and not owner and job.method.name not in checked:
            checked.add(job.method.name)
            try:
                with drawing_nothing():
                    check_run(suite, toolboxes, job)
            except ExpectedError as error:
                found.setdefault(job.method.name, str(error))
        seconds, reason = costs.get(job.label, (0.0, ""))
        shown = duration(job.record.seconds) if job.state == "finished" else duration(seconds)
        state = f"{job.state}, {owner} is at it" if owner else job.state
        reason = f"taken back from {job.kept.name}" if job.kept else reason
        rows.append([job.method.name, str(job.seed), state, shown, reason, str(job.folder)])
    known = [seconds for seconds, _ in costs.values() if seconds is not None]
    unknown = len(costs) - len(known)
    together = f", {suite.jobs} at a time" if suite.jobs > 1 else ""
    total = f"{len(costs)} of {len(jobs)} runs to do{together}"
    if costs:
        cost = duration(makespan(known, suite.jobs))
        total += f", about {cost}" if known else ", cost unknown until one has finished"
        total += f" and {unknown} of unknown cost" if unknown and known else ""
    table = Table(("Method", "Seed", "State", "Cost", "Estimated from", "Folder"), rows, suite.name)
    return f"{to_text(table)}\n{total}\n", found


def report_suite(
    suite: Suite,
    toolboxes: Mapping[str, Toolbox],
    failed: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
) -> dict[str, Path]:
    """Writes the report of whatever is finished.

    Args:
        suite: the suite.
        toolboxes: the hosts' by name.
        failed: labels of the runs that failed, named in the report.
        pictures: what the report opens with.

    Raises:
        ComparisonError: nothing is finished yet.
    """
    # loads plots and statistics, which running and listing do without
    from oamn_plugin.reporting.compare import write_comparison

    folders, notes = _finished(suite, toolboxes, failed)
    return write_comparison(
        folders,
        suite.report,
        suite.baseline,
        suite.name,
        pictures,
        parts=suite.parts,
        settings={method.name: command_text(suite, method) for method in suite.methods},
        trained_as=_trained_as(suite),
        notes=notes,
    )


def write_docs(suite: Suite, toolboxes: Mapping[str, Toolbox], folder: Path, name: str) -> Path:
    """Writes the page of a suite, from whatever is finished: ``<folder>/<name>.md``.

    Raises:
        ComparisonError: nothing is finished yet.
    """
    from oamn_plugin.reporting.suite_page import write_suite_page

    found, notes = _finished(suite, toolboxes)
    place = [method.name for method in suite.methods]  # a method and what tests its weights stand together
    order = sorted(suite.methods, key=lambda one: (place.index(suite.source(one).name), place.index(one.name)))
    mixed = any(_computes_mixed(suite, toolboxes, method) for method in suite.methods)
    runs = [run for folders in found.values() for run in folders]
    states = sorted({state for run in runs if (record := read_record(run)) for state in record.code or ["unknown"]})
    lead = f"{suite.about} " if suite.about else ""
    lead += (
        f"Written by `oamn benchmark {name} --docs {folder.as_posix()}` from {len(runs)} run folders, "
        f"seed{'s' if len(suite.seeds) > 1 else ''} {', '.join(map(str, suite.seeds))}, "
        f"in {'mixed precision' if mixed else 'float32'}; "
        f"{'one state' if len(states) == 1 else f'{len(states)} states'} of the code ({', '.join(states)})."
    )
    path = folder / f"{name}.md"
    write_suite_page(
        path, {method.name: found[method.name] for method in order}, suite.baseline, suite.name, lead, suite.parts,
        {method.name: command_text(suite, method) for method in suite.methods}, _trained_as(suite),
        notes,
    )  # fmt: skip
    return path


def _trained_as(suite: Suite) -> dict[str, str]:
    """Method that trains nothing to the one whose weights it tests."""
    return {method.name: method.weights_of for method in suite.methods if method.weights_of}


def _computes_mixed(suite: Suite, toolboxes: Mapping[str, Toolbox], method: Method) -> bool:
    """Whether a configuration trains or tests in less than float32."""
    values = toolboxes[method.host].resolve(method.config, suite.options(method))
    return any(values.get(key) for key in ("SOLVER.AMP.ENABLED", "TEST.AMP", "train.amp", "test.amp"))


def _finished(
    suite: Suite, toolboxes: Mapping[str, Toolbox], failed: Sequence[str] = ()
) -> tuple[dict[str, list[Path]], list[str]]:
    """Folders of the finished runs by method, and a line on each of the others."""
    folders: dict[str, list[Path]] = {method.name: [] for method in suite.methods}
    notes: list[str] = []
    untested: Counter[str] = Counter()
    for job in plan_runs(suite, toolboxes):
        if job.state in ("finished", "untested"):
            folders[job.method.name].append(job.folder)
            untested.update(set(suite.protocols) - set(job.record.tested))
        elif job.state == "overwritten":
            notes.append(f"{job.label}: left out, its results.json is of another test: run the suite to test it again")
        else:
            notes.append(f"{job.label}: failed" if job.label in failed else f"{job.label}: not run yet")
    notes += [f"{name}: {untested[name]} runs are not tested on it" for name in suite.protocols if untested[name]]
    return folders, notes


_WORDS = {
    "new": "started",
    "interrupted": "goes on",
    "changed": "its configuration changed ({reason}), starts afresh",
    "untested": "tested on new protocols",
    "overwritten": "its results.json is of another test, tested again",
}


def _lock_of(folder: Path) -> Path:
    """The lock of a suite on a run: beside the folder, which may be renamed."""
    return folder.with_name(f".{folder.name}.lock")


def _set_aside(folder: Path) -> None:
    """Keeps what another configuration left: the folder gets the suffix .old-1, .old-2, ..."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(aside)


def _last_lines(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(f"    {line}" for line in lines)
