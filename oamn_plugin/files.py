"""Files that survive: written aside, synced, renamed; what a killed process left aside is found and removed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from oamn_plugin.errors import ExpectedError

WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_ASIDE = re.compile(r"^\..+\.\d+\.tmp$")


class WriteError(ExpectedError, OSError):
    """A file that cannot be written: disk full, read-only or not permitted. What was there before is intact."""

    def __str__(self) -> str:
        return str(self.args[0])


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file so that after a crash at any moment either the old or the new one is there, whole.

    Raises:
        WriteError: the disk is full or the folder is not writable; the old file is intact.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what writes that were killed have left in a folder and in those directly inside it.

    Only for a folder that no other process writes to: a write in progress would lose its file.
    """
    for path in [*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")]:
        if _ASIDE.match(path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def clear_write_errors() -> Iterator[None]:
    """Turns the errors of a full or read-only disk, wherever they come from, into a :class:`WriteError`."""
    try:
        yield
    except ExpectedError:
        raise
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise _write_error(error.filename or "a file", error) from error


def _write_error(path: object, error: OSError) -> WriteError:
    return WriteError(
        f"cannot write {path}: {error.strerror or error}. What was saved before is intact: make room or choose another "
        "folder (for temporary files TMPDIR), then run the command again, a training with --resume"
    )


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut; where folders cannot be opened (Windows) the system sees to it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
