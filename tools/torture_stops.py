"""How ``torture.py`` stops runs: kills, signals, damaged checkpoints, full and read-only disks."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

from torture import Case, Skipped
from torture_runs import Run, check_same, end, kill

KILLS = 20
STEPS = 24
DAMAGES = ("empty", "cut in half", "one bit", "zeros at the end", "noise")
RESUMED = re.compile(r"Resumed after step (\d+) of")


class Stops:
    """Where the runs lie, and the one that nothing happened to.

    Args:
        work: folder for everything.
        seed: where random kills and damages fall.
    """

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.random = work, random.Random(seed)

    @cached_property
    def data(self) -> Path:
        """Folder of the generated data set."""
        from oamn_plugin.datasets.embedded import ensure

        ensure(self.work / "data", size="tiny")
        return self.work / "data"

    @cached_property
    def reference(self) -> Run:
        """An uninterrupted run."""
        run = self.run("reference")
        assert run.finish() == 0, run.told()[-500:]
        assert f"step {STEPS}/{STEPS}" in run.told()
        return run

    def run(self, name: str, *options: str, data: Path | None = None) -> Run:
        """A run in a new folder."""
        shutil.rmtree(self.work / name, ignore_errors=True)
        return Run(self.work / name, data or self.data, *options)

    # kill

    def kills(self) -> list[Case]:
        """SIGKILL to the process and its workers at a random moment between start and end of training."""
        return [(f"SIGKILL {number + 1} of {KILLS}", partial(self._kill, number)) for number in range(KILLS)]

    def _kill(self, number: int) -> str:
        self.reference  # noqa: B018 made once
        run = self.run(f"kill{number}")
        process = run.start()
        step = self.random.randrange(STEPS)
        sign = f"step {step}/" if step else "million parameters"
        run.wait_for(process, lambda: sign in run.told())
        time.sleep(self.random.uniform(0, 0.3))  # on its way through the step, a save or a validation
        if process.exitcode is None:
            kill(process)
        steps = re.findall(r"step (\d+)/", run.told())
        assert run.finish("--resume") == 0, run.told()[-500:]
        resumed = RESUMED.search(run.told())
        check_same(run.output, self.reference.output)
        shutil.rmtree(run.output)
        return f"killed after step {steps[-1] if steps else 0}, resumed after {resumed[1] if resumed else 0}, equal"

    # signal

    def signals(self) -> list[Case]:
        """SIGTERM and SIGINT: saved, left with exit code 75, resumed."""
        return [(one.name, partial(self._signal, one)) for one in (signal.SIGTERM, signal.SIGINT)]

    def _signal(self, one: signal.Signals) -> str:
        self.reference  # noqa: B018
        run = self.run(f"signal{one.name}")
        process = run.start()
        assert run.wait_for(process, lambda: "step 3/" in run.told()), run.told()[-500:]
        os.kill(process.pid, one)
        code = end(process)
        assert code == 75, f"exit code {code}: {run.told()[-300:]}"
        assert "Traceback" not in run.told()
        assert run.finish("--resume") == 0, run.told()[-500:]
        check_same(run.output, self.reference.output)
        return "exit code 75, no traceback, resumed, equal"

    # corrupt

    def corruptions(self) -> list[Case]:
        """A damaged newest checkpoint: told, the one before it used, the end equal."""
        return [(how, partial(self._corrupt, how)) for how in DAMAGES]

    def _corrupt(self, how: str) -> str:
        run = self.run("corrupt-" + how.replace(" ", "-"))
        shutil.copytree(self.reference.output, run.output)
        newest = max((run.output / "checkpoints").glob("step_*.pth"))
        content = bytearray(newest.read_bytes())
        spot = self.random.randrange(len(content) // 4, 3 * len(content) // 4)
        if how == "one bit":
            content[spot] ^= 1 << self.random.randrange(8)
        elif how == "zeros at the end":
            content[-5000:] = bytes(5000)
        elif how == "noise":
            content = bytearray(self.random.randbytes(len(content)))
        else:
            content = content[: len(content) // 2 if how == "cut in half" else 0]
        newest.write_bytes(content)
        assert run.finish("--resume") == 0, run.told()[-500:]
        assert newest.name in run.told(), "the damaged file is not named"
        assert "the one before it is used" in run.told(), "the damage was not noticed"
        check_same(run.output, self.reference.output)
        return f"noticed in {newest.name}, resumed after step {RESUMED.search(run.told())[1]}, equal"  # type: ignore[index]

    # disk

    def disks(self) -> list[Case]:
        """A file system that fills up, and one that is read-only."""
        return [("disk full, then made larger", self._full), ("output folder read-only", self._read_only)]

    def _full(self) -> str:
        from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, step_files

        state = max(step_files(self.reference.output)).stat().st_size
        with small_disk(self.work / "small", int(2.5 * state)) as disk:
            run = Run(disk / "run", self.data)
            run.log = self.work / "full.log"
            code = run.finish()
            assert code == 2, f"exit code {code}: {run.told()[-500:]}"
            assert "Traceback" not in run.told(), run.told()[-800:]
            last = run.told().splitlines()[-1]
            assert "cannot write" in last, last
            assert "No space left on device" in last, last
            kept = step_files(run.output)
            assert kept, "no checkpoint is left"
            for path in kept:
                load_checkpoint(path)
            mount("-o", f"remount,size={40 * state}", str(disk))
            assert run.finish("--resume") == 0, run.told()[-500:]
            check_same(run.output, self.reference.output)
        return f"one message, exit code 2, {len(kept)} checkpoints whole; resumed with room, equal"

    def _read_only(self) -> str:
        with small_disk(self.work / "readonly", 2**22) as disk:
            mount("-o", "remount,ro", str(disk))
            run = Run(disk / "run", self.data)
            run.log = self.work / "readonly.log"
            code = run.finish()
        assert code == 2, f"exit code {code}"
        assert "Traceback" not in run.told(), run.told()[-800:]
        return run.told().strip().splitlines()[-1].strip(" -").replace(f"{self.work}/", "")


def mount(*arguments: str) -> None:
    """Calls mount, which needs the rights for it."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"mounting is not allowed here: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes in memory, for the length of the block."""
    if shutil.which("mount") is None:
        raise Skipped("there is no mount on this system")
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
