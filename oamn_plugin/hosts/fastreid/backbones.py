"""Backbones that fastreid lacks, in its own registry: timm's, and torchvision's layout (the released OAMN's)."""

from __future__ import annotations

from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import nn

from oamn_plugin.hosts.fastreid.checkpoint import load_checkpoint
from oamn_plugin.hosts.fastreid.config import ConfigError
from oamn_plugin.modeling.backbones import build_backbone


def timm(cfg: CfgNode) -> nn.Module:
    """A network of timm, named by ``MODEL.BACKBONE.ARCH``; ``PRETRAIN`` downloads timm's weights."""
    return _build(cfg, f"timm:{_arch(cfg, 'resnet50.a1_in1k')}", 2)


def torchvision(cfg: CfgNode) -> nn.Module:
    """A network of torchvision, named by ``MODEL.BACKBONE.ARCH``; ``PRETRAIN`` downloads torchvision's weights."""
    return _build(cfg, _arch(cfg, "resnet50"), cfg.MODEL.BACKBONE.LAST_STRIDE)


def _arch(cfg: CfgNode, example: str) -> str:
    if not cfg.MODEL.BACKBONE.ARCH:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} needs MODEL.BACKBONE.ARCH, for example {example}"
        )
    return cfg.MODEL.BACKBONE.ARCH


def _build(cfg: CfgNode, name: str, last_stride: int) -> nn.Module:
    try:
        backbone = build_backbone(name, last_stride, input_size=tuple(cfg.INPUT.SIZE_TRAIN))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"MODEL.BACKBONE: {error}") from error
    if cfg.MODEL.BACKBONE.PRETRAIN:
        path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
        state = load_checkpoint(path) if path else _download(name)
        result = backbone.load_state_dict({k: v for k, v in state.items() if "fc." not in k}, strict=False)
        missing = [key for key in result.missing_keys if "fc." not in key and "classifier." not in key]
        if missing:
            raise ConfigError(
                f"MODEL.BACKBONE.PRETRAIN_PATH {path}: {len(missing)} weights missing, such as {missing[0]}"
            )
    return backbone


def _download(name: str) -> dict[str, Any]:
    try:
        if name.startswith("timm:"):
            import timm as timm_library

            return timm_library.create_model(name.removeprefix("timm:"), pretrained=True).state_dict()
        import torchvision as torchvision_library

        return torchvision_library.models.get_model(name, weights="IMAGENET1K_V1").state_dict()
    except Exception as error:  # whatever a network or a hub raises
        raise ConfigError(
            f"the ImageNet weights of {name} could not be downloaded ({type(error).__name__}: {error}). Put a copy "
            "on disk and name it with MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch: PRETRAIN False"
        ) from error


for _builder in (timm, torchvision):
    BACKBONE_REGISTRY.register(_builder)
