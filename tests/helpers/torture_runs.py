"""The training command in processes that tests of ``make torture`` kill, signal and starve.

A server process has imported everything and forks: a start takes a fraction of a second instead of several.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LIMIT = 600.0
"""Seconds that any process may take."""
ROOT = Path(__file__).resolve().parents[2]


class Run:
    """A run folder and the command that fills it.

    Args:
        output: the run folder.
        options: words of the command line, the run folder apart.
        log: file with what the command prints, beside the folder unless given.
        config: below ``configs/``.
        key: the one that names the run folder.
    """

    def __init__(
        self,
        output: Path,
        options: list[str],
        log: Path | None = None,
        config: str = "Base-OAMN.yml",
        key: str = "OUTPUT_DIR",
    ) -> None:
        self.output, self.log = output, log or output.with_name(f"{output.name}.log")
        self.words = ["--config-file", str(ROOT / "configs" / config)], [*options, key, str(output)]

    def start(self, *flags: str) -> Any:
        """Starts the command in a process group of its own."""
        self.log.unlink(missing_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["oamn_plugin.hosts.fastreid.main"])
        process = context.Process(target=_command, args=([*self.words[0], *flags, *self.words[1]], str(self.log)))
        process.start()
        return process

    def finish(self, *flags: str) -> int:
        """Runs the command to its end and returns its exit code."""
        return end(self.start(*flags))

    def told(self) -> str:
        """What the command has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, process: Any, text: str) -> None:
        """Waits until the command has printed a text or has ended."""
        deadline = time.monotonic() + LIMIT
        while text not in self.told() and process.exitcode is None:
            assert time.monotonic() < deadline, f"nothing happened; last lines: {self.told()[-300:]}"
            time.sleep(0.005)


def end(process: Any) -> int:
    """Waits for a process, kills it where it takes too long, and returns its exit code."""
    process.join(LIMIT)
    if process.exitcode is None:
        kill(process)
        pytest.fail(f"still running after {LIMIT:.0f} s")
    return process.exitcode


def kill(process: Any) -> None:
    """SIGKILL to a process and to its data workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def kill_one_child(parent: int) -> None:
    """SIGKILL to the last started training process below a parent (Linux)."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                children.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    os.kill(max(children), signal.SIGKILL)


def kill_those_about(folder: Path) -> None:
    """SIGKILL to every process whose command names a folder of the test (Linux)."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.fsencode(folder) in (place / "cmdline").read_bytes():
                os.kill(int(place.name), signal.SIGKILL)


def mount(*arguments: str) -> None:
    """Calls mount, which needs the rights for it; the test is skipped without them."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount on this system")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes in memory, for the length of the block."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


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
