"""Per-image pipelines of the workers: the host's own, a list named in YAML, or plain decode and resize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision.transforms as T
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from fastreid.data.transforms.autoaugment import AutoAugment
from fastreid.data.transforms.transforms import AugMix, RandomPatch, ToTensor

from oamn_plugin.hosts.fastreid.registries import TRANSFORM_REGISTRY
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.preflight import unknown_names
from oamn_plugin.search.encoder import RESAMPLING

Step = Callable[[Any], Any]
PIPELINES = ("host", "device", "list")


def build_pipeline(cfg: CfgNode, is_train: bool) -> Step:
    """The per-image transform: PIL image in, (3, H, W) tensor in 0..255 out (uint8 from the "device" pipeline).

    Raises:
        ConfigError: a pipeline or a step that does not exist or cannot work.
    """
    words = ("INPUT.PIPELINE", cfg.INPUT.PIPELINE, PIPELINES), ("INPUT.RESAMPLE", cfg.INPUT.RESAMPLE, RESAMPLING)
    if unknown := unknown_names(words):
        raise ConfigError("; ".join(unknown))
    if cfg.INPUT.PIPELINE == "device" or (cfg.INPUT.PIPELINE == "list" and not is_train):
        return T.Compose([resize(cfg, is_train), T.PILToTensor()])
    if cfg.INPUT.PIPELINE == "list":
        if "OcclusionAugmentation" in cfg.INPUT.TRANSFORMS:
            raise ConfigError(
                "INPUT.TRANSFORMS: OcclusionAugmentation is no step of one image any more, since a worker has no other "
                "people to cut patches from; take it out and set INPUT.OCCLUSION.PROB, which occludes whole batches"
            )
        steps = [TRANSFORM_REGISTRY.get(name)(cfg, is_train) for name in cfg.INPUT.TRANSFORMS]
        return T.Compose([step for step in steps if step is not None])
    if is_train and cfg.INPUT.AFFINE.ENABLED:
        raise ConfigError(
            "INPUT.AFFINE.ENABLED: the host calls torchvision's RandomAffine with arguments that no longer exist; "
            "use INPUT.PIPELINE list with the step RandomAffine, or INPUT.ROTATION with INPUT.PIPELINE device"
        )
    return build_transforms(cfg, is_train=is_train)


def resize(cfg: CfgNode, is_train: bool) -> Step:
    """Straight to the input size, aspect ignored."""
    size = cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST
    return T.Resize(list(size), interpolation=RESAMPLING[cfg.INPUT.RESAMPLE])


_STEPS: dict[str, Callable[[CfgNode, bool], Step]] = {
    "Resize": resize,
    "PadCrop": lambda cfg, _: T.Compose(
        [T.Pad(cfg.INPUT.PADDING.SIZE, padding_mode=cfg.INPUT.PADDING.MODE), T.RandomCrop(list(cfg.INPUT.SIZE_TRAIN))]
    ),
    "RandomHorizontalFlip": lambda cfg, _: T.RandomHorizontalFlip(cfg.INPUT.FLIP.PROB),
    "ColorJitter": lambda cfg, _: T.RandomApply(
        [T.ColorJitter(cfg.INPUT.CJ.BRIGHTNESS, cfg.INPUT.CJ.CONTRAST, cfg.INPUT.CJ.SATURATION, cfg.INPUT.CJ.HUE)],
        p=cfg.INPUT.CJ.PROB,
    ),
    "RandomAffine": lambda cfg, _: T.RandomAffine(degrees=10, scale=(0.9, 1.1), shear=0.1),
    "RandomRotation": lambda cfg, _: T.RandomRotation(cfg.INPUT.ROTATION),
    "AutoAugment": lambda cfg, _: T.RandomApply([AutoAugment()], p=cfg.INPUT.AUTOAUG.PROB),
    "AugMix": lambda cfg, _: AugMix(prob=cfg.INPUT.AUGMIX.PROB),
    "ToTensor": lambda cfg, _: ToTensor(),
    "RandomErasing": lambda cfg, _: T.RandomErasing(
        p=cfg.INPUT.REA.PROB, value=list(cfg.INPUT.REA.VALUE) or [123.675, 116.28, 103.53]
    ),
    "RandomPatch": lambda cfg, _: RandomPatch(prob_happen=cfg.INPUT.RPT.PROB),
}
for _name, _step in _STEPS.items():
    TRANSFORM_REGISTRY.add(_name, _step)
