"""Training processes that ``torture.py`` starts, kills and compares; each is the real command in a process of its own.

A server process has imported everything and forks: a start takes a fraction of a second instead of several.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 600.0
"""Seconds that any process may take."""
ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.BACKBONE.NAME", "build_mobilenetv2_backbone",
    "MODEL.BACKBONE.DEPTH", "0.1x",
    "MODEL.BACKBONE.FEAT_DIM", "1280",
    "MODEL.BACKBONE.PRETRAIN", "False",
    "INPUT.SIZE_TRAIN", "[64,32]",
    "INPUT.SIZE_TEST", "[64,32]",
    "INPUT.PADDING.SIZE", "4",
    "DATASETS.NAMES", "['OccludedPedestrians']",
    "DATASETS.TESTS", "['OccludedPedestrians']",
    "DATASETS.EMBEDDED.SIZE", "tiny",
    "DATASETS.VALIDATION.NUM_IDS", "4",
    "DATALOADER.NUM_WORKERS", "1",
    "SOLVER.IMS_PER_BATCH", "4",
    "SOLVER.MAX_EPOCH", "3",
    "SOLVER.BASE_LR", "0.01",
    "SOLVER.SCHED", "CosineAnnealingLR",
    "SOLVER.CHECKPOINT_STEPS", "2",
    "SOLVER.CHECKPOINT_KEEP", "3",
    "SOLVER.LOG_PERIOD", "1",
    "TEST.EVAL_PERIOD", "1",
    "TEST.IMS_PER_BATCH", "5",
]  # fmt: skip


class Run:
    """A run folder and the command that fills it.

    Args:
        output: the run folder.
        data: folder of the data sets.
        options: further words of the command line.
    """

    def __init__(self, output: Path, data: Path, *options: str) -> None:
        self.output, self.log = output, output.with_name(f"{output.name}.log")
        self.words = [*TINY, "DATASETS.ROOT", str(data), "OUTPUT_DIR", str(output), *options]

    def start(self, *flags: str) -> Any:
        """Starts the command in a process group of its own."""
        self.log.unlink(missing_ok=True)
        words = ["--config-file", str(ROOT / "configs" / "Base-OAMN.yml"), *flags, *self.words]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["oamn_plugin.hosts.fastreid.main"])
        process = context.Process(target=_command, args=(words, str(self.log)))
        process.start()
        return process

    def finish(self, *flags: str) -> int:
        """Runs the command to its end and returns its exit code."""
        return end(self.start(*flags))

    def told(self) -> str:
        """What the command has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, process: Any, holds: Callable[[], bool]) -> bool:
        """Waits until something holds (True) or the process ends (False)."""
        deadline = time.monotonic() + LIMIT
        while not holds():
            if process.exitcode is not None:
                return False
            assert time.monotonic() < deadline, f"nothing happened; last lines: {self.told()[-300:]}"
            time.sleep(0.005)
        return True

    def copy(self, name: str) -> Path:
        """The run folder, copied."""
        return Path(shutil.copytree(self.output, self.output.with_name(name), dirs_exist_ok=True))


def end(process: Any) -> int:
    """Waits for a process, kills it where it takes too long, and returns its exit code."""
    process.join(LIMIT)
    if process.exitcode is None:
        kill(process)
        raise AssertionError(f"still running after {LIMIT:.0f} s")
    return process.exitcode


def kill(process: Any) -> None:
    """SIGKILL to a process and to its data workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _command(words: list[str], log: str) -> None:
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    multiprocessing.set_start_method("fork", force=True)  # data workers as the command itself has them
    sys.argv = ["train_net.py", *words]
    sys.path.insert(0, str(ROOT / "tools"))
    import train_net

    sys.exit(train_net.main())


def check_same(found: Path, wanted: Path) -> None:
    """Asserts that two runs have equal weights to the bit, equal results and every step once in their metrics."""
    import torch

    from oamn_plugin.hosts.shared.checkpoint import load_checkpoint

    states = [load_checkpoint(folder / "model_final.pth")["model"] for folder in (wanted, found)]
    assert states[0].keys() == states[1].keys(), "other entries"
    differing = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert not differing, f"{len(differing)} of {len(states[0])} weights differ"
    results = [json.loads((folder / "results.json").read_text()) for folder in (wanted, found)]
    for one in results:
        one["OccludedPedestrians"].pop("seconds_per_1000_gallery")
    assert results[0] == results[1], "other results"
    steps = [[json.loads(line)["iteration"] for line in (folder / "metrics.json").open()] for folder in (wanted, found)]
    assert steps[0] == steps[1], f"metrics.json holds the steps {steps[1]}"
