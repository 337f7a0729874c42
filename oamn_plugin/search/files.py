"""Files of an index: written whole or not at all, read with suspicion, changed by one process at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oamn_plugin.errors import ExpectedError
from oamn_plugin.locks import try_lock


class GalleryIndexError(ExpectedError, ValueError):
    """An index that does not fit what is asked of it; the message says how to go on."""


class NoIndexError(GalleryIndexError):
    """There is no index at a location."""


class IndexFileError(ExpectedError, ValueError):
    """A file of an index that is missing, damaged or not what its name says; the message says what to do."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``; takes its place afterwards. The old or the new one is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    yield aside
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, the entries of its outer lists a line each, so that the old or the new file is whole at any moment.

    Only ASCII is written: names of files need not be UTF-8, and come back as they were.
    """
    with replacing(path) as aside, open(aside, "w", encoding="ascii") as file:
        if isinstance(content, dict):
            file.write("{\n" + ",\n".join(f"{json.dumps(key)}: {_lines(value)}" for key, value in content.items()))
            file.write("\n}\n")
        else:
            file.write(_lines(content) + "\n")


def _lines(value: Any) -> str:
    if isinstance(value, (list, tuple)) and any(isinstance(item, (list, tuple)) for item in value):
        return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
    return json.dumps(value)


def read_json(path: Path) -> Any:
    """Reads JSON; None where there is no such file.

    Raises:
        IndexFileError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise IndexFileError(f"{path} is damaged: {error}") from error


def signature(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is replaced or written to; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of the one process that may write to an index; the system takes it back from killed ones.

    Raises:
        GalleryIndexError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b") as file:
        if not try_lock(file.fileno()):
            raise GalleryIndexError(f"another process is writing to {folder}: wait for it to end")
        yield
