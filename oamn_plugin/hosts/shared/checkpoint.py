"""Checkpoints that survive: written aside, synced, renamed, with a checksum; the newest whole one is found again."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.hosts.shared.files import write_atomically

logger = logging.getLogger(__name__)
FOLDER = "checkpoints"
_NAME = re.compile(r"step_(\d+)\.pth$")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state of tensors, numbers, strings, lists and dicts, and its SHA-256 beside it.

    Raises:
        WriteError: see :func:`~oamn_plugin.hosts.shared.files.write_atomically`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(_checksum_file(path), hashlib.sha256(content).hexdigest().encode())
    write_atomically(path, content)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint without executing anything that it holds.

    Raises:
        CheckpointError: missing, damaged (its checksum differs or it does not parse) or holding more than data.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    checksum = _checksum_file(path)
    if checksum.exists() and checksum.read_text(encoding="utf-8").strip() != hashlib.sha256(content).hexdigest():
        raise CheckpointError(f"the checkpoint {path} is damaged: its checksum differs from {checksum.name}")
    try:
        with _numpy_scalars():
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a checkpoint of plain tensors and numbers: {reason}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of weights")
    return state


def _numpy_scalars() -> AbstractContextManager[None]:
    """Lets plain numpy numbers pass, which torchreid's checkpoints hold (``rank1``); nothing of them can run code."""
    if not hasattr(torch.serialization, "safe_globals"):  # torch before 2.5
        return nullcontext()
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("float32", "float64", "int64")]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    allowed: list[Any] = [np.dtype, *kinds, *((scalar, name) for name in names)]
    return torch.serialization.safe_globals(allowed)


def _checksum_file(path: Path) -> Path:
    """``x.pth`` to ``x.sha256``; any other name keeps its ending, which may be all that tells two files apart."""
    return path.with_suffix(".sha256") if path.suffix == ".pth" else path.with_name(f"{path.name}.sha256")


def save_step(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> None:
    """Saves the resumable state of a step (or epoch) and removes all but the newest ``keep``."""
    save_checkpoint(folder / FOLDER / f"step_{step:08d}.pth", state)
    for old in step_files(folder)[keep:]:
        old.unlink(missing_ok=True)
        _checksum_file(old).unlink(missing_ok=True)


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


def load_weights(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Loads a state dict into a model; its classifier may be of another size (another data set), the rest must fit.

    Args:
        model: what is loaded into.
        state: entry names to tensors; a ``module.`` that DataParallel put before them is taken off.
        source: the file, for the message.

    Raises:
        CheckpointError: the weights are of another model; the message lists what differs.
    """
    own = model.state_dict()
    state = {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
    if not any(name in own for name in state):
        raise CheckpointError(f"{source} does not hold weights of this model: none of its entries is known")
    differing = {name for name, value in state.items() if name in own and own[name].shape != value.shape}
    wrong = sorted(name for name in differing if "classifier" not in name)
    missing = [name for name in own if name not in state and "classifier" not in name]
    unknown = [name for name in state if name not in own and "classifier" not in name]
    parts = {"of another shape": wrong, "missing": missing, "unknown": unknown}
    if any(parts.values()):
        listed = "; ".join(f"{len(names)} {what} ({', '.join(names[:4])})" for what, names in parts.items() if names)
        raise CheckpointError(f"{source} does not fit this model: {listed}")
    model.load_state_dict({n: v for n, v in state.items() if n in own and n not in differing}, strict=False)
