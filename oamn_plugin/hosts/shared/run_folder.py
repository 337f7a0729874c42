"""The folder of a run: who holds it, what an earlier run left in it, and its file of metrics."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from oamn_plugin.errors import ExpectedError
from oamn_plugin.files import WriteError, remove_leftovers, write_atomically
from oamn_plugin.hosts.shared.checkpoint import FOLDER, step_files

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
METRICS = "metrics.json"
LOCK = ".lock"
"""File that a training locks for as long as it runs; it stays behind, unlocked."""
PATIENCE = 1.0
"""Seconds for which a folder is asked for again: :func:`holder` locks it too, for a moment."""
_held: set[int] = set()


class RunFolderBusyError(ExpectedError, RuntimeError):
    """Another training writes to the run folder; the message says which process on which machine."""


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Inside, the run folder belongs to this process; the system gives it back however the process ends.

    Also removes what killed writes left in the folder.

    Raises:
        RunFolderBusyError: another process holds it.
        WriteError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(f"cannot write {folder / LOCK}: {error.strerror or error}") from error
    _held.add(handle)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _lock(handle, shared=False):
            if time.monotonic() > deadline:
                raise RunFolderBusyError(busy(folder, _owner(handle)))
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        remove_leftovers(folder)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)  # gives the lock back


def holder(folder: Path) -> str | None:
    """Who trains in a run folder, such as ``process 123 on host``; None where nobody does."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        return None if _lock(handle, shared=True) else _owner(handle)
    finally:
        os.close(handle)


def busy(folder: Path, owner: str) -> str:
    """The message about a folder that somebody else holds."""
    return f"{folder} belongs to a training that runs, {owner}: wait for its end, stop it, or choose another folder"


def _owner(handle: int) -> str:
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 300).decode(errors="replace") or "another process"


def _lock(handle: int, *, shared: bool) -> bool:
    """Locks an open file without waiting; False where somebody else has it. Networks without locks: always True."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        elif msvcrt is not None:  # a byte far behind the content, which stays readable
            os.lseek(handle, 2**20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            os.lseek(handle, 0, os.SEEK_SET)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        logger.warning("this file system knows no locks (%s): a second training is not noticed", error.strerror)
    return True


def _forget_locks() -> None:
    """In a forked process, such as a data worker, which must not hold the folder longer than its parent."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def set_aside(folder: Path) -> None:
    """Moves an earlier run's checkpoints and metrics out of the way of a new run in the same folder.

    The new run's first checkpoints would otherwise count as older than the earlier run's last ones.

    Raises:
        WriteError: they cannot be moved.
    """
    if not step_files(folder) and not (folder / METRICS).exists():
        return
    number = 1
    while (folder / f"before_{number}").exists():
        number += 1
    target = folder / f"before_{number}"
    try:
        target.mkdir()
        for name in (FOLDER, METRICS):
            if (folder / name).exists():
                os.replace(folder / name, target / name)
    except OSError as error:
        raise WriteError(f"cannot move the earlier run in {folder} to {target.name}: {error.strerror}") from error
    logger.warning("%s holds an earlier run: its checkpoints and metrics were moved to %s", folder, target)


def trim_metrics(folder: Path, key: str, limit: int) -> None:
    """Removes from ``metrics.json`` what a resumed run will write again, and a half-written line.

    Args:
        folder: the run folder.
        key: ``iteration`` or ``epoch``.
        limit: lines with this value or a larger one go.
    """
    path = folder / METRICS
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _is_before(line, key, limit)]
    if len(kept) < len(lines):
        write_atomically(path, "".join(kept).encode())


def _is_before(line: str, key: str, limit: int) -> bool:
    try:
        return int(json.loads(line)[key]) < limit
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
