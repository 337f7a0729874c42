"""Strips that occlude an image the way a query is: on its pixels or on its features; and types read off the scorer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oamn_plugin.occlusion import SIDES, strip

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILLS = {"mean": (124 / 255, 116 / 255, 104 / 255), "black": (0.0, 0.0, 0.0)}
"""RGB in 0..1 of the two colours that strips are filled with; the mean is ImageNet's, as an image file holds it."""


def fill_colour(
    name: str = "mean",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    unit: float = 1.0,
) -> Tensor:
    """The colour of a strip (3,) as the network sees it.

    Args:
        name: ``mean`` (near 0 after ImageNet's normalisation) or ``black``.
        mean: what the network's normalisation subtracts.
        std: what it divides by.
        unit: the value of white in the unit of ``mean`` and ``std``: 1 or 255.
    """
    rgb = unit * torch.tensor(FILLS[name], dtype=torch.float32)
    return (rgb - torch.tensor(mean, dtype=torch.float32)) / torch.tensor(std, dtype=torch.float32)


def occlusion_types(
    logits: Tensor, quarter_threshold: float = 0.5, half_threshold: float = 0.75, temperature: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Occlusion types from scorer logits.

    With c the largest of the four softmax outputs and its side: ``c <= quarter_threshold`` is ``none``,
    ``c <= half_threshold`` that side at a quarter, above it that side at a half.

    Args:
        logits: (N, 4), order left, right, bottom, top.
        quarter_threshold: confidence above which an image is occluded at all.
        half_threshold: confidence above which it is occluded over a half.
        temperature: of the softmax, see :func:`side_probabilities`.

    Returns:
        types (N,) long, index in ``OCCLUSION_TYPES``, and confidence c (N,).

    >>> types, _ = occlusion_types(torch.tensor([[0.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 9]]))
    >>> types.tolist()
    [0, 6, 4]
    """
    confidence, side = side_probabilities(logits, temperature).max(dim=1)
    half, quarter = 1 + side, 1 + len(SIDES) + side
    types = torch.where(confidence > half_threshold, half, quarter)
    return types.where(confidence > quarter_threshold, torch.zeros_like(types)), confidence


def side_probabilities(logits: Tensor, temperature: float = 0.0) -> Tensor:
    """Probabilities (N, 4) of the sides, of scorer logits (N, 4): their softmax, at a temperature if one was fitted."""
    return (logits / (temperature or 1.0)).softmax(dim=1)


def cover_strip(images: Tensor, type_name: str, colour: Tensor) -> Tensor:
    """A copy of images (N, 3, H, W) with the strip of an occlusion type filled.

    Args:
        images: (N, 3, H, W) float.
        type_name: one of ``OCCLUSION_TYPES``.
        colour: (3,) in the units of the images, see :func:`fill_colour`.

    Raises:
        ValueError: unknown type or an image under 4 pixels.
    """
    top, left, height, width = strip(type_name, *images.shape[-2:])
    out = images.clone()
    out[..., top : top + height, left : left + width] = colour.to(out).view(3, 1, 1)
    return out


def blank_strip(features: Tensor, type_name: str, image_size: Sequence[int]) -> Tensor:
    """A copy of features (N, C, h, w) with the strip zero; at least one row or column of cells, on small maps too.

    What the first layers carry across the strip's border stays, which is why this is close to a strip on the image and
    not equal to it.

    Args:
        features: maps of images of ``image_size``.
        type_name: one of ``OCCLUSION_TYPES``.
        image_size: (height, width) in pixels.
    """
    out = features.clone()
    top, left, height, width = strip(type_name, *image_size)
    if not height:
        return out
    scale_y, scale_x = features.shape[-2] / image_size[0], features.shape[-1] / image_size[1]
    first_row, last_row = round(top * scale_y), max(round((top + height) * scale_y), 1)
    first_column, last_column = round(left * scale_x), max(round((left + width) * scale_x), 1)
    rows = slice(min(first_row, features.shape[-2] - 1), last_row)
    columns = slice(min(first_column, features.shape[-1] - 1), last_column)
    out[..., rows, columns] = 0
    return out
