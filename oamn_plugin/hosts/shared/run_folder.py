"""The folder of a run: its lock, the files of an earlier run, and ``metrics.json``."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from oamn_plugin.files import WriteError, remove_leftovers, write_atomically
from oamn_plugin.hosts.shared.checkpoint import FOLDER, step_files
from oamn_plugin.locks import LOCK, BusyError, holding
from oamn_plugin.reporting.runs import CONFIGURATION, TEST_CONFIGURATION

logger = logging.getLogger(__name__)
METRICS = "metrics.json"


@contextlib.contextmanager
def holding_run(folder: Path) -> Iterator[None]:
    """Holds the lock of the run folder and removes files that killed writes have left in it.

    Raises:
        BusyError: another training runs in it; the message says which process on which machine.
        WriteError: the folder cannot be made or written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(holding(folder / LOCK))
        except BusyError as error:
            raise BusyError(busy(folder, error.owner), error.owner) from error
        remove_leftovers(folder)
        yield


def busy(folder: Path, owner: str) -> str:
    """The message about a folder that somebody else holds."""
    return f"{folder} belongs to a training that runs, {owner}: wait for its end, stop it, or choose another folder"


def write_configuration(folder: Path, text: str, train: bool) -> None:
    """Writes what a run uses; an evaluation leaves alone what says how the weights in a folder were trained.

    Raises:
        WriteError: the folder cannot be written to.
    """
    write_atomically(folder / (CONFIGURATION if train else TEST_CONFIGURATION), text.encode())


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
