"""Occlusion types read off the scorer, and the strips that occlude a gallery image the same way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oamn_plugin.occlusion import SIDES, strip

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def black_pixel(mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """The normalised value of black (3,); ``mean`` and ``std`` in the same unit, 0..1 or 0..255."""
    return -torch.tensor(mean, dtype=torch.float32) / torch.tensor(std, dtype=torch.float32)


def occlusion_types(
    logits: Tensor, quarter_threshold: float = 0.5, half_threshold: float = 0.75
) -> tuple[Tensor, Tensor]:
    """Occlusion types from scorer logits.

    With c the largest of the four softmax outputs and its side: ``c <= quarter_threshold`` is ``none``,
    ``c <= half_threshold`` that side at a quarter, above it that side at a half.

    Args:
        logits: (N, 4), order left, right, bottom, top.
        quarter_threshold: confidence above which an image is occluded at all.
        half_threshold: confidence above which it is occluded over a half.

    Returns:
        types (N,) long, index in ``OCCLUSION_TYPES``, and confidence c (N,).

    >>> types, _ = occlusion_types(torch.tensor([[0.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 9]]))
    >>> types.tolist()
    [0, 6, 4]
    """
    confidence, side = logits.softmax(dim=1).max(dim=1)
    half, quarter = 1 + side, 1 + len(SIDES) + side
    types = torch.where(confidence > half_threshold, half, quarter)
    return types.where(confidence > quarter_threshold, torch.zeros_like(types)), confidence


def black_out(images: Tensor, type_name: str, black: Tensor | None = None) -> Tensor:
    """A copy of normalised images (N, 3, H, W) with the strip of an occlusion type black.

    Args:
        images: (N, 3, H, W) normalised float.
        type_name: one of ``OCCLUSION_TYPES``.
        black: (3,) normalised black; None: of ImageNet's mean and standard deviation.

    Raises:
        ValueError: unknown type or an image under 4 pixels.
    """
    top, left, height, width = strip(type_name, *images.shape[-2:])
    out = images.clone()
    value = (black_pixel() if black is None else black).to(out).view(3, 1, 1)
    out[..., top : top + height, left : left + width] = value
    return out


def cut_out(features: Tensor, type_name: str, image_size: Sequence[int]) -> Tensor:
    """A copy of (N, C, h, w) features with the strip zero; at least one row or column of cells, on small maps too."""
    scale_y, scale_x = features.shape[-2] / image_size[0], features.shape[-1] / image_size[1]
    top, left, height, width = strip(type_name, *image_size)
    first_row, last_row = round(top * scale_y), max(round((top + height) * scale_y), 1)
    first_column, last_column = round(left * scale_x), max(round((left + width) * scale_x), 1)
    out = features.clone()
    rows = slice(min(first_row, features.shape[-2] - 1), last_row)
    columns = slice(min(first_column, features.shape[-1] - 1), last_column)
    out[..., rows, columns] = 0
    return out
