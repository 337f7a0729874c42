"""Lock files: one process at a time, and who it is. The system gives a lock back however its process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from oamn_plugin.errors import ExpectedError
from oamn_plugin.files import WriteError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
LOCK = ".lock"
"""File that a training locks in its run folder for as long as it runs; it stays behind, unlocked."""
PATIENCE = 1.0
"""Seconds for which a lock is asked for again: :func:`holder` takes it too, for a moment."""
_held: set[int] = set()


class BusyError(ExpectedError, RuntimeError):
    """Another process holds a lock; ``owner`` says which one on which machine."""

    def __init__(self, message: str, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


@contextlib.contextmanager
def holding(path: Path) -> Iterator[int]:
    """Inside, a lock file belongs to this process, not to those that it forks.

    Yields:
        the open file; a command that is started with it (``pass_fds``) holds the lock too, for as long as it lives.

    Raises:
        BusyError: another process holds it.
        WriteError: the file cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    _held.add(handle)
    try:
        deadline = time.monotonic() + PATIENCE
        while not try_lock(handle):
            if time.monotonic() > deadline:
                owner = _owner(handle)
                raise BusyError(f"{path} is held by {owner}: wait for its end or stop it", owner)
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield handle
    finally:
        _held.discard(handle)
        os.close(handle)  # gives the lock back


def holder(path: Path) -> str | None:
    """Who holds a lock file, such as ``process 123 on host``; None where nobody does."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        return None if try_lock(handle, shared=True) else _owner(handle)
    finally:
        os.close(handle)


def try_lock(handle: int, shared: bool = False) -> bool:
    """Locks an open file without waiting, until it is closed.

    Args:
        handle: file descriptor.
        shared: only keep out those who want it alone.

    Returns:
        False where somebody else has it. Always True on networks without locks.
    """
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
        logger.warning("this file system knows no locks (%s): a second process is not noticed", error.strerror)
    return True


def _owner(handle: int) -> str:
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 300).decode(errors="replace") or "another process"


def _forget_locks() -> None:
    """In a forked process, such as a data worker, which must not hold a lock longer than its parent."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
