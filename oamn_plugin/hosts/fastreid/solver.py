"""Optimiser and schedules of the host, on parameters that are really updated, and the schedule of OAMN."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build_lr_scheduler as build_host_scheduler
from fastreid.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

from oamn_plugin.hosts.fastreid.freeze import mark_groups
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.schedule import oamn_schedule

OAMN_SCHEDULE = "OAMNSteps"
"""``SOLVER.SCHED`` of the released OAMN: see :func:`oamn_plugin.hosts.shared.schedule.oamn_rate`."""


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of ``SOLVER.OPT`` over the host's parameter groups, equal groups merged.

    Not the host's ``ContiguousParams``: under torch 2 its flat buffers lose their gradients and nothing is trained.

    Raises:
        AttributeError: torch has no optimiser of that name.
        ConfigError: ``MODEL.FREEZE_LAYERS`` names no layer of the model.
    """
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        heads_lr_factor=solver.HEADS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    mark_groups(groups, model, cfg.MODEL.FREEZE_LAYERS if solver.FREEZE_ITERS > 0 else [])
    if cfg.MODEL.META_ARCHITECTURE == "OAMN":
        _set_part_rates(groups, model, solver.BACKBONE_LR_FACTOR, solver.MASK_LR_FACTOR or solver.BACKBONE_LR_FACTOR)
    kind = maybe_add_gradient_clipping(cfg, getattr(torch.optim, solver.OPT))
    arguments = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV} if solver.OPT == "SGD" else {}
    return kind(merge_groups(groups), **arguments)


def _set_part_rates(groups: list[dict[str, Any]], model: nn.Module, backbone: float, mask: float) -> None:
    """Backbone, and mask module with scorer, learn at their factor of the rate; the head at the full one."""
    parts = {"encoder_low": backbone, "encoder_high": backbone, "mask": mask, "scorer": mask}
    names = {id(parameter): name.split(".")[1] for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:  # the host makes a group of every parameter
            group["lr"] *= parts.get(names[id(parameter)], 1.0)


def merge_groups(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merges groups with equal settings, parameters in their order: the same result with far fewer kernel calls."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        target = merged.setdefault(tuple(sorted(settings.items())), {**settings, "params": []})
        target["params"] += group["params"]
    return list(merged.values())


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict[str, Any]:
    """The host's schedulers, or the released OAMN's steps; stepped by the host's hook.

    Raises:
        AttributeError, KeyError: neither has a schedule of that name.
        ConfigError: a cosine schedule that no epoch is left for.
    """
    if cfg.SOLVER.SCHED == OAMN_SCHEDULE:
        return {"lr_sched": oamn_schedule(optimizer, cfg.SOLVER.MAX_EPOCH)}
    busy = max(math.ceil(cfg.SOLVER.WARMUP_ITERS / iters_per_epoch), cfg.SOLVER.DELAY_EPOCHS)
    epochs = cfg.SOLVER.MAX_EPOCH
    stepped = epochs * iters_per_epoch > cfg.SOLVER.WARMUP_ITERS and epochs > cfg.SOLVER.DELAY_EPOCHS
    if cfg.SOLVER.SCHED == "CosineAnnealingLR" and epochs <= busy and stepped:  # the host would divide by zero
        raise ConfigError(
            f"SOLVER.MAX_EPOCH {cfg.SOLVER.MAX_EPOCH} leaves no epoch to anneal: warm-up (SOLVER.WARMUP_ITERS) and "
            f"SOLVER.DELAY_EPOCHS take the first {busy}"
        )
    return build_host_scheduler(cfg, optimizer, iters_per_epoch)
