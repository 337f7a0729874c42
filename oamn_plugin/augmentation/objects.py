"""Occluders with an outline: RGBA cut-outs of a folder, pasted on training images at any side.

Beside strips, whose straight edges and stretched pixels a network can learn instead of occlusion. Not part of the
published method.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from oamn_plugin.augmentation.geometry import ATTEMPTS, in_dtype
from oamn_plugin.errors import ExpectedError
from oamn_plugin.occlusion import SIDES

SHARE_RANGE = (0.15, 0.6)
"""Share of the image that an object covers."""
_ASPECT_JITTER = 1.3  # height over width is multiplied by up to this, or divided
_BRIGHTNESS = (0.6, 1.4)
_BEYOND = 0.4  # share of an object without a straight side that may lie outside the image
_OPAQUE = 128


class CutOutError(ExpectedError, ValueError):
    """A folder of cut-outs that cannot be used; the message says why."""


class CutOuts:
    """The RGBA pictures of a folder.

    A picture whose name has a side as a word between underscores, as ``oamn data occluders`` writes them
    (``car_bottom_0002.png``), is cut straight there and pasted at this side alone; any other at every side.

    Args:
        folder: of ``.png`` or ``.webp`` files, read once.

    Raises:
        CutOutError: no picture in it, or one that is damaged, has no transparency or nothing else.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        paths = sorted(path for path in self.folder.glob("*") if path.suffix.lower() in (".png", ".webp"))
        if not paths:
            raise CutOutError(
                f"{folder} holds no .png or .webp picture to occlude with: write some with `oamn data occluders`"
            )
        self._by_side: dict[str, list[tuple[Tensor, bool]]] = {side: [] for side in SIDES}
        for path in paths:
            own = next((side for side in SIDES if side in re.split(r"[_.]", path.name)), "")
            picture = _read(path)
            for side in [own] if own else SIDES:
                self._by_side[side].append((picture, bool(own)))
        self.count = len(paths)

    def __repr__(self) -> str:
        return f"CutOuts({self.count} of {str(self.folder)!r})"

    def draw(self, side: str, height: int, width: int, generator: torch.Generator | None = None) -> Tensor | None:
        """A layer to lay over an image: one object at a side, over 15 to 60 % of the image.

        Args:
            side: of :data:`oamn_plugin.occlusion.SIDES`.
            height, width: of the image in pixels.
            generator: CPU generator of the random numbers.

        Returns:
            (4, height, width) float: RGB in 0..255 and alpha in 0..1; None where no picture fits the side.
        """
        choices = self._by_side[side]
        if not choices:
            return None
        picture, straight = choices[int(torch.randint(len(choices), (), generator=generator))]
        filled = float((picture[3] >= _OPAQUE).float().mean())
        for _ in range(ATTEMPTS):
            draws = torch.rand(7, generator=generator).tolist()
            share = SHARE_RANGE[0] + draws[0] * (SHARE_RANGE[1] - SHARE_RANGE[0])
            aspect = picture.shape[1] / picture.shape[2] * _ASPECT_JITTER ** (2 * draws[1] - 1)
            rows = max(1, round(math.sqrt(share * height * width / filled * aspect)))
            columns = max(1, round(rows / aspect))
            beyond = 0.0 if straight else _BEYOND * draws[2]
            top, left = _place(side, (rows, columns), (height, width), beyond, draws[3])
            mirrored = picture.flip(2) if side in ("bottom", "top") and draws[4] < 0.5 else picture
            layer = _laid(mirrored, (rows, columns), (top, left), (height, width), soften=draws[5])
            layer[:3] = (layer[:3] * (_BRIGHTNESS[0] + draws[6] * (_BRIGHTNESS[1] - _BRIGHTNESS[0]))).clamp(0, 255)
            if SHARE_RANGE[0] <= float((layer[3] >= 0.5).float().mean()) <= SHARE_RANGE[1]:
                return layer
        return None


def paste(image: Tensor, layer: Tensor) -> Tensor:
    """A (3, H, W) image under a layer of :meth:`CutOuts.draw`, in the image's dtype."""
    layer = layer.to(image.device)
    return in_dtype(image.float() * (1 - layer[3]) + layer[:3] * layer[3], image.dtype)


def _place(side: str, size: tuple[int, int], image: tuple[int, int], beyond: float, along: float) -> tuple[int, int]:
    """Top and left of an object of a size that stands at a side and anywhere along it, its middle within the image."""
    across = 1 if side in ("left", "right") else 0
    depth, extent = size[across], image[across]
    near = -round(beyond * depth) if side in ("left", "top") else extent - depth + round(beyond * depth)
    other = round(along * image[1 - across] - size[1 - across] / 2)
    return (other, near) if across else (near, other)


def _laid(
    picture: Tensor, size: tuple[int, int], place: tuple[int, int], image: tuple[int, int], soften: float
) -> Tensor:
    """The picture at a size and a place of an empty layer; blurred for ``soften`` above a half, sharp below."""
    scaled = picture[None].float()
    if soften > 0.5:  # sharpness must not say what was pasted
        small = [max(2, round(side / (1 + 6 * (soften - 0.5)))) for side in size]
        scaled = F.interpolate(scaled, small, mode="bilinear", antialias=True)
    scaled = F.interpolate(scaled, size, mode="bilinear", antialias=True)[0]
    layer = torch.zeros(4, *image)
    (top, left), (rows, columns) = place, size
    seen = slice(max(0, top), min(image[0], top + rows)), slice(max(0, left), min(image[1], left + columns))
    if seen[0].start < seen[0].stop and seen[1].start < seen[1].stop:
        layer[:, seen[0], seen[1]] = scaled[
            :, seen[0].start - top : seen[0].stop - top, seen[1].start - left : seen[1].stop - left
        ]
    layer[3] /= 255
    return layer


def _read(path: Path) -> Tensor:
    """(4, H, W) uint8, cut to what is not transparent."""
    try:
        with Image.open(path) as file:
            transparent = "A" in file.getbands() or "transparency" in file.info
            pixels = np.asarray(file.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CutOutError(f"{path} cannot be read: {error}") from error
    if not transparent:
        raise CutOutError(f"{path} has no transparency, and so no outline: an RGBA picture is needed")
    opaque = pixels[..., 3] >= _OPAQUE
    if not opaque.any():
        raise CutOutError(f"{path} shows nothing: none of its pixels is opaque")
    rows, columns = (np.flatnonzero(opaque.any(axis=axis)) for axis in (1, 0))
    return torch.from_numpy(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()).permute(2, 0, 1)
