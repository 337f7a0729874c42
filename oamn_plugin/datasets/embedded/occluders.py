"""Real occluders at any side and area: cars, walls, plants, bicycles, furniture, signs and other people.

They come as layers with transparency, so that they can be pasted on generated and on real images alike. None is a patch
of another training image: the augmentation's own occlusion never appears in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.datasets.embedded import objects, street
from oamn_plugin.datasets.embedded.figure import draw_figure
from oamn_plugin.datasets.embedded.identity import sample_identity
from oamn_plugin.datasets.embedded.pose import Pose, sample_pose
from oamn_plugin.datasets.embedded.raster import Canvas
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY
from oamn_plugin.datasets.embedded.stream import Stream
from oamn_plugin.datasets.embedded.truth import nearest_type
from oamn_plugin.occlusion import SIDES, split_type

SUPERSAMPLE = 3
"""Canvas pixels per image pixel, along each axis."""
Painter = Callable[[Canvas, Stream, float], None]


class Occluder(NamedTuple):
    """An occluder as a layer.

    Attributes:
        rgba: (height, width, 4) uint8; alpha 255 hides the image.
        kind: one of :data:`KINDS`.
        side: the side it comes in from.
        type_name: the nearest of the nine occlusion types.
        area: share of the image that it covers.
    """

    rgba: NDArray[np.uint8]
    kind: str
    side: str
    type_name: str
    area: float


def _person_side(canvas: Canvas, stream: Stream, reach: float) -> None:
    """Another person who walks in from the left."""
    h, w = canvas.height, canvas.width
    identity, pose = sample_identity(stream), sample_pose(stream)
    tall, stretch = h * stream.uniform(1.3, 1.7), stream.uniform(1.15, 1.4)
    feet = (w * (reach - 0.30), h * stream.uniform(1.12, 1.2) + 0.3 * (tall - h))
    draw_figure(canvas, identity, pose, tall, feet, stretch)


def _person_below(canvas: Canvas, stream: Stream, reach: float) -> None:
    """Another person, near the camera: head and shoulders at the lower edge."""
    h, w = canvas.height, canvas.width
    identity, pose = sample_identity(stream), sample_pose(stream)
    pose = Pose(stream.choice((180.0, 160.0, 205.0, 20.0)), pose.phase, 6.0, ("swing", "swing"))
    tall = h * stream.uniform(1.9, 2.3)
    feet = (w * stream.uniform(0.4, 0.6), h * (1 - reach) + tall * 1.0)
    draw_figure(canvas, identity, pose, tall, feet, 1.25)


_PAINTERS: dict[str, dict[str, Painter]] = {
    "car": {"across": objects.van, "bottom": objects.car_front},
    "wall": {"across": objects.wall_side, "bottom": objects.wall_low},
    "plant": {"across": objects.bush_side, "bottom": objects.hedge, "top": objects.branches},
    "bicycle": {"bottom": street.bicycles},
    "furniture": {"across": street.cabinet, "bottom": street.bench},
    "sign": {"top": street.sign},
    "person": {"across": _person_side, "bottom": _person_below},
}
KINDS = tuple(_PAINTERS)


def kinds_at(side: str) -> tuple[str, ...]:
    """The kinds of occluder that can come in from a side."""
    axis = "across" if side in ("left", "right") else side
    return tuple(kind for kind, painters in _PAINTERS.items() if axis in painters)


def draw_occluder(key: tuple[int | str, ...], kind: str, side: str, area: float, canvas: Canvas) -> Canvas:
    """Draws an occluder on empty canvases like the given one until it covers about ``area`` of it."""
    painter = _PAINTERS[kind]["across" if side in ("left", "right") else side]
    low, high, reach = 0.05, 1.25, area * 1.05
    for _ in range(5):
        layer = Canvas(canvas.height, canvas.width, grain=canvas.grain)
        layer.levels = canvas.levels[::-1] if side == "right" else canvas.levels
        painter(layer, Stream(*key), reach)
        covered = float(np.count_nonzero(layer.alpha)) / layer.alpha.size
        if abs(covered - area) < 0.03:
            break
        low, high = (reach, high) if covered < area else (low, reach)
        reach = (
            (low + high) / 2 if high < 1.25 and low > 0.05 else min(1.24, max(0.06, reach * area / max(covered, 0.02)))
        )
    if side == "right":
        layer.rgb, layer.alpha = layer.rgb[:, ::-1].copy(), layer.alpha[:, ::-1].copy()
    return layer


def choose_occluder(
    key: tuple[int | str, ...], canvas: Canvas, side: str | None = None, fits: Callable[[Canvas], bool] | None = None
) -> tuple[Canvas, str, str]:
    """Draws an occluder that comes in from its side as planned.

    Side, kind and area class (about a half, about a quarter) are drawn first and kept for a while when a drawing does
    not fit, so that those which fit seldom are not rare for it.

    Args:
        key: names the draw.
        canvas: size, light and grain of the layer.
        side: drawn if None.
        fits: what else must hold of the layer.

    Returns:
        The layer, its kind and its side.
    """
    plan = Stream(*key, "plan")
    chosen = side or plan.choice(SIDES)
    for attempt in range(60):
        if attempt % 12 == 0:
            kind, low, high = _class(plan, chosen)
        area = Stream(*key, "area", attempt).uniform(low, high)
        layer = draw_occluder((*key, "shape", attempt), kind, chosen, area, canvas)
        covered = float(np.count_nonzero(layer.alpha)) / layer.alpha.size
        if not DIFFICULTY.smallest_area <= covered <= DIFFICULTY.largest_area:
            continue
        if split_type(nearest_type(layer.alpha))[0] == chosen and (fits is None or fits(layer)):
            return layer, kind, chosen
    raise RuntimeError(f"no occluder fits the image {'/'.join(map(str, key))}; please report this as an error")


def _class(plan: Stream, side: str) -> tuple[str, float, float]:
    """A kind of occluder, and the bounds of its area."""
    kind, middle = plan.choice(kinds_at(side)), 0.375
    low, high = DIFFICULTY.smallest_area, DIFFICULTY.largest_area
    return (kind, low, middle) if plan.chance(DIFFICULTY.quarters) or kind == "bicycle" else (kind, middle, high)


def reduce_mean(values: NDArray[np.uint8], factor: int = SUPERSAMPLE) -> NDArray[np.int32]:
    """Mean over blocks of ``factor x factor`` pixels, rounded, in whole numbers."""
    height, width = values.shape[0] // factor, values.shape[1] // factor
    blocks = values.reshape(height, factor, width, factor, -1).sum(axis=(1, 3), dtype=np.int32)
    return (blocks + factor * factor // 2) // (factor * factor)


def random_occluder(key: tuple[int | str, ...], height: int, width: int, side: str | None = None) -> Occluder:
    """An occluder to paste on any image.

    Args:
        key: names the draw; the same key gives the same occluder.
        height, width: size of the image in pixels.
        side: where it comes in from; drawn if None.

    >>> layer = random_occluder((0, "example"), 64, 32)
    >>> layer.rgba.shape, 0.2 <= layer.area <= 0.65
    ((64, 32, 4), True)
    """
    if side is not None and side not in SIDES:
        raise ValueError(f"unknown side {side!r}: choose one of {', '.join(SIDES)}")
    canvas = Canvas(height * SUPERSAMPLE, width * SUPERSAMPLE, light=Stream(*key, "light").uniform(-0.6, 0.6))
    canvas.grain = folds(Stream(*key, "grain"), canvas.height, canvas.width)
    layer, kind, chosen = choose_occluder(key, canvas, side)
    weight = reduce_mean(layer.alpha.astype(np.uint8) * np.uint8(255))
    colour = reduce_mean(layer.rgb * layer.alpha[..., None]) * 255 // np.maximum(weight, 1)
    rgba = np.concatenate([np.clip(colour, 0, 255), weight], axis=2).astype(np.uint8)
    mask = rgba[..., 3] >= 128
    return Occluder(rgba, kind, chosen, nearest_type(mask), float(np.count_nonzero(mask)) / mask.size)


def paste(image: NDArray[np.uint8], layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Puts an (H, W, 4) layer on an (H, W, 3) image."""
    alpha = layer[..., 3:].astype(np.int32)
    mixed = layer[..., :3].astype(np.int32) * alpha + image.astype(np.int32) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def folds(stream: Stream, height: int, width: int) -> NDArray[np.int16]:
    """Soft, whole-numbered texture around 0: folds of cloth, stains of a wall, bark."""
    total = np.zeros((height, width), dtype=np.int32)
    for block, amplitude, window, passes in ((16, 15, 11, 2), (4, 9, 3, 1)):
        shape = (height // block + 2, width // block + 2)
        sheet = stream.bell(shape, amplitude).repeat(block, 0).repeat(block, 1)[:height, :width].astype(np.int32)
        for axis in (0, 1) * passes:
            sheet = np.stack([np.roll(sheet, shift, axis) for shift in range(-(window // 2), window // 2 + 1)])
            sheet = sheet.sum(axis=0, dtype=np.int32) // window
        total += sheet
    return total.astype(np.int16)
