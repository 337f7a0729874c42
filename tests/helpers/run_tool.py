"""Runs a command of tools/ in this process, or beside it in a copy of it: torch and the hosts are imported once."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

TOOLS = Path(__file__).parents[2] / "tools"
FORK = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")


class Result(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


class Running(NamedTuple):
    """A command that was started, and the files that it prints to."""

    process: BaseProcess
    out: Path
    err: Path

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.exitcode is None

    def send(self, number: int) -> None:
        """Sends it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def result(self, timeout: float = 120) -> Result:
        """Waits for its end."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running, with {self.out.read_text()}"
        return Result(self.process.exitcode, self.out.read_text(), self.err.read_text())


def run_tool(name: str, *arguments: object) -> Result:
    """Calls ``main`` of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _main(name, arguments)
    return Result(code, out.getvalue(), err.getvalue())


def start_tool(folder: Path, name: str, *arguments: object) -> Running:
    """Starts a command that heeds signals as one typed in a terminal does; its output goes to files in a folder."""
    files = folder / "stdout.txt", folder / "stderr.txt"
    process = FORK.Process(target=_begin, args=(name, arguments, *files))
    process.start()
    return Running(process, *files)


def _begin(name: str, arguments: tuple[object, ...], out: Path, err: Path) -> None:
    # whoever runs the tests in the background has SIGINT ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tqdm.set_lock(threading.RLock())  # its own is shared with the copy: stopped while it holds it, both would wait
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", 1, closefd=False) for stream in (1, 2))
    sys.exit(_main(name, arguments))


def _main(name: str, arguments: tuple[object, ...]) -> int:
    return runpy.run_path(str(TOOLS / name))["main"]([str(argument) for argument in arguments])
