"""The loss registry, and the registered losses for fastreid's own meta-architectures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.heads import EmbeddingHead
from torch import Tensor, nn

from oamn_plugin.hosts.fastreid.config import OAMN_LOSSES
from oamn_plugin.hosts.fastreid.registries import LOSS_REGISTRY
from oamn_plugin.hosts.shared.distributed import gather
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.losses import GroupedTripletLoss
from oamn_plugin.losses.common import groups_of
from oamn_plugin.modeling.precision import keep_precise, precisely

HOST_LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")
"""Names that the host's meta-architectures compute themselves."""

RegisteredLoss = Callable[[dict[str, Any], Tensor, Tensor], Tensor]
"""``(outputs of a head, targets (N,), types (N,)) -> weighted scalar``."""


def grouped_triplet(cfg: CfgNode) -> RegisteredLoss:
    """The grouped triplet loss on a head's features: only images occluded at the same side are compared."""
    loss = GroupedTripletLoss(margin=cfg.MODEL.LOSSES.GROUPED.MARGIN)
    scale = cfg.MODEL.LOSSES.GROUPED.SCALE

    def compute(outputs: dict[str, Any], targets: Tensor, types: Tensor) -> Tensor:
        return scale * loss(outputs["features"], targets, groups_of(types))

    return compute


def _only_oamn(name: str) -> Callable[[CfgNode], RegisteredLoss]:
    def build(cfg: CfgNode) -> RegisteredLoss:
        raise ConfigError(
            f"MODEL.LOSSES.NAME: {name} needs the mask module of MODEL.META_ARCHITECTURE OAMN, "
            f"not {cfg.MODEL.META_ARCHITECTURE}"
        )

    return build


LOSS_REGISTRY.add("GroupedTripletLoss", grouped_triplet)
for _name in set(OAMN_LOSSES) - {"GroupedTripletLoss", *HOST_LOSSES}:
    LOSS_REGISTRY.add(_name, _only_oamn(_name))
for _name in HOST_LOSSES:
    LOSS_REGISTRY.add(_name, lambda cfg: None)  # the host's meta-architecture computes it itself


def attach_losses(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """Adds the registered losses of ``MODEL.LOSSES.NAME`` to a baseline whose own code does not know them.

    The host's ``losses`` method computes what it knows; each further loss is the mean over the model's heads. Types of
    the images reach it with the batch (``types``, one a row of ``images``).

    Raises:
        ConfigError, KeyError: a name that no registry has, or that this meta-architecture cannot compute.
    """
    if cfg.MODEL.META_ARCHITECTURE == "OAMN":
        return model
    if cfg.SOLVER.AMP.ENABLED:  # heads and losses stay in float32: three digits are too few for distances
        for module in list(model.modules()):
            if isinstance(module, EmbeddingHead):
                keep_precise(module)
        model.losses = functools.partial(precisely, model.losses)  # type: ignore[assignment, arg-type]
    built = {name: LOSS_REGISTRY.get(name)(cfg) for name in cfg.MODEL.LOSSES.NAME}
    extra = {name: loss for name, loss in built.items() if loss is not None}
    if not extra:
        return model
    host_losses: Callable[..., dict[str, Tensor]] = model.losses  # type: ignore[assignment]
    batch: dict[str, Tensor] = {}

    def remember_types(_: nn.Module, args: tuple[Any, ...]) -> None:
        batch["types"] = args[0].get("types")

    def losses(*args: Any) -> dict[str, Tensor]:
        found = host_losses(*args)
        *heads, targets = args
        types = gather(batch["types"].flatten()).to(targets.device)  # as the heads: of all processes
        for name, loss in extra.items():
            found[f"loss_{name}"] = sum(loss(head, targets, types) for head in heads) / len(heads)  # type: ignore
        return found

    model.register_forward_pre_hook(remember_types)
    model.losses = losses  # type: ignore[assignment]
    return model
