"""One image of the data set: a person in a camera's place, perhaps behind something, as that camera sees it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.datasets.embedded.camera import Camera, develop, make_camera
from oamn_plugin.datasets.embedded.figure import draw_figure
from oamn_plugin.datasets.embedded.identity import Identity, identity_of, sample_identity
from oamn_plugin.datasets.embedded.occluders import SUPERSAMPLE, choose_occluder, folds, reduce_mean
from oamn_plugin.datasets.embedded.pose import sample_pose
from oamn_plugin.datasets.embedded.raster import Canvas, full_mask
from oamn_plugin.datasets.embedded.shapes import ellipse
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY
from oamn_plugin.datasets.embedded.stream import Stream
from oamn_plugin.datasets.embedded.truth import Truth, describe
from oamn_plugin.occlusion import NONE


class Shot(NamedTuple):
    """What is to be drawn: one line of the data set's plan.

    Attributes:
        split: folder.
        pid: identity, from 1.
        camid: camera, from 0.
        number: counts the images of this identity and camera in this split.
        occluded: whether something stands in the way.
    """

    split: str
    pid: int
    camid: int
    number: int
    occluded: bool

    @property
    def name(self) -> str:
        """File name as in Market-1501: the frame number tells splits and images apart."""
        offset = ("bounding_box_train", "query", "query_holistic", "bounding_box_test").index(self.split)
        return f"{self.pid:04d}_c{self.camid + 1}s1_{offset * 100000 + self.number:06d}_00.jpg"


@lru_cache(maxsize=8)
def _camera(seed: int, number: int, height: int, width: int) -> Camera:
    return make_camera(seed, number, height, width)


@lru_cache(maxsize=4096)
def _identity(seed: int, pid: int) -> Identity:
    return identity_of(seed, pid)


@lru_cache(maxsize=16)
def _grain(index: int, height: int, width: int) -> NDArray[np.int16]:
    """Folds are costly and few suffice: images share eight sheets, each mirrored or not."""
    sheet = folds(Stream("grain", index // 2), height, width)
    return sheet[:, ::-1] if index % 2 else sheet


def render(seed: int, shot: Shot, height: int, width: int) -> tuple[NDArray[np.uint8], Truth]:
    """Draws an image.

    Args:
        seed: of the data set.
        shot: what to draw.
        height, width: of the image in pixels.

    Returns:
        The image (height, width, 3) uint8, and what is known of it.
    """
    key = (seed, shot.split, shot.pid, shot.camid, shot.number)
    stream = Stream(*key)
    camera = _camera(seed, shot.camid, height * SUPERSAMPLE, width * SUPERSAMPLE)
    person, picture = _stage(camera, stream, _identity(seed, shot.pid), height * SUPERSAMPLE, width * SUPERSAMPLE)
    hidden, kind, side = np.zeros_like(person), NONE, NONE
    if shot.occluded:
        layer, kind, side = _occlude(key, camera, person)
        hidden = layer.alpha
        picture[hidden] = layer.rgb[hidden]
    image = develop(camera, reduce_mean(picture), stream)
    visible, covered = _majority(person & ~hidden), _majority(hidden)
    return image, describe(shot.split, shot.pid, shot.camid, visible, covered, kind, side)


def _stage(
    camera: Camera, stream: Stream, identity: Identity, height: int, width: int
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """The person in front of the scene: the person's pixels, and the picture, in canvas pixels."""
    spread = DIFFICULTY
    share = stream.uniform(spread.smallest_figure, spread.largest_figure)
    tall, x = height * share, width * (0.5 + stream.uniform(-spread.shift, spread.shift))
    feet_y = height * (0.5 + stream.uniform(-spread.shift, spread.shift) * 0.6) + tall / 2
    canvas = Canvas(height, width, camera.light, camera.contrast, _grain(stream.integer(0, 15), height, width))
    top = round(height - (feet_y - camera.horizon * tall))
    top = min(max(0, top), camera.scene.height - height)
    left = stream.integer(0, camera.scene.width - width)
    picture = camera.scene.rgb[top : top + height, left : left + width].copy()
    if stream.chance(spread.bystanders):
        _bystander(canvas, camera, stream, picture, tall, feet_y)
    shadow = ellipse((x - camera.light * 0.12 * tall, feet_y - 0.012 * tall), 0.2 * tall, 0.028 * tall)
    dark = full_mask(shadow, height, width)
    picture[dark] = picture[dark] // 5 * 3
    stretch = stream.uniform(1.02, 1.22)
    draw_figure(canvas, identity, sample_pose(stream), tall, (x, feet_y), stretch, camera.pitch)
    picture[canvas.alpha] = canvas.rgb[canvas.alpha]
    return canvas.alpha, picture


def _bystander(
    canvas: Canvas, camera: Camera, stream: Stream, picture: NDArray[np.uint8], tall: float, feet_y: float
) -> None:
    """Somebody else, further away, who is not part of the person's truth."""
    other = Canvas(canvas.height, canvas.width, camera.light, camera.contrast, canvas.grain)
    size = tall * stream.uniform(0.55, 0.85)
    feet = (canvas.width * stream.choice((0.08, 0.92)), feet_y - camera.horizon * (tall - size))
    draw_figure(other, sample_identity(stream), sample_pose(stream), size, feet, 1.1, camera.pitch)
    picture[other.alpha] = other.rgb[other.alpha]


def _occlude(key: tuple[int | str, ...], camera: Camera, person: NDArray[np.bool_]) -> tuple[Canvas, str, str]:
    """An occluder that hides a fair part of the person, and leaves a fair part."""
    height, width = person.shape
    empty = Canvas(
        height, width, camera.light, camera.contrast, _grain(Stream(*key, "grain").integer(0, 15), height, width)
    )
    total = int(np.count_nonzero(person))

    def fits(layer: Canvas) -> bool:
        hidden = np.count_nonzero(person & layer.alpha) / total
        return bool(DIFFICULTY.least_hidden <= hidden <= 1 - DIFFICULTY.least_visible)

    return choose_occluder(key, empty, fits=fits)


def _majority(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Image pixels of which at least half of the canvas pixels are set."""
    height, width = mask.shape[0] // SUPERSAMPLE, mask.shape[1] // SUPERSAMPLE
    counts = mask.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE).sum(axis=(1, 3))
    return counts * 2 > SUPERSAMPLE * SUPERSAMPLE
