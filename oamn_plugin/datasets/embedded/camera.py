"""A camera: its place, its light, and what its lens and sensor do to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.datasets.embedded.raster import Canvas
from oamn_plugin.datasets.embedded.scene import SCENES, draw_scene
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY
from oamn_plugin.datasets.embedded.stream import Stream


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        scene: the place it looks at, a wide canvas.
        light: where the light comes from, -1 left to 1 right; ``contrast`` 0 overcast to 1.
        pitch: how far it looks down: sine of the angle.
        horizon: height of the horizon above the feet, in body heights.
        gain, gamma: per channel.
        saturation: colourfulness in 1/256.
        blur: passes of a 1-2-1 kernel; ``softness`` share of half resolution in 1/4.
        noise: amplitude.
    """

    scene: Canvas
    light: float
    contrast: float
    pitch: float
    horizon: float
    gain: tuple[float, float, float]
    gamma: tuple[float, float, float]
    saturation: int
    blur: int
    softness: int
    noise: int


def make_camera(seed: int, number: int, height: int, width: int) -> Camera:
    """Builds camera ``number`` (from 0) of a data set; ``height, width`` are canvas pixels of one image."""
    stream, spread = Stream(seed, "camera", number), DIFFICULTY
    order = Stream(seed, "scenes").shuffled(SCENES)
    light = stream.uniform(0.2, 0.75) * (-1 if number % 2 else 1)
    brightness = stream.uniform(-0.06, 0.06)
    gain = [1 + brightness + stream.uniform(-spread.tint, spread.tint) for _ in range(3)]
    gamma = [1 + stream.uniform(-spread.gamma, spread.gamma) * 0.5 for _ in range(3)]
    shared = stream.uniform(-spread.gamma, spread.gamma)
    return Camera(
        scene=draw_scene(stream, order[number % len(order)], height, width, light),
        light=light,
        contrast=stream.uniform(0.25, 0.55),
        pitch=stream.uniform(0.05, 0.22),
        horizon=stream.uniform(0.55, 0.95),
        gain=(gain[0], gain[1], gain[2]),
        gamma=(gamma[0] + shared, gamma[1] + shared, gamma[2] + shared),
        saturation=stream.integer(175, 290),
        blur=stream.integer(0, 1),
        softness=stream.integer(0, 2),
        noise=stream.integer(2, spread.noise),
    )


def develop(camera: Camera, picture: NDArray[np.int32], stream: Stream) -> NDArray[np.uint8]:
    """What the camera delivers for what it sees: lens, colour response, exposure, noise.

    Args:
        picture: (H, W, 3), 0 to 255.
        stream: of the image.
    """
    for _ in range(camera.blur):
        picture = _soften(picture)
    if camera.softness:
        picture = (picture * (4 - camera.softness) + _halve(picture) * camera.softness + 2) >> 2
    luma = (picture[..., :1] * 77 + picture[..., 1:2] * 150 + picture[..., 2:] * 29) >> 8
    picture = np.clip(luma + (((picture - luma) * camera.saturation) >> 8), 0, 255)
    exposure = 1 + stream.uniform(-DIFFICULTY.exposure, DIFFICULTY.exposure)
    for channel in range(3):
        table = response(camera.gain[channel] * exposure, camera.gamma[channel])
        picture[..., channel] = table[picture[..., channel]]
    return np.clip(picture + stream.bell(picture.shape, camera.noise), 0, 255).astype(np.uint8)


def response(gain: float, gamma: float) -> NDArray[np.int32]:
    """What a sensor makes of 256 levels."""
    return np.array([min(255, round(255 * gain * (level / 255) ** gamma)) for level in range(256)], dtype=np.int32)


def _soften(picture: NDArray[np.int32]) -> NDArray[np.int32]:
    for axis in (0, 1):
        pad = [(1, 1) if at == axis else (0, 0) for at in range(3)]
        padded = np.pad(picture, pad, mode="edge")
        size = picture.shape[axis]
        before, after = padded.take(range(size), axis), padded.take(range(2, size + 2), axis)
        picture = (before + 2 * picture + after + 2) >> 2
    return picture


def _halve(picture: NDArray[np.int32]) -> NDArray[np.int32]:
    """The picture at half the resolution, brought back to size."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    small = picture[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).sum(axis=(1, 3)) >> 2
    large = picture.copy()
    large[:height, :width] = _soften(small.repeat(2, 0).repeat(2, 1))
    return large
