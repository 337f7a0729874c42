"""Flips, crops, rotations and random erasing of a batch of images, on whatever device it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CACHED = 8
"""Images that a CPU works on at a time, so that what lies between stays in its cache. A GPU takes all at once."""
ATTEMPTS = 10
"""Draws of a rectangle that does not fit."""


@dataclass(frozen=True)
class Geometry:
    """Random flip, crop after padding and rotation of a batch, black where nothing was.

    Source: the recipe of the released OAMN code (pad 10, crop, rotate within 5 degrees, flip 0.5).

    Args:
        padding: pixels of black around the image before a crop of the old size.
        rotation: largest rotation in degrees, either way.
        flip: probability of a horizontal flip.
    """

    padding: int = 10
    rotation: float = 5.0
    flip: float = 0.5

    def __call__(
        self, images: Tensor, generator: torch.Generator | None = None, may_flip: Tensor | None = None
    ) -> Tensor:
        """Transforms each image on its own.

        Args:
            images: (N, 3, H, W) uint8 or float.
            generator: CPU generator of the random numbers.
            may_flip: (N,) bool; images that must not be flipped are False.

        Returns:
            (N, 3, H, W) of the same dtype.
        """
        count, _, height, width = images.shape
        draws = torch.rand(count, 4, generator=generator)
        flipped = draws[:, 0] < self.flip
        if may_flip is not None:
            flipped = flipped & may_flip.cpu()
        shift = torch.floor(draws[:, 1:3] * (2 * self.padding + 1)) - self.padding  # pixels down, right
        if not self.rotation:  # whole pixels move: nothing to interpolate
            return _moved(images, flipped.tolist(), shift.long().tolist())
        angle = (2 * draws[:, 3] - 1) * math.radians(self.rotation)
        theta = _sampling_matrix(flipped, shift, angle, height, width).to(images.device)
        out = torch.empty_like(images)
        step = count if images.is_cuda else CACHED
        for part in (slice(start, start + step) for start in range(0, count, step)):
            out[part] = _sampled(images[part], theta[part])
        return out


def _moved(images: Tensor, flipped: list[bool], shift: list[list[int]]) -> Tensor:
    """Crops of padded images, ``shift`` pixels (down, right) off the middle, then flips; black where nothing was."""
    height, width = images.shape[-2:]
    out = torch.zeros_like(images)
    for image, target, flip, (down, right) in zip(images, out, flipped, shift, strict=True):
        rows = slice(min(height, max(0, -down)), max(0, min(height, height - down)))
        columns = slice(min(width, max(0, -right)), max(0, min(width, width - right)))
        seen = image[
            :, rows.start + down : max(0, rows.stop + down), columns.start + right : max(0, columns.stop + right)
        ]
        if flip:
            seen, columns = seen.flip(2), slice(width - columns.stop, width - columns.start)
        target[:, rows, columns] = seen
    return out


def _sampled(images: Tensor, theta: Tensor) -> Tensor:
    """Bilinear samples of (N, 3, H, W) images at the places that (N, 2, 3) matrices give; black outside."""
    height, width = images.shape[-2:]
    along = (torch.arange(height, device=theta.device) * 2 + 1) / height - 1
    across = (torch.arange(width, device=theta.device) * 2 + 1) / width - 1
    # affine_grid would multiply a matrix with every position: most of the time of a rotation
    columns = theta[:, :, 0, None] * across
    rows = theta[:, :, 1, None] * along + theta[:, :, 2, None]
    grid = (columns.transpose(1, 2)[:, None] + rows.transpose(1, 2)[:, :, None]).contiguous()
    out = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return in_dtype(out, images.dtype)


def in_dtype(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Float pixels in a dtype, rounded (in place) where it is of whole numbers."""
    return (pixels if dtype.is_floating_point else pixels.round_()).to(dtype)


def _sampling_matrix(flipped: Tensor, shift: Tensor, angle: Tensor, height: int, width: int) -> Tensor:
    """(N, 2, 3) matrices from output to input coordinates in [-1, 1], for crop, then rotation, then flip."""
    mirror = 1.0 - 2.0 * flipped.float()
    cos, sin = torch.cos(angle), torch.sin(angle)
    across, along = 2 * shift[:, 1] / width, 2 * shift[:, 0] / height
    row_x = torch.stack([mirror * cos, -sin * height / width, across], 1)
    row_y = torch.stack([mirror * sin * width / height, cos, along], 1)
    return torch.stack([row_x, row_y], 1)


def erase(images: Tensor, probability: float, value: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020) on a batch: area share U(0.02, 0.33), aspect ratio log-U(0.3, 3.3).

    A rectangle that does not fit is drawn again; after :data:`ATTEMPTS` the image is left alone.

    Args:
        images: (N, 3, H, W) float.
        probability: how often an image is erased.
        value: (3,) fill colour, in the units of ``images``.
        generator: CPU generator of the random numbers.
    """
    out = images.clone()
    height, width = images.shape[-2:]
    for i in (torch.rand(len(images), generator=generator) < probability).nonzero().flatten().tolist():
        for _ in range(ATTEMPTS):
            draw = torch.rand(4, generator=generator).tolist()
            area = height * width * (0.02 + draw[0] * 0.31)
            aspect = math.exp(math.log(0.3) + draw[1] * (math.log(3.3) - math.log(0.3)))
            rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if rows < height and columns < width:
                top, left = int(draw[2] * (height - rows + 1)), int(draw[3] * (width - columns + 1))
                out[i, :, top : top + rows, left : left + columns] = value.to(out)[:, None, None]
                break
    return out
