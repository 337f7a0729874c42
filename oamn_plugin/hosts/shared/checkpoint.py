"""Checkpoints that survive crashes: written to a temporary file, synced, renamed; the newest undamaged one is loaded.

The checksums are those of the zip file that ``torch.save`` writes (a CRC-32 of every entry), so that a file and its
checksum cannot come apart; torch itself does not look at them when it loads.
"""

from __future__ import annotations

import io
import logging
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from oamn_plugin.files import write_atomically
from oamn_plugin.hosts.shared.errors import CheckpointError

logger = logging.getLogger(__name__)
FOLDER = "checkpoints"
_NAME = re.compile(r"^step_(\d+)\.pth$")
_FORBIDDEN = re.compile(r"(?:GLOBAL|class|function|type)\W+([\w.]+\.\w+)")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state of tensors, numbers, strings, lists and dicts.

    Raises:
        WriteError: see :func:`oamn_plugin.files.write_atomically`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getbuffer())


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint of ``torch.save``, or a ``.safetensors`` file, without executing anything that it holds.

    Raises:
        CheckpointError: missing, damaged (a checksum differs or it does not parse) or holding more than data.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    damage = _damage(content)
    if damage:
        raise CheckpointError(f"the checkpoint {path} is damaged: {damage}")
    if content[257:262] == b"ustar":  # before its zip format and the one between
        raise CheckpointError(
            f"{path} is a tar archive of PyTorch before 0.4, which nothing reads without running what it holds. If you "
            "trust it, convert it once: torch.save(torch.load(OLD, weights_only=False), NEW)"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        with _numpy_scalars():
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise CheckpointError(f"{path} is not a checkpoint of plain tensors and numbers: {_reason(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of weights")
    return state


def _reason(error: Exception) -> str:
    """Torch's reason, without its advice to load the file without ``weights_only``, which would run its code."""
    text = str(error)
    if "weights_only" not in text and "Weights only" not in text:
        return text.splitlines()[0] if text else type(error).__name__
    named = _FORBIDDEN.search(text)
    return f"it holds {named[1]}, which is no data" if named else "it holds more than data, or torch did not write it"


def _damage(content: bytes) -> str:
    """How a file is damaged; empty if it is not, or if its format has no checksums (old ``torch.save``)."""
    if not content:
        return "the file is empty"
    if content[:2] != b"PK":
        return ""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"it is cut off or overwritten ({error})"
    return f"the checksum of its entry {entry} differs" if entry else ""


def _numpy_scalars() -> AbstractContextManager[None]:
    """Lets plain numpy numbers pass, which torchreid's checkpoints hold (``rank1``); nothing of them can run code."""
    if not hasattr(torch.serialization, "safe_globals"):  # torch before 2.5
        return nullcontext()
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("float32", "float64", "int64")]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    allowed: list[Any] = [np.dtype, *kinds, *((scalar, name) for name in names)]
    return torch.serialization.safe_globals(allowed)


def require_keys(state: Mapping[str, Any], keys: Iterable[str], source: object) -> None:
    """Raises CheckpointError if entries of a resumable state are missing, as in a file of weights alone."""
    lacking = [key for key in keys if key not in state]
    if lacking:
        raise CheckpointError(
            f"{source} cannot be resumed, it lacks {', '.join(lacking)}: load its weights alone with MODEL.WEIGHTS "
            "(fastreid) or model.load_weights (torchreid)"
        )


def step_number(path: Path) -> int:
    """The step (or epoch) in the name of a resumable checkpoint."""
    return int(_NAME.findall(path.name)[0])


def save_step(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> None:
    """Saves the resumable state of a step (or epoch); keeps only it and the newest before it, ``keep`` in all.

    Raises:
        WriteError: see :func:`oamn_plugin.files.write_atomically`; no older checkpoint is removed.
    """
    save_checkpoint(folder / FOLDER / f"step_{step:08d}.pth", state)
    files = step_files(folder)
    later = [path for path in files if step_number(path) > step]  # damaged ones, or of a run that went back
    for old in [*later, *files[len(later) + keep :]]:
        old.unlink(missing_ok=True)
        old.with_suffix(".sha256").unlink(missing_ok=True)  # which earlier releases wrote


def step_files(folder: Path) -> list[Path]:
    """Resumable checkpoints of a run, newest first."""
    found = [path for path in (folder / FOLDER).glob("step_*.pth") if _NAME.match(path.name)]
    return sorted(found, key=step_number, reverse=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest undamaged checkpoint of a run, or None if there is none; a warning names each damaged one.

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
