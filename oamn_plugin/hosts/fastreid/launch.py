"""Several processes on CPUs or GPUs; if one dies, all end, and its error is shown."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from fastreid.utils import comm

from oamn_plugin.errors import ExpectedError
from oamn_plugin.signals import INTERRUPTED, answering

ANSWER_TIMEOUT = datetime.timedelta(hours=2)
"""How long a process waits for another that is alive and silent, such as the first one while it ranks a gallery."""
GRACE = 20.0
"""Seconds that the other processes have to end by themselves once one has failed."""
CONTEXT = multiprocessing.get_context("spawn")
"""How the processes start: CUDA does not survive a fork."""


class ProcessDiedError(ExpectedError, RuntimeError):
    """One of several processes ended without a Python error; the message says which, and its signal or exit code."""


class _Report(NamedTuple):
    expected: bool
    text: str


def launch(main: Callable[..., Any], processes: int, device: str, dist_url: str, args: tuple[Any, ...] = ()) -> Any:
    """Runs ``main(*args)`` in one process or in several that share the work.

    Under ``torchrun`` the processes are there already and ``processes`` is not used. Otherwise SIGTERM and SIGINT are
    passed on to the processes, and the first failure ends all of them.

    Args:
        main: a module-level function.
        processes: how many, on this machine.
        device: ``cpu`` (gloo) or ``cuda`` (nccl, one GPU a process).
        dist_url: where the processes meet; ``auto`` takes a free local port.
        args: arguments of ``main``.

    Raises:
        ExpectedError: one of the processes raised it (more processes than GPUs, for one), or died by a signal.
        RuntimeError: a process failed otherwise; its traceback is the message.
        SystemExit: the run was asked to stop and has saved its state.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _join(int(os.environ["LOCAL_RANK"]), device, "env://")
        result = main(*args)
        dist.destroy_process_group()
        return result
    if processes <= 1:
        return main(*args)
    if device.startswith("cuda") and processes > torch.cuda.device_count():
        raise ProcessDiedError(f"--num-gpus {processes}, but this machine has {torch.cuda.device_count()} GPUs")
    url = f"tcp://127.0.0.1:{_free_port()}" if dist_url == "auto" else dist_url
    _Processes(processes, (main, processes, device, url, args)).run()
    return None


def process_count(requested: int) -> int:
    """How many processes will share a batch: those asked for, or those that ``torchrun`` has started."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else max(1, requested)


class _Processes:
    """The processes of this machine, watched from their parent."""

    def __init__(self, count: int, args: tuple[Any, ...]) -> None:
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(count)]
        self.readers = [reader for reader, _ in pipes]
        method = multiprocessing.get_start_method()
        self.processes = [CONTEXT.Process(target=_worker, args=(i, pipes[i][1], method, *args)) for i in range(count)]
        self.asked = False

    def run(self) -> None:
        with answering(self._pass_on):
            for process in self.processes:
                process.start()
            try:
                self._watch()
            finally:
                codes = [process.exitcode for process in self.processes]  # None: ended by us, not a cause
                for process in self.processes:
                    process.kill()
                    process.join()
        self._conclude(codes)

    def _watch(self) -> None:
        deadline = None
        while running := [process for process in self.processes if process.exitcode is None]:
            wait([process.sentinel for process in running], timeout=1.0)
            failed = [process for process in self.processes if process.exitcode not in (None, 0, INTERRUPTED)]
            if failed and deadline is None:
                deadline = time.monotonic() + GRACE
            if deadline is not None and time.monotonic() > deadline:
                return

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        if os.name == "nt":  # the console has told them already, and there os.kill would end them at once
            return
        for process in self.processes:
            if process.pid and process.exitcode is None:
                os.kill(process.pid, number)

    def _conclude(self, codes: list[int | None]) -> None:
        if all(code == 0 for code in codes):
            return
        if self.asked or all(code in (0, INTERRUPTED) for code in codes):
            raise SystemExit(INTERRUPTED)
        reports = [_read(reader) for reader in self.readers]
        # a process that was killed, or stopped by an error that a user can mend, is the cause of the others' errors
        for rank, code in enumerate(codes):
            if code is not None and code < 0 and reports[rank] is None:
                raise ProcessDiedError(
                    f"process {rank} of {len(codes)} was ended by {signal.Signals(-code).name}, so all were ended. "
                    "SIGKILL often means that the memory ran out. Go on with --resume"
                )
        told = [(rank, report) for rank, report in enumerate(reports) if report is not None]
        for rank, report in sorted(told, key=lambda one: not one[1].expected):
            if report.expected:
                raise ProcessDiedError(report.text)
            raise RuntimeError(f"process {rank} of {len(codes)} failed:\n{report.text}")
        raise ProcessDiedError(f"a process ended with the exit codes {codes} and said nothing; see the lines above")


def _read(reader: Connection) -> _Report | None:
    try:
        return reader.recv() if reader.poll() else None
    except EOFError:
        return None


def _worker(
    rank: int,
    reports: Connection,
    start_method: str,
    main: Callable[..., Any],
    world: int,
    device: str,
    url: str,
    args: tuple[Any, ...],
) -> None:
    # a spawned process would spawn its data workers too, and each would import everything anew
    multiprocessing.set_start_method(start_method, force=True)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, torch.get_num_threads() // world))
    try:
        _join(rank, device, url, world)
        main(*args)
        dist.destroy_process_group()
    except ExpectedError as error:
        reports.send(_Report(True, str(error)))
        _end(2)
    except Exception:
        reports.send(_Report(False, traceback.format_exc()))
        _end(1)


def _end(code: int) -> None:
    """Ends without waiting for the process group, whose other members may never answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def _stop_with_parent() -> None:
    """Treats the end of the parent as a request to stop and save: a parent that was killed sends no signal."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGTERM)


def _join(rank: int, device: str, url: str, world: int = 0) -> None:
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(rank)
    where: dict[str, Any] = {} if url == "env://" else {"world_size": world, "rank": rank}
    dist.init_process_group("nccl" if cuda else "gloo", init_method=url, timeout=ANSWER_TIMEOUT, **where)
    comm._LOCAL_PROCESS_GROUP = dist.group.WORLD


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
