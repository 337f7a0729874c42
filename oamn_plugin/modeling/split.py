"""The split of a backbone into E1 (up to stride 16, where the mask applies) and E2 (the rest).

Layouts are told by the names of a network's children alone, so that a backbone of any toolbox can be split without
importing the toolbox. The pieces are the backbone's own modules: weights loaded before the split stay loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oamn_plugin.modeling.vit import is_vision_transformer, split_vision_transformer

MASK_STRIDE = 16
"""Pixels of the image per position of the mask, along each axis."""
HEADS = frozenset(
    (
        "avgpool",
        "global_avgpool",
        "global_pool",
        "fc",
        "head",
        "head_drop",
        "head_norm",
        "classifier",
        "dropout",
        "drop",
    )
)
"""Children behind the last feature map; they are no part of an encoder."""


class SplitBackbone(NamedTuple):
    """The two encoders of a split backbone and the channels that each gives."""

    low: nn.Module
    high: nn.Module
    mask_channels: int
    feature_dim: int


class Layout(NamedTuple):
    """Children in forward order, ``?`` marking optional ones; ``opened`` is split inside, at stride 16."""

    name: str
    low: str
    high: str
    opened: str = ""

    @property
    def names(self) -> set[str]:
        """All children that there may be."""
        return set(_names(self._spec))

    @property
    def required(self) -> set[str]:
        """The children that there must be."""
        return {name for name in self._spec.split() if not name.endswith("?")}

    @property
    def _spec(self) -> str:
        return f"{self.low} {self.opened} {self.high}"


LAYOUTS = (
    Layout("ResNet family", "conv1 bn1 relu? act1? maxpool? maxpool1? layer1 layer2 layer3", "layer4"),
    Layout("OSNet", "conv1 maxpool conv2 pool2? conv3 pool3?", "conv4 conv5"),
    Layout("MobileNetV2 by stages", "conv1 conv2 conv3 conv4 conv5 conv6", "conv7 conv8 conv9"),
    Layout("RegNet", "stem s1 s2 s3", "s4 final_conv?"),
    Layout("RepVGG", "stage0 stage1 stage2 stage3", "stage4"),
    Layout("ShuffleNetV2", "first_conv maxpool", "conv_last", opened="features"),
    Layout("MobileNetV2/V3", "", "conv?", opened="features"),
    Layout("EfficientNet", "conv_stem bn1", "conv_head? bn2?", opened="blocks"),
    Layout("ConvNeXt", "stem", "norm_pre?", opened="stages"),
)


def split_backbone(backbone: nn.Module) -> SplitBackbone:
    """Splits a backbone where its features reach stride 16.

    ResNets are split before their last stage (layer1 to layer3 | layer4), OSNet before conv4, networks that are one
    list of blocks behind the last block of stride 16. Non-local blocks (``NL_i`` after the blocks ``NL_i_idx`` of stage
    i) stay at their place. ``high(low(x))`` equals the whole feature map, which a dry run checks. Vision transformers
    are split in the middle, see :mod:`oamn_plugin.modeling.vit`.

    Args:
        backbone: a network of one of the :data:`LAYOUTS` or a vision transformer. Its modules are shared, not copied.

    Returns:
        ``low`` and ``high``, the channels between them and the channels at the end.

    Raises:
        ValueError: unknown layout (the known ones are named), or layers that do not simply follow each other.

    >>> import torchvision
    >>> split = split_backbone(torchvision.models.resnet18())
    >>> split.mask_channels, split.feature_dim
    (256, 512)
    """
    own = set(backbone.modules())
    with evaluating(backbone):
        if is_vision_transformer(backbone):
            size = getattr(backbone.patch_embed, "img_size", None) or (224, 224)
            split = SplitBackbone(*split_vision_transformer(backbone, probe_image(backbone, size)))
        else:
            split = _check(backbone, *cut_modules(backbone))
    for module in (*split.low.modules(), *split.high.modules()):
        if module not in own:  # the containers made here follow the backbone's mode
            module.training = backbone.training
    return split


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into eval mode without gradients for a dry run, and every part back into its own mode after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def probe_image(module: nn.Module, size: tuple[int, int]) -> Tensor:
    """Returns one image (1, 3, height, width) of a fixed pattern, of the module's dtype and on its device."""
    parameter = next(module.parameters())
    pattern = torch.linspace(-1, 1, 3 * size[0] * size[1]).mul(37).sin().view(1, 3, *size)
    return pattern.to(parameter.device, parameter.dtype)


def cut_modules(backbone: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """The backbone's own modules before and behind the cut, unchecked; :func:`split_backbone` checks them.

    Raises:
        ValueError: unknown layout (the known ones are named).
    """
    children = {name: child for name, child in backbone.named_children() if name not in HEADS and name[:3] != "NL_"}
    for layout in LAYOUTS:
        if not layout.required <= children.keys() <= layout.names:
            continue
        low = [(name, _stage(backbone, name)) for name in _names(layout.low) if name in children]
        high = [(name, _stage(backbone, name)) for name in _names(layout.high) if name in children]
        if layout.opened:
            blocks = list(children[layout.opened].children())
            count = _blocks_within_stride(backbone, nn.Sequential(*(module for _, module in low)), blocks)
            low.append((layout.opened, nn.Sequential(*blocks[:count])))
            high.insert(0, (layout.opened, nn.Sequential(*blocks[count:])))
        return nn.Sequential(OrderedDict(low)), nn.Sequential(OrderedDict(high))
    known = ", ".join([layout.name for layout in LAYOUTS] + ["vision transformer"])
    raise ValueError(
        f"cannot split a {type(backbone).__name__} with the children {', '.join(children) or '(none)'}: "
        f"known layouts are {known}; hand over a backbone of one of these"
    )


def _names(spec: str) -> list[str]:
    return [name.rstrip("?") for name in spec.split()]


def _stage(backbone: nn.Module, name: str) -> nn.Module:
    """Returns a child; a stage ``layerI`` with non-local blocks ``NL_I`` woven in after the blocks ``NL_I_idx``."""
    stage = getattr(backbone, name)
    extra = getattr(backbone, name.replace("layer", "NL_"), None) if name.startswith("layer") else None
    if not extra:
        return stage
    places = [index for index in getattr(backbone, name.replace("layer", "NL_") + "_idx") if index >= 0]
    woven: OrderedDict[str, nn.Module] = OrderedDict()
    for index, block in enumerate(stage):
        woven[str(index)] = block
        if index in places:
            woven[f"NL_{places.index(index)}"] = extra[places.index(index)]
    return nn.Sequential(woven)


def _blocks_within_stride(backbone: nn.Module, stem: nn.Module, blocks: list[nn.Module]) -> int:
    """Number of leading blocks whose output still has stride 16; one block at least is left for E2."""
    side = 64
    x, count = stem(probe_image(backbone, (side, side))), 0
    for index, block in enumerate(blocks[:-1]):
        x = block(x)
        if x.shape[-1] * MASK_STRIDE >= side:
            count = index + 1
    return count


def _check(backbone: nn.Module, low: nn.Module, high: nn.Module) -> SplitBackbone:
    image = probe_image(backbone, (64, 64))
    middle = low(image)
    features = high(middle)
    whole: Callable[[Tensor], Tensor] = backbone
    for name in ("forward_features", "featuremaps"):  # timm, torchreid: the feature map without the head
        whole = getattr(backbone, name, whole)
    expected = whole(image)
    if expected.ndim == 4 and not torch.allclose(expected, features, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise ValueError(
            f"cannot split this {type(backbone).__name__}: its layers do not simply follow each other, so the two "
            "halves would compute something else than the whole"
        )
    return SplitBackbone(low, high, middle.shape[1], features.shape[1])
