"""Where a camera looks: a wide picture of a place, of which every image shows a part around its person."""

from __future__ import annotations

from collections.abc import Callable

from oamn_plugin.datasets.embedded.figure import draw_figure
from oamn_plugin.datasets.embedded.foliage import tone, tree
from oamn_plugin.datasets.embedded.identity import sample_identity
from oamn_plugin.datasets.embedded.objects import BODYWORK, BRICK, car_front, slab
from oamn_plugin.datasets.embedded.occluders import folds
from oamn_plugin.datasets.embedded.pose import Pose, sample_pose
from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Paint
from oamn_plugin.datasets.embedded.shapes import box
from oamn_plugin.datasets.embedded.stream import Stream

BREADTH = 6
"""Width of the picture in image widths. It is two images high, the horizon in the middle."""


def draw_scene(stream: Stream, kind: str, height: int, width: int, light: float) -> Canvas:
    """Draws the place of a camera.

    Args:
        stream: of the camera.
        kind: one of :data:`SCENES`.
        height, width: canvas pixels of one image.
        light: -1 from the left, 1 from the right.
    """
    canvas = Canvas(2 * height, BREADTH * width, light, 0.4, None)
    canvas.grain = folds(stream, canvas.height, canvas.width)
    _SCENES[kind](canvas, stream)
    for _ in range(stream.integer(2, 4)):
        tall = height * stream.uniform(0.3, 0.55)
        feet = (canvas.width * stream.uniform(0.02, 0.98), height + tall * 0.55)
        draw_figure(canvas, sample_identity(stream), sample_pose(stream), tall, feet)
    return canvas


def _ground(canvas: Canvas, colour: Colour, line: Colour | None, spacing: float = 0.16, rays: int = 26) -> None:
    """The floor from the horizon down; lines run across and towards the vanishing point."""
    h, w, horizon = canvas.height, canvas.width, canvas.height / 2
    slab(canvas, box(0, horizon, w, h), Paint(colour, folds=14))
    if line is None:
        return
    paint, step = Paint(line, folds=8), 0
    while (y := horizon + h * 0.5 * (spacing * step) ** 1.6) < h:
        slab(canvas, box(0, y, w, y + 1 + 0.006 * (y - horizon)), paint)
        step += 1
    for ray in range(-rays, rays + 1):
        x = w / 2 + ray * w * 0.04
        foot = w / 2 + ray * w * 0.16
        slab(canvas, [(x, horizon), (x + 1, horizon), (foot + 3, h), (foot, h)], paint)


def _sky(canvas: Canvas, colour: Colour) -> None:
    rows = 10
    for row in range(rows):
        y = canvas.height * 0.5 * row / rows
        slab(canvas, box(0, y, canvas.width, canvas.height * 0.5), Paint(tone(colour, 94 + 2 * row), folds=3))


def _facade(canvas: Canvas, stream: Stream, left: float, right: float, top: float, colour: Colour) -> None:
    """A house front with windows, and shop fronts on the ground floor."""
    h, base = canvas.height, canvas.height * 0.53
    bricks = Paint(colour, tone(colour, 78), "bricks", h * 0.012, folds=14)
    slab(canvas, box(left, top, right, base), bricks if stream.chance(0.6) else Paint(colour, folds=20))
    pitch, floor = h * stream.uniform(0.07, 0.1), h * 0.13
    y = base - 2 * floor
    while y > top:
        x = left + pitch * 0.4
        while x + pitch * 0.55 < right:
            canvas.paint(box(x - 2, y - 2, x + pitch * 0.55 + 2, y + floor * 0.6), Paint(tone(colour, 130), flat=True))
            canvas.paint(box(x, y, x + pitch * 0.55, y + floor * 0.55), Paint((70, 84, 98), folds=20))
            x += pitch
        y -= floor
    x = left + h * 0.01
    while x + h * 0.1 < right:
        wide = h * stream.uniform(0.08, 0.16)
        wide = min(wide, right - x - 3)
        glass = stream.choice(((84, 96, 104), (188, 176, 140), (54, 62, 74), (150, 132, 112)))
        canvas.paint(box(x, base - floor * 0.85, x + wide, base - 4), Paint(tone(colour, 50), flat=True))
        canvas.paint(box(x + 4, base - floor * 0.66, x + wide - 4, base - 8), Paint(glass, folds=30))
        canvas.paint(
            box(x, base - floor * 0.85, x + wide, base - floor * 0.68), Paint(stream.choice(BODYWORK), flat=True)
        )
        x += wide + h * 0.02


def _street(canvas: Canvas, stream: Stream) -> None:
    _sky(canvas, (188, 202, 216))
    x = -10.0
    while x < canvas.width:
        wide = canvas.height * stream.uniform(0.3, 0.6)
        _facade(canvas, stream, x, x + wide, canvas.height * stream.uniform(-0.1, 0.15), stream.choice(BRICK))
        x += wide
    _ground(canvas, (146, 142, 136), (118, 114, 110))
    h, w = canvas.height, canvas.width
    slab(canvas, box(0, h * 0.52, w, h * 0.535), Paint((176, 172, 164), folds=8))
    for x in range(int(h * 0.1), w, int(h * 0.45)):
        canvas.paint(box(x, h * 0.2, x + h * 0.012, h * 0.6), Paint((56, 60, 62)))


def _park(canvas: Canvas, stream: Stream) -> None:
    h, w = canvas.height, canvas.width
    _sky(canvas, (176, 200, 222))
    slab(canvas, box(0, h * 0.36, w, h * 0.52), Paint((78, 100, 66), folds=60))
    _ground(canvas, (104, 128, 66), None)
    for _ in range(14):
        tree(
            canvas, stream, (w * stream.uniform(0, 1), h * stream.uniform(0.52, 0.56)), h * stream.uniform(0.3, 0.5), 16
        )
    path = [(0.0, h * 0.62), (w, h * 0.6), (w, h), (0.0, h)]
    slab(canvas, path, Paint((176, 158, 128), folds=22))
    for x in range(int(h * 0.2), w, int(h * 0.7)):
        for row in range(3):
            slab(canvas, box(x, h * (0.5 + 0.022 * row), x + h * 0.2, h * (0.514 + 0.022 * row)), Paint((120, 84, 54)))
        for leg in (0.02, 0.17):
            canvas.paint(box(x + h * leg, h * 0.54, x + h * (leg + 0.014), h * 0.61), Paint((50, 50, 52)))


def _mall(canvas: Canvas, stream: Stream) -> None:
    h, w = canvas.height, canvas.width
    slab(canvas, box(0, 0, w, h * 0.54), Paint((206, 202, 194), folds=6))
    for x in range(-20, w, int(h * 0.4)):
        shop, wide = stream.choice(BODYWORK), h * 0.34
        canvas.paint(box(x, h * 0.14, x + wide, h * 0.53), Paint((236, 226, 196), folds=6))
        canvas.paint(box(x, h * 0.1, x + wide, h * 0.17), Paint(shop, flat=True))
        slab(canvas, box(x, h * 0.44, x + wide, h * 0.53), Paint((150, 140, 124), folds=10))
        for place in (0.08, 0.18, 0.27):
            if stream.chance(0.6):
                dummy = Pose(stream.choice((0.0, 30.0, 330.0)))
                draw_figure(canvas, sample_identity(stream), dummy, h * 0.2, (x + h * place, h * 0.45))
            else:
                goods = stream.choice(BODYWORK)
                for row in range(4):
                    y = h * (0.24 + 0.05 * row)
                    slab(canvas, box(x + h * (place - 0.035), y, x + h * (place + 0.03), y + h * 0.03), Paint(goods))
        canvas.paint(box(x + wide, h * 0.08, x + wide + h * 0.05, h * 0.55), Paint((182, 176, 168)))
    _ground(canvas, (190, 184, 174), (164, 156, 146), 0.13)


def _station(canvas: Canvas, stream: Stream) -> None:
    h, w = canvas.height, canvas.width
    slab(canvas, box(0, 0, w, h * 0.55), Paint((122, 126, 124), (106, 110, 108), "bricks", h * 0.03, folds=14))
    slab(canvas, box(0, h * 0.34, w, h * 0.38), Paint(stream.choice(((40, 92, 120), (150, 60, 50), (60, 110, 80)))))
    for x in range(int(h * 0.06), w, int(h * 0.5)):
        poster = stream.choice(BODYWORK)
        canvas.paint(box(x, h * 0.14, x + h * 0.13, h * 0.32), Paint((60, 62, 64), flat=True))
        canvas.paint(
            box(x + 4, h * 0.145, x + h * 0.13 - 4, h * 0.315), Paint(poster, tone(poster, 150), "band", h * 0.03)
        )
        canvas.paint(box(x + h * 0.26, 0, x + h * 0.33, h * 0.6), Paint((150, 150, 146), folds=20))
    _ground(canvas, (98, 100, 102), (82, 84, 86), 0.14)
    slab(canvas, box(0, h * 0.585, w, h * 0.61), Paint((204, 172, 60), (170, 140, 44), "checks", h * 0.008))


def _parking(canvas: Canvas, stream: Stream) -> None:
    h, w = canvas.height, canvas.width
    _sky(canvas, (206, 208, 208))
    slab(canvas, box(0, h * 0.22, w, h * 0.53), Paint((158, 154, 148), folds=26))
    for level in (0.26, 0.38):
        slab(canvas, box(0, h * level, w, h * (level + 0.06)), Paint((58, 60, 64), folds=20))
    _ground(canvas, (86, 88, 90), None)
    for x in range(0, w, int(h * 0.3)):
        bay = Canvas(int(h * 0.19), int(h * 0.2), grain=None)
        car_front(bay, stream, 0.92)
        top = int(h * 0.42)
        view = canvas.rgb[top : top + bay.height, x : x + bay.width]
        seen = bay.alpha[: view.shape[0], : view.shape[1]]
        view[seen] = bay.rgb[: view.shape[0], : view.shape[1]][seen]
        slab(
            canvas,
            [(x - 8, h * 0.6), (x, h * 0.6), (x - h * 0.1, h), (x - h * 0.13, h)],
            Paint((206, 206, 200), folds=20),
        )


def _plaza(canvas: Canvas, stream: Stream) -> None:
    h, w = canvas.height, canvas.width
    _sky(canvas, (206, 196, 180))
    x = 0.0
    while x < w:
        wide, top = h * stream.uniform(0.1, 0.26), h * stream.uniform(0.1, 0.36)
        colour = tone((150, 148, 152), stream.integer(76, 116))
        slab(canvas, box(x, top, x + wide, h * 0.52), Paint(colour, folds=8))
        for y in range(round(top + h * 0.02), round(h * 0.5), round(h * 0.03)):
            slab(canvas, box(x + h * 0.012, y, x + wide - h * 0.012, y + h * 0.014), Paint(tone(colour, 62), folds=8))
        x += wide
    _ground(canvas, (186, 170, 148), (156, 140, 120), 0.2)
    for x in range(int(h * 0.2), w, int(h * 0.55)):
        tree(canvas, stream, (float(x), h * 0.56), h * 0.3, 14)
        canvas.paint(box(x - h * 0.05, h * 0.54, x + h * 0.05, h * 0.58), Paint((128, 118, 108)))


_SCENES: dict[str, Callable[[Canvas, Stream], None]] = {
    "street": _street, "park": _park, "mall": _mall, "station": _station, "parking": _parking, "plaza": _plaza,
}  # fmt: skip
SCENES = tuple(_SCENES)
