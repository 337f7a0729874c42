"""The runs of a suite: their commands, and what has been done of each."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from oamn_plugin.benchmark.suite import HOSTS, Method, Suite
from oamn_plugin.configurations import find_config, label_of
from oamn_plugin.files import write_atomically
from oamn_plugin.presets import PRESETS, Options, preset

RECORD = "benchmark.json"
"""File in a run folder that says which command it belongs to and how far it came."""
TRAINED = ("finished", "untested")
"""States of a run that has come to its end."""
CONSOLE = "console.txt"
"""File in a run folder with everything that the training printed."""


@dataclass
class RunRecord:
    """What the runner knows of a run folder: the fingerprint of its command, whether it ended well, seconds spent.

    ``tested`` are the protocols that it was tested on.
    """

    fingerprint: str = ""
    finished: bool = False
    seconds: float = 0.0
    tested: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """One run of a suite.

    Attributes:
        method: what is trained.
        seed: with which seed.
        folder: where.
        fingerprint: of its command and configuration files.
        state: ``new``, ``interrupted`` (goes on with ``--resume``), ``changed`` (another command was there: starts
            afresh), ``untested`` (trained, but not tested on every protocol) or ``finished``.
        record: what is known of it.
    """

    method: Method
    seed: int
    folder: Path
    fingerprint: str
    state: str
    record: RunRecord

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.method.name}, seed {self.seed}"


def plan_runs(suite: Suite, only: Sequence[str] = ()) -> list[Job]:
    """The runs of a suite with their states, seed by seed, so that every method has a figure early.

    What tests the weights of another method comes after all that is trained.

    Args:
        suite: the suite.
        only: names of methods; empty for all.

    Raises:
        SuiteError: ``only`` names a method that is not there.
    """
    methods = sorted(suite.only(only), key=lambda method: bool(method.weights_of))
    return [_job(suite, method, seed) for seed in suite.seeds for method in methods]


def training_command(suite: Suite, job: Job) -> list[str]:
    """The command that trains a run and tests it; with ``--resume`` where it was interrupted.

    Where the weights are another method's, the command that tests them.
    """
    if job.method.weights_of:
        return _testing(suite, job.method, job.seed, job.folder)
    resume = ["--resume"] if job.state == "interrupted" else []
    return [*_start(suite, job.method), *resume, *_options(suite, job.method, job.seed, job.folder, suite.protocols)]


def testing_command(suite: Suite, job: Job) -> list[str]:
    """The command that tests a trained run on every protocol of the suite, into its ``evaluation`` folder."""
    return _testing(suite, job.method, job.seed, job.folder / "evaluation")


def _testing(suite: Suite, method: Method, seed: int, folder: Path) -> list[str]:
    trained = suite.run_folder(suite.source(method), seed)
    best = trained / "model_best.pth"  # a run that validates tests its best weights
    weights = best if best.is_file() else trained / "model_final.pth"
    options = _options(suite, method, seed, folder, suite.protocols)
    return [*_start(suite, method), "--eval-only", *options, HOSTS[method.host].weights, str(weights)]


def has_weights(suite: Suite, job: Job) -> bool:
    """Whether the training whose weights a run tests is finished as the suite states it; True if it trains its own."""
    return not job.method.weights_of or _job(suite, suite.source(job.method), job.seed).state in TRAINED


def command_text(suite: Suite, method: Method) -> str:
    """The command of a method for a reader, without the interpreter's path; the first seed's."""
    seed = suite.seeds[0]
    folder = suite.run_folder(method, seed)
    if method.weights_of:
        return shlex.join(["python", *_testing(suite, method, seed, folder)[1:]])
    options = _options(suite, method, seed, folder, suite.protocols)
    return shlex.join(["python", *_start(suite, method)[1:], *options])


def read_record(folder: Path) -> RunRecord | None:
    """The record of a run folder, None where there is none or it is unreadable."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return RunRecord(**content)
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, record: RunRecord) -> None:
    """Writes the record so that a kill leaves the old one or the new one, never half of it."""
    write_atomically(folder / RECORD, (json.dumps(asdict(record), indent=2) + "\n").encode())


def _job(suite: Suite, method: Method, seed: int) -> Job:
    folder = suite.run_folder(method, seed)
    fingerprint, record = _fingerprint(suite, method, seed), read_record(folder)
    state = _state(suite, folder, fingerprint, record)
    return Job(method, seed, folder, fingerprint, state, record or RunRecord(fingerprint))


def _state(suite: Suite, folder: Path, fingerprint: str, record: RunRecord | None) -> str:
    if record is None:
        return "changed" if folder.is_dir() and any(folder.iterdir()) else "new"
    if record.fingerprint != fingerprint:
        return "changed"
    if not record.finished or not (folder / "results.json").is_file():
        return "interrupted"
    return "finished" if set(suite.protocols) <= set(record.tested) else "untested"


def _fingerprint(suite: Suite, method: Method, seed: int) -> str:
    """Of the training command, without the protocols (they need no new training), and all configuration files.

    Where these name a preset, of what it says too: a run of last month's ``plus`` is none of today's. Where the weights
    are another method's, of that method's too.
    """
    digest = hashlib.sha256()
    script = suite.command[1:] or (HOSTS[method.host].script,)
    config = label_of(Path(method.config))
    parts = [*script, "--config-file", config, *_options(suite, method, seed, Path("run"), ())]
    if method.weights_of:
        parts.append(_fingerprint(suite, suite.source(method), seed))
    chain = _chain(Path(method.config))
    if name := _preset_name(suite, method, chain):
        plain = asdict(Options())
        parts += [f"{key} {value}" for key, value in asdict(preset(name)).items() if value != plain[key]]
    for text in [*parts, *chain]:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def _preset_name(suite: Suite, method: Method, chain: Sequence[str]) -> str | None:
    """The preset that a method's own options name, else the suite's, else the nearest configuration file."""
    common = suite.opts if method.host == "fastreid" else suite.torchreid_opts
    for options in (method.opts, common):
        for key, value in reversed(list(zip(options[::2], options[1::2], strict=True))):
            if key in ("MODEL.OAMN.PRESET", "oamn.preset"):
                return value if value in PRESETS else None
    for text in chain:
        content: Any = yaml.safe_load(text)
        for words in (["MODEL", "OAMN", "PRESET"], ["oamn", "preset"]):
            found = content
            for word in words:
                found = found.get(word) if isinstance(found, dict) else None
            if found in PRESETS:
                return str(found)
    return None


def _chain(path: Path) -> list[str]:
    """Contents of a configuration file and of the files that it is based on."""
    texts: list[str] = []
    seen: set[Path] = set()
    while path.is_file() and path.resolve() not in seen:
        seen.add(path.resolve())
        texts.append(path.read_text(encoding="utf-8"))
        base: Any = yaml.safe_load(texts[-1])
        base = base.get("_BASE_") if isinstance(base, dict) else None
        path = find_config(base, beside=path.parent) if base else Path()
    return texts


def _start(suite: Suite, method: Method) -> list[str]:
    command = suite.command or ("python", "-m", "oamn_plugin", "train")
    return [sys.executable if command[0] == "python" else command[0], *command[1:], "--config-file", method.config]


def _options(suite: Suite, method: Method, seed: int, folder: Path, protocols: Sequence[str]) -> list[str]:
    host = HOSTS[method.host]
    common = suite.opts if method.host == "fastreid" else suite.torchreid_opts
    tests = [host.tests, repr(tuple(protocols)) if method.host == "fastreid" else repr(list(protocols))]
    return [host.output, str(folder), host.seed, str(seed), *common, *method.opts, *(tests if protocols else [])]
