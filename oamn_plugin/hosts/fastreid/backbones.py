"""Backbones that fastreid lacks, in its registry; and for every backbone, pretrained weights that must fit.

The host's builders read ``MODEL.BACKBONE.PRETRAIN_PATH`` with a bare ``torch.load`` and keep random weights where names
or shapes differ. Each is wrapped: the file is read by this plugin's loader, and must hold every tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import nn

from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.random_state import same_random_numbers
from oamn_plugin.hosts.shared.weights import fetching, load_pretrained
from oamn_plugin.modeling.backbones import TIMM_PREFIX, build_backbone

NOT_PRETRAINED = r"NL_\d|fc\.|classifier\.|head\.|pos_embed$"
"""Non-local blocks, which ImageNet networks lack; heads, which are not used; positions, which depend on the size."""


def timm(cfg: CfgNode) -> nn.Module:
    """A network of timm, named by ``MODEL.BACKBONE.ARCH``; ``PRETRAIN`` downloads timm's weights."""
    return _build(cfg, TIMM_PREFIX, 2, "resnet50.a1_in1k")


def torchvision(cfg: CfgNode) -> nn.Module:
    """A network of torchvision, named by ``MODEL.BACKBONE.ARCH``; ``PRETRAIN`` downloads torchvision's weights."""
    return _build(cfg, "", cfg.MODEL.BACKBONE.LAST_STRIDE, "resnet50")


def _build(cfg: CfgNode, prefix: str, last_stride: int, example: str) -> nn.Module:
    if not cfg.MODEL.BACKBONE.ARCH:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} needs MODEL.BACKBONE.ARCH, for example {example}"
        )
    name = prefix + cfg.MODEL.BACKBONE.ARCH
    try:
        backbone = build_backbone(name, last_stride, input_size=tuple(cfg.INPUT.SIZE_TRAIN))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"MODEL.BACKBONE: {error}") from error
    if cfg.MODEL.BACKBONE.PRETRAIN:
        backbone.load_state_dict({k: v for k, v in _download(name).items() if "fc." not in k}, strict=False)
    return backbone


def _download(name: str) -> dict[str, Any]:
    if name.startswith(TIMM_PREFIX):
        import timm as timm_library

        return timm_library.create_model(name.removeprefix(TIMM_PREFIX), pretrained=True).state_dict()
    import torchvision as torchvision_library

    return torchvision_library.models.get_model(name, weights="IMAGENET1K_V1").state_dict()


def with_fitting_weights(builder: Callable[[CfgNode], nn.Module]) -> Callable[[CfgNode], nn.Module]:
    """Wraps a builder: the file of ``PRETRAIN_PATH`` must fit, and a failed download is one message.

    The builder raises:
        CheckpointError: a file that is missing, damaged, hostile or of another backbone.
        ConfigError: weights that cannot be downloaded.
    """

    @functools.wraps(builder)
    def build(cfg: CfgNode) -> nn.Module:
        settings = cfg.MODEL.BACKBONE
        if not settings.PRETRAIN:
            return builder(cfg)
        if not settings.PRETRAIN_PATH:
            advice = "Put a copy on disk and name it with MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch: "
            with fetching(f"MODEL.BACKBONE {settings.NAME}", f"{advice}MODEL.BACKBONE.PRETRAIN False"):
                return builder(cfg)
        bare = altered(cfg, {"MODEL.BACKBONE.PRETRAIN": False})
        if settings.NAME != "build_vit_backbone":
            backbone = builder(bare)
            load_pretrained(backbone, settings.PRETRAIN_PATH, NOT_PRETRAINED)
            return backbone
        with same_random_numbers():
            load_pretrained(builder(bare), settings.PRETRAIN_PATH, NOT_PRETRAINED)
        return builder(cfg)  # which resizes the positions

    return build


for _builder in (timm, torchvision):
    BACKBONE_REGISTRY.register(_builder)
for _name, _builder in list(BACKBONE_REGISTRY._obj_map.items()):
    BACKBONE_REGISTRY._obj_map[_name] = with_fitting_weights(_builder)
