"""Checkpoints that survive: written aside, synced, renamed, with a checksum; the newest whole one is found again."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oamn_plugin.errors import ExpectedError

logger = logging.getLogger("fastreid.oamn")
FOLDER = "checkpoints"
_NAME = re.compile(r"step_(\d+)\.pth$")


class CheckpointError(ExpectedError, RuntimeError):
    """A weight file that is missing, damaged or of another shape; the message says which and what to do."""


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that after a crash at any moment either the old or the new one is there, whole.

    Raises:
        OSError: the disk is full or the folder is not writable; the old file is intact.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors, numbers, strings, lists and dicts, and its SHA-256 beside it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())
    write_atomically(path, content)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint without executing anything that it holds.

    Raises:
        CheckpointError: missing, damaged (its checksum differs or it does not parse) or holding more than data.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    checksum = path.with_suffix(".sha256")
    if checksum.exists() and checksum.read_text().strip() != hashlib.sha256(content).hexdigest():
        raise CheckpointError(f"the checkpoint {path} is damaged: its checksum differs from {checksum.name}")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a checkpoint of plain tensors and numbers: {reason}") from error


def save_step(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Saves the resumable state of a step and removes all but the newest ``keep``."""
    save_checkpoint(folder / FOLDER / f"step_{step:08d}.pth", state)
    for old in step_files(folder)[keep:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".sha256").unlink(missing_ok=True)


def step_files(folder: Path) -> list[Path]:
    """Resumable checkpoints of a run, newest first."""
    found = [path for path in (folder / FOLDER).glob("step_*.pth") if _NAME.search(path.name)]
    return sorted(found, reverse=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of a run, or None; a damaged one is named in a warning and the one before it used."""
    for path in step_files(folder):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            logger.warning("%s; the one before it is used", error)
    return None


def random_state(generators: dict[str, torch.Generator]) -> dict[str, Any]:
    """State of every random number generator, as plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 the host draws from it
    version, internal, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
        "generators": {name: generator.get_state() for name, generator in generators.items()},
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
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
        torch.cuda.set_rng_state_all(state["cuda"])
