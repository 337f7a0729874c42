"""A small painter in whole numbers: polygons with a local frame, cylinder shading, cloth patterns and folds.

Every pixel comes from integer arithmetic on vertices rounded to 1/16 pixel, so that the pictures are the same on every
processor and with every version of the imaging libraries, which drawing with floating-point edges would not promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Colour = tuple[int, int, int]
UNITS = 16
"""Fixed-point units per canvas pixel."""


class Frame(NamedTuple):
    """Local coordinates of a part: ``v`` runs from ``start`` to ``end``, ``u`` across; ``half`` is its half width."""

    start: Point
    end: Point
    half: float


@dataclass(frozen=True)
class Paint:
    """What a part is covered with.

    Attributes:
        colour: the ground colour.
        second: the colour of the pattern.
        pattern: ``plain``, ``stripes``, ``pinstripes``, ``checks``, ``dots``, ``logo``, ``band`` or ``bricks``.
        period: size of the pattern in canvas pixels.
        flat: True leaves out shading and folds (eyes, windows, lines).
        folds: strength of the folds, 16 = cloth.
    """

    colour: Colour
    second: Colour = (255, 255, 255)
    pattern: str = "plain"
    period: float = 12.0
    flat: bool = False
    folds: int = 16


def polygon_pixels(points: Sequence[Point], height: int, width: int) -> tuple[int, int, NDArray[np.bool_]] | None:
    """Pixels whose centre lies inside a polygon (even-odd rule).

    Returns:
        ``(top, left, mask)`` of the part inside the canvas, or None if there is none.
    """
    fixed = np.array([(round(x * UNITS), round(y * UNITS)) for x, y in points], dtype=np.int64)
    (minx, miny), (maxx, maxy) = fixed.min(axis=0) // UNITS, fixed.max(axis=0) // UNITS
    top, bottom, left, right = (
        max(0, int(miny)),
        min(height, int(maxy) + 1),
        max(0, int(minx)),
        min(width, int(maxx) + 1),
    )
    if top >= bottom or left >= right:
        return None
    ends = np.concatenate([fixed[1:], fixed[:1]])
    upward = (fixed[:, 1] > ends[:, 1])[:, None]
    first, last = np.where(upward, ends, fixed), np.where(upward, fixed, ends)
    rows = np.arange(top, bottom, dtype=np.int64) * UNITS + UNITS // 2
    row, edge = np.nonzero((first[:, 1] <= rows[:, None]) & (rows[:, None] < last[:, 1]))
    (x0, y0), (dx, dy) = first[edge].T, (last - first)[edge].T
    crossing = x0 * dy + (rows[row] - y0) * dx
    column = np.clip(-((UNITS // 2 * dy - crossing) // (UNITS * dy)), left, right) - left
    span = right - left + 1
    toggles = np.bincount(row * span + column, minlength=(bottom - top) * span).astype(np.uint8)
    inside = np.cumsum(toggles.reshape(-1, span)[:, :-1], axis=1, dtype=np.uint8) & 1
    return top, left, inside.astype(bool)


def full_mask(points: Sequence[Point], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels inside a polygon, as a (height, width) array."""
    mask = np.zeros((height, width), dtype=bool)
    found = polygon_pixels(points, height, width)
    if found is not None:
        top, left, inside = found
        mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


@lru_cache(maxsize=256)
def shading(sideways: float, strength: float) -> NDArray[np.int32]:
    """Light on a cylinder by position across it: 129 levels from edge to edge, 256 = unchanged."""
    frontal = math.sqrt(max(0.0, 1 - sideways * sideways))
    levels = []
    for index in range(129):
        across = (index - 64) / 64
        lambert = max(0.0, across * sideways + math.sqrt(1 - across * across) * frontal)
        levels.append(round(256 * (1 - strength + 1.25 * strength * lambert)))
    return np.array(levels, dtype=np.int32)


def _pattern(paint: Paint, u: NDArray[np.int32], v: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Where the second colour shows; u, v in fixed-point units."""
    size = max(4, round(paint.period * UNITS))
    if paint.pattern == "stripes":
        return v % size < size // 2
    if paint.pattern == "pinstripes":
        return u % size < size // 3
    if paint.pattern == "checks":
        return (u % size < size // 2) ^ (v % size < size // 2)
    if paint.pattern == "dots":
        row = v // size
        return ((u + row * (size // 2)) % size - size // 2) ** 2 + (v % size - size // 2) ** 2 < (size * 3 // 10) ** 2
    if paint.pattern == "logo":
        return (np.abs(u) < size) & (np.abs(v - 3 * size) < size * 4 // 5)
    if paint.pattern == "band":
        return np.abs(v - 3 * size) < size
    if paint.pattern == "bricks":
        return (v % size < size // 6 + 1) | ((u + (v // size % 2) * size) % (2 * size) < size // 6 + 1)
    raise ValueError(f"unknown pattern {paint.pattern!r}")


class Canvas:
    """Colour and coverage that parts are painted on.

    Args:
        height, width: size in canvas pixels.
        light: -1 light from the left, 1 from the right.
        contrast: how much darker the far side of a part is, 0 to 1.
        grain: (height, width) folds to add to the shading, or None.
    """

    def __init__(
        self,
        height: int,
        width: int,
        light: float = -0.4,
        contrast: float = 0.45,
        grain: NDArray[np.int16] | None = None,
    ) -> None:
        self.height, self.width = height, width
        self.rgb = np.zeros((height, width, 3), dtype=np.uint8)
        self.alpha = np.zeros((height, width), dtype=bool)
        self.levels = shading(round(light, 2), round(contrast, 2))
        self.grain = grain

    def paint(
        self, points: Sequence[Point], paint: Paint, frame: Frame | None = None, clip: NDArray[np.bool_] | None = None
    ) -> None:
        """Fills a polygon. Without a frame the axis is the vertical through the polygon's middle."""
        found = polygon_pixels(points, self.height, self.width)
        if found is None:
            return
        top, left, mask = found
        rows, columns = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
        if clip is not None:
            mask = mask & clip[rows, columns]
        colours = self._colours(paint, frame or upright(points), rows, columns, mask.shape)
        view = self.rgb[rows, columns]
        np.copyto(view, colours, where=mask[..., None])
        self.alpha[rows, columns] |= mask

    def _colours(
        self, paint: Paint, frame: Frame, rows: slice, columns: slice, shape: tuple[int, ...]
    ) -> NDArray[np.uint8]:
        ground = np.array(paint.colour, dtype=np.int32)
        if paint.flat and paint.pattern == "plain":
            return np.broadcast_to(ground.astype(np.uint8), (*shape, 3))
        (x, y), length = frame.start, math.dist(frame.start, frame.end)
        dx = round(1024 * (frame.end[0] - x) / length) if length > 1e-6 else 0
        dy = round(1024 * (frame.end[1] - y) / length) if length > 1e-6 else 1024
        right = np.arange(columns.start, columns.stop, dtype=np.int32) * UNITS + (UNITS // 2 - round(x * UNITS))
        down = (np.arange(rows.start, rows.stop, dtype=np.int32) * UNITS + (UNITS // 2 - round(y * UNITS)))[:, None]
        u = (right * dy - down * dx) >> 10
        colours: NDArray[np.int32] = ground
        if paint.pattern != "plain":
            second = _pattern(paint, u, (right * dx + down * dy) >> 10)
            colours = np.where(second[..., None], np.array(paint.second, dtype=np.int32), ground)
        if paint.flat:
            return np.broadcast_to(colours, (*shape, 3)).astype(np.uint8)
        half = max(1, round(frame.half * UNITS))
        level = self.levels[np.clip(u * 64 // half, -64, 64) + 64]
        if self.grain is not None and paint.folds:
            level = level + ((self.grain[rows, columns].astype(np.int32) * paint.folds) >> 4)
        return np.clip((colours * level[..., None]) >> 8, 0, 255).astype(np.uint8)


def upright(points: Sequence[Point]) -> Frame:
    """The frame of a part that stands upright: its axis is the vertical through the middle."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    middle = (min(xs) + max(xs)) / 2
    return Frame((middle, min(ys)), (middle, max(ys)), (max(xs) - min(xs)) / 2)
