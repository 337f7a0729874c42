"""Backbones by name, without any ReID toolbox: torchvision's ResNets and MobileNetV2, and timm's networks."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from oamn_plugin.errors import did_you_mean, need

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
BACKBONES = (*RESNETS, "mobilenet_v2")
"""Names that :func:`build_backbone` knows, beside ``timm:<name>``."""
TIMM_PREFIX = "timm:"


def build_backbone(name: str, last_stride: int = 2, input_size: tuple[int, int] | None = None) -> nn.Module:
    """Builds an untrained backbone whose layers :func:`oamn_plugin.modeling.split.split_backbone` can split.

    Args:
        name: one of :data:`BACKBONES`, or ``timm:<name>`` for a network of the timm library (CNN or plain ViT).
        last_stride: stride of the ResNets' last stage, 2 as in the method or 1 for maps twice as large.
        input_size: image (height, width) in pixels; only vision transformers need it.

    Raises:
        ValueError: unknown name (the nearest known one is named), or a last stride that the backbone cannot have.
        MissingPackageError: a ``timm:`` name without timm installed.

    >>> sum(p.numel() for p in build_backbone("resnet18").parameters())
    11689512
    """
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, got {last_stride!r}")
    if last_stride == 1 and name not in RESNETS:
        raise ValueError(f"last_stride 1 exists for {', '.join(RESNETS)} only, not for {name!r}")
    if name.startswith(TIMM_PREFIX):
        return _build_timm(name[len(TIMM_PREFIX) :], input_size)
    if name not in BACKBONES:
        hint = did_you_mean(name, BACKBONES)
        raise ValueError(f"unknown backbone {name!r}.{hint} Known: {', '.join(BACKBONES)} and {TIMM_PREFIX}<name>")
    backbone = getattr(torchvision.models, name)(weights=None)
    if last_stride == 1:
        for module in backbone.layer4[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    return backbone


def _build_timm(name: str, input_size: tuple[int, int] | None) -> nn.Module:
    need("timm")
    import timm

    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}.{did_you_mean(name, timm.list_models())}")
    sized: dict[str, Any] = {"img_size": input_size} if input_size and name.startswith(("vit_", "deit")) else {}
    return timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **sized)
