"""Backbones of models of any toolbox, compared tensor by tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oamn_plugin.modeling.initialise import backbone_names, current_names


def backbone(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of a model's backbone under their names in the uncut one; of MGN's three branches the first."""
    state, found = current_names(getattr(model, "oamn", model).state_dict()), {}  # fastreid wraps OAMN
    for name, short in backbone_names(state).items():
        found.setdefault(short, state[name])
    return found


def assert_same_backbone(model: nn.Module, source: nn.Module) -> None:
    """Every backbone tensor of a model is the source's; counters of batches too, where both count."""
    ours, theirs = backbone(model), backbone(source)
    assert ours
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
