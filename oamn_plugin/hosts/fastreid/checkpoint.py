"""Checkpoints that survive: written aside, synced, renamed, with checksums inside; the newest whole one is found again.

The checksums are those of the zip file that ``torch.save`` writes (a CRC-32 of every entry), so that a file and its
checksum cannot come apart; torch itself does not look at them when it loads.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oamn_plugin.errors import ExpectedError

logger = logging.getLogger("fastreid.oamn")
FOLDER = "checkpoints"
METRICS = "metrics.json"
_NAME = re.compile(r"step_(\d+)\.pth$")


class CheckpointError(ExpectedError, RuntimeError):
    """A weight file that is missing, damaged or of another shape; the message says which and what to do."""


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
            "another OUTPUT_DIR, then go on with --resume"
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


def random_state(generators: dict[str, torch.Generator]) -> dict[str, Any]:
    """State of every random number generator, as plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 the host draws from it
    version, internal, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "python": [version, list(internal), gauss_next],
        "generators": {name: generator.get_state() for name, generator in generators.items()},
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()  # of this process's device; all processes draw alike
    return state


def set_random_state(state: dict[str, Any], generators: dict[str, torch.Generator]) -> None:
    """Puts every generator back where :func:`random_state` found it."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    for name, generator in generators.items():
        generator.set_state(state["generators"][name])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
