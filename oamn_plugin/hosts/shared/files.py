"""Files that survive: written aside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from oamn_plugin.errors import ExpectedError


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
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}. What was saved before is intact: make room or choose "
            "another output folder, then go on with --resume"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut; where folders cannot be opened (Windows) the system sees to it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
