"""Layers that are frozen at the start of a run (``MODEL.FREEZE_LAYERS``, ``SOLVER.FREEZE_ITERS``).

The host's own way counts the steps inside the optimiser, so that a resumed run freezes anew, and matches the beginning
of names, so that ``b1`` freezes ``b1_head`` too and nothing of MGN learns. Here the trainer's step counts, and names of
layers are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fastreid.engine.train_loop import HookBase
from torch import nn

from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.errors import ConfigError

STATUS = "freeze_status"
"""Key of an optimiser's parameter group: ``freeze`` or ``normal``, the host's words."""


def mark_groups(groups: Sequence[dict[str, Any]], model: nn.Module, layers: Sequence[str]) -> None:
    """Marks each parameter group (of one parameter) as frozen or not.

    Raises:
        ConfigError: the model has no such layer; the message names the nearest.
    """
    known = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if layer not in known:
            raise ConfigError(f"MODEL.FREEZE_LAYERS: the model has no layer {layer!r}.{did_you_mean(layer, known)}")
    resting = {id(parameter) for layer in layers for parameter in model.get_submodule(layer).parameters()}
    for group in groups:
        group[STATUS] = "freeze" if id(group["params"][0]) in resting else "normal"


class FreezeHook(HookBase):
    """Keeps layers as they are for the first steps: no update, and batch statistics untouched.

    Args:
        model: holds the layers.
        optimizer: its groups are marked by :func:`mark_groups`.
        layers: names of modules.
        steps: how many optimiser steps they rest.
    """

    trainer: Any

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, layers: Sequence[str], steps: int) -> None:
        self.layers, self.steps = [model.get_submodule(layer) for layer in layers], steps
        self.resting = False
        optimizer.register_step_pre_hook(self._drop_gradients)

    def before_step(self) -> None:
        """At every step, because a test in between sets the whole model back to training mode."""
        resting = self.trainer.iter < self.steps
        if resting or self.resting:
            for layer in self.layers:
                layer.train(not resting)
        self.resting = resting

    def _drop_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if not self.resting:
            return
        for group in optimizer.param_groups:
            if group[STATUS] == "freeze":
                for parameter in group["params"]:
                    parameter.grad = None
