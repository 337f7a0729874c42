"""OAMN on the host's backbones, usable in its engines; and what registers models and data sets in it, by name."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.conversion import CEIL_POOLING
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.weights import fetching
from oamn_plugin.hosts.torchreid.compat import image_datasets, model_factory
from oamn_plugin.hosts.torchreid.data import DATASETS, RecordDataset
from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.oamn import OAMNOutput
from oamn_plugin.presets import preset as make_options

PREFIX = "oamn_"
"""Before the name of a backbone: ``oamn_osnet_x1_0``."""
NOT_CUT = ("inceptionresnetv2", "inceptionv4", "xception", "nasnsetmobile", "mudeep", "hacnn", "mlfn")
"""The host's networks whose layers do not simply follow each other, so that no cut leaves a place for a mask."""
LOSSES = ("softmax", "triplet")
_RESNET = {name: name for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")}
_PLAIN: dict[str, dict[str, str]] = {
    # class -> child of the rearranged network -> child of the host's, in forward order; what is left out is head
    "PCB": _RESNET,
    "ResNetMid": _RESNET,
    "SENet": {"stem": "layer0", "s1": "layer1", "s2": "layer2", "s3": "layer3", "s4": "layer4"},
    "ShuffleNet": {"stem": "conv1", "s1": "", "s2": "stage2", "s3": "stage3", "s4": "stage4"},
    "ShuffleNetV2": {
        "stem": "conv1",
        "s1": "maxpool",
        "s2": "stage2",
        "s3": "stage3",
        "s4": "stage4",
        "final_conv": "conv5",
    },
}


class TorchreidOAMN(OAMN):
    """The core's OAMN with the host's way of being called.

    In eval mode it gives unit descriptors (N, D). In training it gives what the host's engines expect: identity logits
    with ``loss="softmax"``, ``(logits, h)`` with ``loss="triplet"``; :class:`ImageOAMNEngine` asks for the whole.
    Its children are the host's words for ``train.new_layers`` and ``train.open_layers``: ``encoder_low``, ``mask``,
    ``scorer``, ``encoder_high``, ``feat_bn``, ``classifier``.

    Args:
        backbone: a built network of the host.
        num_classes: training identities.
        loss: ``softmax`` or ``triplet``.
        input_size: image (height, width) in pixels.
        preset: reading of the method.
        **options: fields of :class:`oamn_plugin.presets.Options` that differ from the preset.

    Raises:
        ConfigError: unknown loss.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        loss: str = "triplet",
        input_size: tuple[int, int] = (256, 128),
        preset: str = "paper",
        **options: Any,
    ) -> None:
        if loss not in LOSSES:
            raise ConfigError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}.{did_you_mean(loss, LOSSES)}")
        super().__init__(backbone, num_classes, input_size, preset, **options)
        self.loss = loss

    def forward(self, images: Tensor, whole: bool = False) -> Any:
        """Descriptors, or what the loss needs; see the class.

        Args:
            images: (N, 3, H, W) normalised.
            whole: in training, give the :class:`oamn_plugin.modeling.OAMNOutput`.
        """
        output = super().forward(images)
        if whole or not isinstance(output, OAMNOutput):
            return output
        return output.class_logits if self.loss == "softmax" else (output.class_logits, output.pooled)


def build_oamn(
    backbone: str,
    num_classes: int,
    loss: str = "triplet",
    pretrained: bool = True,
    use_gpu: bool = True,
    input_size: tuple[int, int] = (256, 128),
    preset: str = "paper",
    **options: Any,
) -> TorchreidOAMN:
    """Builds OAMN on one of the host's backbones.

    Args:
        backbone: a name of the host's factory, such as ``osnet_x1_0``.
        num_classes: training identities.
        loss: ``softmax`` or ``triplet``, see :class:`TorchreidOAMN`.
        pretrained: fetch the host's ImageNet weights.
        use_gpu: taken and left to the engine, as the host's own models do.
        input_size: image (height, width) in pixels.
        preset: reading of the method.
        **options: fields of :class:`oamn_plugin.presets.Options` that differ from the preset.

    Raises:
        ConfigError: unknown backbone, one that cannot be cut, a wrong option, or weights that cannot be fetched.
    """
    try:
        network = plain_backbone(_build_host(backbone, pretrained, use_gpu))
        return TorchreidOAMN(network, num_classes, loss, input_size, preset, **options)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{PREFIX}{backbone}: {error}") from error


def register(
    input_size: tuple[int, int] = (256, 128),
    preset: str = "paper",
    *,
    embedded_size: str = "demo",
    embedded_seed: int = 0,
    custom: dict[str, str] | None = None,
    **options: Any,
) -> list[str]:
    """Adds OAMN to torchreid: models ``oamn_<backbone>`` and the occluded data sets.

    May be called again: later builds take the new arguments, what is built already stays as it is.

    Args:
        input_size: image (height, width) in pixels of the models built by name; the data manager's height and width.
        preset: reading of the method: ``paper``, ``official`` or ``plus``.
        embedded_size: size of the generated data set ``OccludedPedestrians``: ``tiny``, ``demo`` or ``benchmark``.
        embedded_seed: its seed.
        custom: arguments of :func:`oamn_plugin.datasets.custom.read_custom` for ``CustomReID``.
        **options: fields of :class:`oamn_plugin.presets.Options` that differ from the preset.

    Returns:
        The names of the models that can be built.

    Raises:
        ConfigError: unknown preset or option (the nearest is named), or a value out of range.
    """
    try:
        make_options(preset, **options)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error
    RecordDataset.size, RecordDataset.seed = embedded_size, embedded_seed
    RecordDataset.custom = {"train": "train"} if custom is None else dict(custom)
    for name in carriers():
        model_factory()[PREFIX + name] = partial(build_oamn, name, input_size=input_size, preset=preset, **options)
    image_datasets().update({**DATASETS, **image_datasets()})  # those that are there already stay
    return [PREFIX + name for name in carriers()]


def plain_backbone(network: nn.Module) -> nn.Module:
    """The host's network as one sequence of layers, without those of the head, so that it can be split."""
    kind = type(network).__name__
    if kind == "DenseNet":  # the last ReLU is a function call between features and pooling
        network.features.add_module("last_relu", nn.ReLU())  # type: ignore[operator, union-attr]
        return network
    if kind not in _PLAIN:
        return network
    parts = _PLAIN[kind].items()
    return nn.Sequential(OrderedDict((new, getattr(network, old) if old else nn.Identity()) for new, old in parts))


def carriers() -> list[str]:
    """The host's backbones that can carry OAMN."""
    return [name for name in model_factory() if not name.startswith(PREFIX) and name not in NOT_CUT]


def ceil_pooling(model: TorchreidOAMN) -> bool:
    """Whether the stem pools as fastreid's ResNet does, without padding and with the last window cut off."""
    pool = getattr(model.encoder_low, "maxpool", None)
    return bool(getattr(pool, "ceil_mode", False)) and getattr(pool, "padding", 1) == 0


def restore_pooling(model: nn.Module, content: Mapping[str, Any]) -> None:
    """Makes a ResNet's stem pool as fastreid's own ResNet does, if a checkpoint says that its weights need it.

    Raises:
        ConfigError: the backbone has no such pooling.
    """
    if not content.get(CEIL_POOLING) or not isinstance(model, TorchreidOAMN):
        return
    if not isinstance(getattr(model.encoder_low, "maxpool", None), nn.MaxPool2d):
        raise ConfigError("only a ResNet has the stem pooling that weights of fastreid's ResNet ask for")
    model.encoder_low.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _build_host(name: str, pretrained: bool, use_gpu: bool) -> nn.Module:
    if name in NOT_CUT:
        raise ConfigError(f"{name} cannot carry OAMN: its layers do not simply follow each other")
    if name not in carriers():
        raise ConfigError(
            f"torchreid has no backbone {name!r}.{did_you_mean(name, carriers())} Known: {', '.join(carriers())}"
        )
    advice = f"Train from scratch (model.pretrained False), or put them into {torch.hub.get_dir()}/checkpoints"
    with fetching(name, advice) if pretrained else contextlib.nullcontext():
        return model_factory()[name](num_classes=1, loss="softmax", pretrained=pretrained, use_gpu=use_gpu)
