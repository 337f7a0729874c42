"""The runs of a suite: their commands, and what has been done of each.

A run belongs to the configuration that it wrote into its folder. It is compared, value by value, with what its method
says today; where they differ, the run starts afresh.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from oamn_plugin.benchmark.suite import HOSTS, Method, Suite
from oamn_plugin.configurations import config_files
from oamn_plugin.errors import ExpectedError
from oamn_plugin.files import write_atomically
from oamn_plugin.reporting.runs import CONFIGURATION, TEST_CONFIGURATION

RECORD = "benchmark.json"
"""File in a run folder that says which command it belongs to and how far it came."""
UNTESTED = ("untested", "overwritten")
"""States of a run that is trained and whose figures are missing, or no longer there."""
TRAINED = ("finished", *UNTESTED)
"""States of a run that has come to its end."""
CONSOLE = "console.txt"
"""File in a run folder with everything that the training printed."""


class Toolbox(Protocol):
    """What a suite asks of a toolbox; :mod:`oamn_plugin.hosts.toolboxes` has those of the hosts."""

    def resolve(self, config: str, options: Sequence[str]) -> dict[str, Any]:
        """Every key with its value, as plain data.

        Raises:
            ExpectedError: an unknown key or a wrong value.
        """

    def check(self, config: str, options: Sequence[str], train: bool) -> None:
        """Everything that would fail later; without ``train`` what a test needs, its weights apart.

        Raises:
            ExpectedError: every finding in one message.
        """


@dataclass
class RunRecord:
    """What the runner knows of a run folder: whether the run ended well, seconds spent, protocols it was tested on.

    ``weights`` stands for the configuration that trained the weights which a run of another method's has tested, or
    started from, ``results`` for the content of ``results.json`` that this test wrote, ``code`` for the states of the
    package's code that worked on it.
    """

    finished: bool = False
    seconds: float = 0.0
    tested: list[str] = field(default_factory=list)
    weights: str = ""
    results: str = ""
    code: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """One run of a suite.

    Attributes:
        method: what is trained.
        seed: with which seed.
        folder: where.
        state: ``new``, ``interrupted`` (goes on with ``--resume``), ``changed`` (a run of another configuration is
            there: starts afresh), ``set aside`` (finished in a folder that was kept, which is taken back), ``untested``
            (trained, but not tested on every protocol), ``overwritten`` (trained, but its results.json is of another
            test than the suite's), ``finished``, or ``wrong`` (a mistake in the configuration).
        record: what is known of it.
        reason: for ``changed`` what differs, for ``wrong`` the message.
        kept: the folder of a run that is ``set aside``.
    """

    method: Method
    seed: int
    folder: Path
    state: str
    record: RunRecord
    reason: str = ""
    kept: Path | None = None

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.method.name}, seed {self.seed}"


def plan_runs(suite: Suite, toolboxes: Mapping[str, Toolbox], only: Sequence[str] = ()) -> list[Job]:
    """The runs of a suite with their states, seed by seed, so that every method has a figure early.

    What tests the weights of another method comes after all that is trained.

    Args:
        suite: the suite.
        toolboxes: the hosts' by name.
        only: names of methods; empty for all.

    Raises:
        SuiteError: ``only`` names a method that is not there.
    """
    methods = sorted(suite.only(only), key=lambda method: bool(method.weights_of))
    planner = _Planner(suite, toolboxes)
    return [planner.job(method, seed) for seed in suite.seeds for method in methods]


def plan_run(suite: Suite, toolboxes: Mapping[str, Toolbox], method: Method, seed: int) -> Job:
    """One run with its state of this moment."""
    return _Planner(suite, toolboxes).job(method, seed)


def training_command(suite: Suite, job: Job) -> list[str]:
    """The command that trains a run and tests it; with ``--resume`` where it was interrupted.

    Where the weights are another method's, the command that tests them.
    """
    if job.method.weights_of:
        return testing_command(suite, job)
    command = [*_start(suite, job.method), *(["--resume"] if job.state == "interrupted" else [])]
    command += _options(suite, job)
    if job.method.starts_from:
        command += [HOSTS[job.method.host].init, _trained_weights(suite, suite.source(job.method), job.seed)]
    return command


def testing_command(suite: Suite, job: Job) -> list[str]:
    """The command that tests a trained run on every protocol of the suite."""
    method = job.method
    weights = _trained_weights(suite, suite.source(method) if method.weights_of else method, job.seed)
    return [*_start(suite, method), "--eval-only", *_options(suite, job), HOSTS[method.host].weights, weights]


def _trained_weights(suite: Suite, method: Method, seed: int) -> str:
    folder = suite.run_folder(method, seed)
    best = folder / "model_best.pth"  # a run that validates has chosen its best weights
    return str(best if best.is_file() else folder / "model_final.pth")


def check_run(suite: Suite, toolboxes: Mapping[str, Toolbox], job: Job) -> None:
    """The preflight of a run.

    Raises:
        ExpectedError: every finding in one message.
    """
    toolboxes[job.method.host].check(job.method.config, _options(suite, job), train=not job.method.weights_of)


def command_text(suite: Suite, method: Method) -> str:
    """The command of a method for a reader, the first seed's; a configuration of the package by its name."""
    seed = suite.seeds[0]
    folder = suite.run_folder(method, seed)
    words = training_command(suite, Job(method, seed, folder, "new", RunRecord()))
    shown = {sys.executable: "python", **{str(path): name for name, path in config_files().items()}}
    words = [shown.get(word, word) for word in words]
    return shlex.join(["oamn", *words[3:]] if words[1:3] == ["-m", "oamn_plugin"] else words)


def read_record(folder: Path) -> RunRecord | None:
    """The record of a run folder, None where there is none or it is unreadable."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return RunRecord(**{one.name: content[one.name] for one in fields(RunRecord) if one.name in content})
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def results_digest(folder: Path) -> str:
    """Stands for the content of a run's results.json; its timings differ from one test to the next."""
    return _digest((folder / "results.json").read_bytes())


def write_record(folder: Path, record: RunRecord) -> None:
    """Writes the record so that a kill leaves the old one or the new one, never half of it."""
    write_atomically(folder / RECORD, (json.dumps(asdict(record), indent=2) + "\n").encode())


def code_state() -> str:
    """Ten hex digits that stand for the package's code as it lies on the disk now."""
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()[:10]


class _Planner:
    """Reads what is there of a suite's runs; each method's configuration once."""

    def __init__(self, suite: Suite, toolboxes: Mapping[str, Toolbox]) -> None:
        self.suite, self.toolboxes = suite, toolboxes
        self._wanted: dict[str, dict[str, Any]] = {}

    def job(self, method: Method, seed: int) -> Job:
        folder = self.suite.run_folder(method, seed)
        record = read_record(folder)
        try:
            weights = self._weights(method, seed)
            reason = self._difference(method, seed, folder, record)
        except ExpectedError as error:
            return Job(method, seed, folder, "wrong", RunRecord(), str(error))
        if reason is None:
            state = self._state(folder, record)
            record = record or RunRecord(weights=weights)
            if not _configuration(folder):  # it stopped before its first step: it starts from the weights of today
                record.weights = weights
            return Job(method, seed, folder, state, record)
        for kept in sorted(folder.parent.glob(f"{folder.name}.old-*"), key=_number, reverse=True):
            known = read_record(kept)
            if self._difference(method, seed, kept, known) is None and self._state(kept, known) in TRAINED:
                return Job(method, seed, folder, "set aside", known or RunRecord(), kept=kept)
        state = "changed" if folder.is_dir() and any(folder.iterdir()) else "new"
        return Job(method, seed, folder, state, RunRecord(weights=weights), reason)

    def _state(self, folder: Path, record: RunRecord | None) -> str:
        if record is None or not record.finished or not (folder / "results.json").is_file():
            return "interrupted"
        if record.results not in ("", results_digest(folder)):
            return "overwritten"
        return "finished" if set(self.suite.protocols) <= set(record.tested) else "untested"

    def _difference(self, method: Method, seed: int, folder: Path, record: RunRecord | None) -> str | None:
        """Why what is in a folder is no run of a method; None where it is one."""
        wanted = self._resolved(method, seed)
        configuration = _configuration(folder)
        if configuration is None:
            begun = record is not None and not record.finished  # stopped before it wrote its configuration
            return None if begun else "there is no configuration in it"
        try:
            used = self._stripped(method, self.toolboxes[method.host].resolve(str(configuration), ()))
        except ExpectedError as error:
            return str(error)
        weights, known = self._weights(method, seed), record.weights if record else ""
        # a test by hand of the same weights is as good; from which weights a training began, its record alone knows
        if known != weights and (known or method.starts_from):
            if known and weights:
                return f"the weights of {method.source} are of another configuration"
            return f"it did not start from {method.source}" if weights else "it used the weights of another method"
        if not wanted.get(counted := HOSTS[method.host].counted):
            used[counted] = wanted.get(counted)
        told = [f"{key} {used.get(key)} then, {wanted.get(key)} now" for key in sorted({*used, *wanted})
                if used.get(key) != wanted.get(key)]  # fmt: skip
        return "; ".join([*told[:3], *([f"and {len(told) - 3} more"] if len(told) > 3 else [])]) or None

    def _weights(self, method: Method, seed: int) -> str:
        if not method.source:
            return ""
        source = self.suite.source(method)
        trained = json.dumps(self._resolved(source, seed), sort_keys=True)
        return _digest((trained + self._weights(source, seed)).encode())

    def _resolved(self, method: Method, seed: int) -> dict[str, Any]:
        """Every key and value that a run of a method has today, those apart that say only where and what to test."""
        if method.name not in self._wanted:
            found = self.toolboxes[method.host].resolve(method.config, self.suite.options(method))
            self._wanted[method.name] = self._stripped(method, found)
        return self._wanted[method.name] | {HOSTS[method.host].seed: seed}

    @staticmethod
    def _stripped(method: Method, values: Mapping[str, Any]) -> dict[str, Any]:
        host = HOSTS[method.host]
        aside = {host.output, host.tests, *((host.weights, "test.evaluate") if method.weights_of else ())}
        aside |= {host.init} if method.starts_from else set()
        return {key: value for key, value in values.items() if key not in aside}


def _configuration(folder: Path) -> Path | None:
    """The configuration that a run wrote, of its training where there was one."""
    files = (folder / name for name in (CONFIGURATION, TEST_CONFIGURATION))
    return next((path for path in files if path.is_file()), None)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _number(folder: Path) -> int:
    tail = folder.name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdecimal() else 0


def _start(suite: Suite, method: Method) -> list[str]:
    command = suite.command or ("python", "-m", "oamn_plugin", "train")
    return [sys.executable if command[0] == "python" else command[0], *command[1:], "--config-file", method.config]


def _options(suite: Suite, job: Job) -> list[str]:
    host = HOSTS[job.method.host]
    tests = [host.tests, json.dumps(suite.protocols)] if suite.protocols else []
    return [host.output, str(job.folder), host.seed, str(job.seed), *suite.options(job.method), *tests]
