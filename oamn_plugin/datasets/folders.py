"""Folders that are made whole or not at all, by one process at a time, whatever stops it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from oamn_plugin.locks import try_lock
from oamn_plugin.signals import INTERRUPTED, STOPS, answering


@contextlib.contextmanager
def only_maker(target: Path) -> Iterator[None]:
    """Inside, no other process makes this folder; one that is at it is waited for.

    The operating system releases the lock when its holder ends, however it ends.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    while True:
        with open(path, "a+b") as file:
            while not try_lock(file.fileno()):
                time.sleep(0.2)
            if not _is_still(path, file.fileno()):  # its holder removed it between our opening and locking
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open: it is left, empty
                    path.unlink()
            return


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name once the block has ended without an error.

    Whatever runs that were killed have left beside it is removed first. Call it inside :func:`only_maker`: who holds
    the lock knows that nobody else is at work on what lies there.

    Raises:
        FileExistsError: the target is there and not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is there already: delete it or choose another place")
    prefix = f".{target.name}.part-"
    for path in target.parent.iterdir():
        if path.name.startswith(prefix):
            shutil.rmtree(path, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp keeps others out
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.contextmanager
def stopping_cleanly(what: str) -> Iterator[None]:
    """Inside, SIGTERM and Ctrl-C end the process with ``INTERRUPTED``, after everything has been cleared away.

    Args:
        what: the work, as the message names it.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for one in STOPS:
            signal.signal(one, signal.SIG_IGN)  # a second one must not cut the clearing short
        print(
            f"\n{what}: stopped by {signal.Signals(number).name}, nothing is left half made: run again", file=sys.stderr
        )
        raise SystemExit(INTERRUPTED)

    with answering(stop):
        yield


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
