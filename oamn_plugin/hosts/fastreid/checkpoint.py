"""Checkpoints that survive: written aside, synced, renamed, with checksums inside; the newest whole one is found again.

The checksums are those of the zip file that ``torch.save`` writes (a CRC-32 of every entry), so that a file and its
checksum cannot come apart; torch itself does not look at them when it loads.
"""

from __future__ import annotations

import io
import logging
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.hosts.shared.files import WriteError, write_atomically
from oamn_plugin.hosts.shared.random_state import random_state, set_random_state

__all__ = [
    "FOLDER",
    "METRICS",
    "CheckpointError",
    "WriteError",
    "load_checkpoint",
    "load_newest",
    "random_state",
    "save_checkpoint",
    "save_step",
    "set_aside",
    "set_random_state",
    "step_files",
    "write_atomically",
]

logger = logging.getLogger("fastreid.oamn")
FOLDER = "checkpoints"
METRICS = "metrics.json"
_NAME = re.compile(r"step_(\d+)\.pth$")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors, numbers, strings, lists and dicts.

    Raises:
        WriteError: see :func:`write_atomically`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getbuffer())


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint without executing anything that it holds.

    Raises:
        CheckpointError: missing, damaged (a checksum differs or it does not parse) or holding more than data.
    """
    path = Path(path)
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    damage = _damage(content)
    if damage:
        raise CheckpointError(f"the checkpoint {path} is damaged: {damage}")
    try:
        return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a checkpoint of plain tensors and numbers: {reason}") from error


def _damage(content: io.BytesIO) -> str:
    """What is wrong with the bytes of a file of ``torch.save``; nothing for the old format, which has no checksums."""
    if not content.getbuffer().nbytes:
        return "the file is empty"
    if content.getbuffer()[:2] != b"PK":
        return ""
    try:
        with zipfile.ZipFile(content) as archive:
            entry = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"it is cut off or overwritten ({error})"
    finally:
        content.seek(0)
    return f"the checksum of its entry {entry} differs" if entry else ""


def save_step(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Saves the resumable state of a step and removes all but the newest ``keep``, and what a killed save left.

    Raises:
        WriteError: see :func:`write_atomically`; no older checkpoint is removed.
    """
    save_checkpoint(folder / FOLDER / f"step_{step:08d}.pth", state)
    for old in [*step_files(folder)[keep:], *(folder / FOLDER).glob(".step_*.tmp")]:
        old.unlink(missing_ok=True)


def step_files(folder: Path) -> list[Path]:
    """Resumable checkpoints of a run, newest first."""
    found = [path for path in (folder / FOLDER).glob("step_*.pth") if _NAME.search(path.name)]
    return sorted(found, reverse=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of a run, or None; a damaged one is named in a warning and the one before it used.

    Raises:
        CheckpointError: there are checkpoints and none is whole. To start afresh then is a decision, not a default.
    """
    files = step_files(folder)
    for path in files:
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            logger.warning("%s%s", error, "; the one before it is used" if path != files[-1] else "")
    if files:
        raise CheckpointError(
            f"none of the {len(files)} checkpoints in {folder / FOLDER} is whole: copy one back, or start afresh "
            "without --resume"
        )
    return None


def set_aside(folder: Path) -> None:
    """Moves an earlier run's checkpoints and metrics out of the way of a new run in the same folder.

    The new run's first checkpoints would otherwise count as older than the earlier run's last ones and be removed.
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
