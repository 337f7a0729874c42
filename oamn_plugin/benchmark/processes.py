"""Trainings as child processes: several at a time, each with its log, all stopped by one Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from oamn_plugin.environment import processors
from oamn_plugin.signals import answering

GRACE_S = 20.0
"""Seconds that trainings get to end by themselves once asked to."""
_POLL_S = 0.05


def child_environment(jobs: int) -> dict[str, str]:
    """The environment of a training when ``jobs`` of them share the machine; what the user has set stays.

    Args:
        jobs: trainings at a time. Several get an equal share of the cores as threads each: one thread too many a core
            and all wait for each other. One is left to torch, which knows which cores are real.
    """
    found = dict(os.environ)
    # the trainings import the package that runs this, installed or not
    paths = [str(Path(__file__).parents[2]), *filter(None, [found.get("PYTHONPATH")])]
    found["PYTHONPATH"] = os.pathsep.join(paths)
    if jobs > 1:
        found.setdefault("OMP_NUM_THREADS", str(max(1, processors() // jobs)))
    return found


class Child:
    """A command that runs with its output in a log.

    Args:
        command: program and arguments.
        log: file that its output is appended to, the command first.
        environment: its environment variables.
        lock: open file of :func:`~oamn_plugin.locks.holding` that it shares, so that the lock outlives this process
            with it. Windows cannot pass one on.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], lock: int = -1) -> None:
        self.started = time.monotonic()
        with log.open("a", encoding="utf-8") as file:
            print("$", shlex.join(command), file=file, flush=True)
            # a session of its own: Ctrl-C reaches it once, from here, and not a second time from the terminal
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0), env=environment,
                pass_fds=() if lock < 0 or os.name == "nt" else (lock,),
            )  # fmt: skip

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.started


class Stop:
    """Counts the requests to stop, Ctrl-C and SIGTERM. Nothing is raised: no child is lost between two lines."""

    def __init__(self) -> None:
        self.requests = 0

    def __bool__(self) -> bool:
        return self.requests > 0

    def request(self, number: int = 0, frame: FrameType | None = None) -> None:
        """One more; also a signal handler."""
        self.requests += 1


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """Inside, Ctrl-C, SIGTERM and a closed terminal are counted instead of raised; what was ignored stays ignored."""
    stop = Stop()
    with answering(stop.request, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        yield stop


def wait_for_any(children: Sequence[Child], stop: Stop) -> Child | None:
    """The first child that has ended; None when asked to stop before one has."""
    while not stop:
        for child in children:
            if child.code is not None:
                return child
        time.sleep(_POLL_S)
    return None


def end_all(children: Sequence[Child], stop: Stop) -> None:
    """Passes the request to stop on to every child, once, and waits; another one or :data:`GRACE_S` kills the rest."""
    _each(children, lambda child: child.process.send_signal(_stop_signal()))
    asked, deadline = stop.requests, time.monotonic() + GRACE_S
    while any(child.code is None for child in children) and stop.requests == asked and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    _each(children, lambda child: child.process.kill())
    for child in children:
        child.process.wait()


def _stop_signal() -> int:
    """What asks a child to stop. Windows can send nothing but Ctrl-Break to a process group of its own."""
    # a script's background job ignores SIGINT, and so do its children
    usual = signal.SIGINT if signal.getsignal(signal.SIGINT) != signal.SIG_IGN else signal.SIGTERM
    return getattr(signal, "CTRL_BREAK_EVENT", usual)


def _each(children: Sequence[Child], act: Callable[[Child], None]) -> None:
    for child in children:
        if child.code is None:
            act(child)
