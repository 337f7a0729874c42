"""The host's checkpoint format with plain values, and weights from wherever a user has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from oamn_plugin.hosts.shared.checkpoint import load_checkpoint
from oamn_plugin.hosts.shared.checkpoint import load_weights as load_state
from oamn_plugin.hosts.shared.conversion import CEIL_POOLING
from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.hosts.torchreid.models import TorchreidOAMN, ceil_pooling, set_ceil_pooling


def model_state(model: nn.Module) -> dict[str, Any]:
    """``{"state_dict": ...}`` as the host keeps it, and what the weights do not say of the network."""
    state: dict[str, Any] = {"state_dict": dict(model.state_dict())}
    if isinstance(model, TorchreidOAMN) and ceil_pooling(model):
        state[CEIL_POOLING] = True
    return state


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads the weights of a checkpoint, of this adapter or of the host.

    Raises:
        CheckpointError: missing, damaged, of fastreid (the converter is named) or of another model.
    """
    content = load_checkpoint(path)
    if isinstance(content.get("model"), dict):
        raise CheckpointError(f"{path} is a checkpoint of fastreid; convert it: oamn convert {path} TARGET.pth")
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} does not hold a state dict of tensors")
    if content.get(CEIL_POOLING) and isinstance(model, TorchreidOAMN):
        set_ceil_pooling(model)
    load_state(model, state, str(path))


def plain_schedule(scheduler: Any) -> dict[str, Any]:
    """What a learning rate scheduler has to remember; empty without one."""
    names = ("last_epoch", "_step_count", "_last_lr", "base_lrs")
    return {name: vars(scheduler)[name] for name in names if name in vars(scheduler)} if scheduler else {}
