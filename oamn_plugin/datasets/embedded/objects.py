"""The things that stand in the way: drawn so that they reach from one side into the picture by a given extent.

Every function takes ``(canvas, stream, reach)``; ``reach`` is how far the object comes in, as a share of the canvas,
along the side's own axis. Objects at the right are drawn at the left and mirrored by the caller.
"""

from __future__ import annotations

import math

from oamn_plugin.datasets.embedded.foliage import GREENS, clump, tone, trunk
from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Frame, Paint, Point
from oamn_plugin.datasets.embedded.shapes import box, ellipse, limb, rounded, smooth
from oamn_plugin.datasets.embedded.stream import Stream

BODYWORK: tuple[Colour, ...] = (
    (226, 226, 224), (40, 42, 46), (150, 30, 34), (44, 70, 122), (150, 154, 158), (214, 196, 70), (40, 92, 74),
    (120, 122, 126),
)  # fmt: skip
BRICK: tuple[Colour, ...] = ((150, 84, 66), (168, 120, 92), (132, 128, 120), (176, 168, 152), (110, 70, 60))
GLASS: Colour = (62, 78, 92)
TYRE: Colour = (26, 26, 28)


def slab(canvas: Canvas, points: list[Point], paint: Paint) -> None:
    """A flat face: no cylinder shading, but grain and pattern."""
    x, y = points[0]
    canvas.paint(points, paint, Frame((x, y), (x, y + 1), 1e6))


def wheel(canvas: Canvas, centre: Point, radius: float, rim: Colour = (168, 170, 172)) -> None:
    """A car wheel."""
    canvas.paint(ellipse(centre, radius, radius, 24), Paint(TYRE, folds=6))
    canvas.paint(ellipse(centre, radius * 0.62, radius * 0.62, 20), Paint(rim, folds=6))
    for step in range(5):
        angle = 2 * math.pi * step / 5
        spoke = (centre[0] + radius * 0.5 * math.cos(angle), centre[1] + radius * 0.5 * math.sin(angle))
        canvas.paint(limb(centre, spoke, radius * 0.06, radius * 0.1, 2), Paint((70, 72, 74), flat=True))


def car_front(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A parked car seen from the front, its roof at ``reach`` above the lower edge."""
    h, w = canvas.height, canvas.width
    top, colour = h * (1 - reach), stream.choice(BODYWORK)
    tall, middle = max(h * reach, 0.36 * h), w * stream.uniform(0.38, 0.62)
    half = w * stream.uniform(0.56, 0.66)
    hood = top + tall * 0.40
    roof = [
        (middle - half * 0.62, top),
        (middle + half * 0.62, top),
        (middle + half * 0.86, hood),
        (middle - half * 0.86, hood),
    ]
    canvas.paint(smooth(roof, 3), Paint(colour, folds=4))
    pane = [(middle - half * 0.55, top + tall * 0.07), (middle + half * 0.55, top + tall * 0.07)]
    canvas.paint(
        [*pane, (middle + half * 0.74, hood - tall * 0.03), (middle - half * 0.74, hood - tall * 0.03)],
        Paint(GLASS, folds=6),
    )
    glare = [
        (middle - half * 0.3, top + tall * 0.07),
        (middle - half * 0.1, top + tall * 0.07),
        (middle - half * 0.42, hood - tall * 0.03),
    ]
    canvas.paint([*glare, (middle - half * 0.66, hood - tall * 0.03)], Paint(tone(GLASS, 130), flat=True))
    for sign in (-1, 1):
        mirror = (middle + sign * half * 0.93, hood - tall * 0.05)
        canvas.paint(ellipse(mirror, half * 0.11, tall * 0.045, 10), Paint(tone(colour, 80)))
    bonnet = [(middle - half * 0.88, hood - tall * 0.02), (middle + half * 0.88, hood - tall * 0.02)]
    bonnet += [(middle + half, hood + tall * 0.16), (middle - half, hood + tall * 0.16)]
    canvas.paint(bonnet, Paint(tone(colour, 112), folds=6), Frame((middle, hood), (middle, h), half * 1.4))
    nose = hood + tall * 0.15
    canvas.paint(rounded(middle - half, nose, middle + half, nose + tall * 0.42, half * 0.12), Paint(colour, folds=6))
    grille = rounded(middle - half * 0.42, nose + tall * 0.05, middle + half * 0.42, nose + tall * 0.17, half * 0.05)
    canvas.paint(grille, Paint((34, 36, 38), (90, 92, 94), "stripes", tall * 0.035, folds=0))
    for sign in (-1, 1):
        lamp = (middle + sign * half * 0.7, nose + tall * 0.1)
        canvas.paint(ellipse(lamp, half * 0.2, tall * 0.06, 14), Paint((236, 234, 214), folds=0))
        canvas.paint(
            rounded(*_tyre(middle + sign * half * 0.78, nose + tall * 0.36, half * 0.16, tall * 0.3), half * 0.05),
            Paint(TYRE),
        )
    plate = box(middle - half * 0.22, nose + tall * 0.23, middle + half * 0.22, nose + tall * 0.3)
    canvas.paint(plate, Paint((226, 222, 200), flat=True))
    canvas.paint(box(middle - half, nose + tall * 0.33, middle + half, nose + tall * 0.39), Paint(tone(colour, 55)))


def _tyre(x: float, y: float, half: float, height: float) -> tuple[float, float, float, float]:
    return x - half, y, x + half, y + height


def van(canvas: Canvas, stream: Stream, reach: float) -> None:
    """The front of a van that drives in from the left."""
    h, w = canvas.height, canvas.width
    nose, colour = w * reach, stream.choice(BODYWORK)
    top, sill = h * stream.uniform(-0.02, 0.1), h * 0.86
    slope, long = w * 0.16, 1.4 * w
    body = [
        (nose - long, top),
        (nose - slope, top),
        (nose - slope * 0.2, h * 0.46),
        (nose, h * 0.52),
        (nose, sill),
        (nose - long, sill),
    ]
    slab(canvas, body, Paint(colour, folds=8))
    edge = [
        (nose - slope, top),
        (nose - slope * 0.2, h * 0.46),
        (nose - slope * 0.75, h * 0.46),
        (nose - slope * 1.25, top),
    ]
    canvas.paint(edge, Paint(tone(GLASS, 120), folds=4))
    pane = [
        (nose - slope * 1.7, h * 0.16),
        (nose - slope * 1.05, h * 0.44),
        (nose - slope * 3.6, h * 0.44),
        (nose - slope * 3.6, h * 0.16),
    ]
    canvas.paint(pane, Paint(GLASS, folds=6))
    for x in (nose - slope * 0.95, nose - slope * 3.8):
        canvas.paint(box(x, h * 0.14, x + w * 0.012, sill), Paint(tone(colour, 62), flat=True))
    handle = box(nose - slope * 3.4, h * 0.52, nose - slope * 2.8, h * 0.535)
    canvas.paint(handle, Paint((40, 40, 42), flat=True))
    stripe = box(nose - long, h * 0.6, nose, h * 0.66)
    slab(canvas, stripe, Paint(stream.choice(BODYWORK) if stream.chance(0.5) else tone(colour, 88), folds=8))
    canvas.paint(rounded(nose - slope * 0.5, h * 0.56, nose, h * 0.64, w * 0.03), Paint((238, 230, 190), folds=0))
    slab(canvas, box(nose - long, sill, nose - slope * 0.1, sill + h * 0.04), Paint((48, 48, 50)))
    slab(canvas, box(nose - long, sill + h * 0.04, nose - slope * 0.2, h), Paint((38, 38, 40)))
    for x in (nose - slope * 2.0, nose - long * 0.95):
        wheel(canvas, (x, h * 0.89), h * 0.1)


def wall_side(canvas: Canvas, stream: Stream, reach: float) -> None:
    """The edge of a building, or a pillar, at the left."""
    h, w = canvas.height, canvas.width
    colour, edge = stream.choice(BRICK), w * reach
    face = box(-2, 0, edge, h)
    if stream.chance(0.6):
        slab(canvas, face, Paint(colour, tone(colour, 72), "bricks", h * stream.uniform(0.035, 0.06), folds=26))
    else:
        slab(canvas, face, Paint(tone((168, 166, 160), stream.integer(70, 115)), folds=34))
        for share in (0.25, 0.5, 0.75):
            slab(canvas, box(-2, h * share, edge, h * share + h * 0.006), Paint((104, 102, 98), folds=10))
    canvas.paint(box(edge - w * 0.05, 0, edge, h), Paint(tone(colour, 78), folds=26))
    canvas.paint(box(-2, h * 0.93, edge + w * 0.02, h), Paint(tone(colour, 60), folds=20))
    if stream.chance(0.5):
        top, right = h * stream.uniform(0.15, 0.4), edge - w * 0.09
        poster = stream.choice(BODYWORK)
        canvas.paint(box(right - w * 0.34, top, right, top + h * 0.24), Paint(poster, flat=True))
        canvas.paint(
            box(right - w * 0.3, top + h * 0.03, right - w * 0.04, top + h * 0.12), Paint(tone(poster, 150), flat=True)
        )
        for line in (0.15, 0.18, 0.21):
            canvas.paint(
                box(right - w * 0.3, top + h * line, right - w * 0.06, top + h * (line + 0.012)),
                Paint((30, 30, 32), flat=True),
            )


def wall_low(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A low wall with a coping, or a concrete barrier, along the lower edge."""
    h, w = canvas.height, canvas.width
    top, colour, slope = h * (1 - reach), stream.choice(BRICK), stream.uniform(-0.04, 0.04) * h
    face = [(0.0, top + slope), (w, top - slope), (w, h + 1), (0.0, h + 1)]
    if stream.chance(0.6):
        slab(canvas, face, Paint(colour, tone(colour, 70), "bricks", h * stream.uniform(0.035, 0.055), folds=26))
    else:
        slab(canvas, face, Paint((164, 162, 154), folds=34))
        for x in (w * 0.3, w * 0.85):
            canvas.paint(box(x, top, x + w * 0.012, h), Paint((98, 96, 92), flat=True))
        if stream.chance(0.6):
            hazard = [
                (0.0, top + slope + h * 0.08),
                (w, top - slope + h * 0.08),
                (w, top - slope + h * 0.15),
                (0.0, top + slope + h * 0.15),
            ]
            slab(canvas, hazard, Paint((204, 60, 48), (226, 224, 218), "pinstripes", w * 0.28, folds=10))
    coping = [
        (0.0, top + slope - h * 0.02),
        (w, top - slope - h * 0.02),
        (w, top - slope + h * 0.025),
        (0.0, top + slope + h * 0.025),
    ]
    slab(canvas, coping, Paint(tone((178, 174, 166), stream.integer(80, 110)), folds=20))


def bush_side(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A tall shrub or a tree with its leaves at the left."""
    h, w = canvas.height, canvas.width
    colour, steps = stream.choice(GREENS), 7
    if stream.chance(0.4):
        trunk(canvas, (w * reach * 0.45, h * 1.02), (w * reach * 0.4, h * 0.2), w * reach * 0.36, w * reach * 0.3)
    for step in range(steps):
        y = h * (step + 0.5) / steps
        x = w * (reach - 0.16) + stream.uniform(-0.07, 0.07) * w
        for back in (x - w * 0.46, x - w * 0.23, x):
            if back > -0.2 * w:
                clump(
                    canvas,
                    stream,
                    (back, y + stream.uniform(-0.03, 0.03) * h),
                    w * stream.uniform(0.17, 0.23),
                    colour,
                    26,
                )


def hedge(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A hedge or a planter with shrubs along the lower edge."""
    h, w = canvas.height, canvas.width
    colour, planter = stream.choice(GREENS), stream.chance(0.4)
    rows = max(1, math.ceil(reach / 0.14))
    for row in range(rows):
        y = h * (1 - reach + 0.08 + 0.14 * row)
        for column in range(5):
            centre = (w * (column + stream.uniform(-0.2, 0.2)) / 4, y + stream.uniform(-0.03, 0.03) * h)
            clump(canvas, stream, centre, w * stream.uniform(0.15, 0.2), colour, 24)
    if planter:
        rim = h * (1 - min(0.2, reach * 0.45))
        slab(canvas, box(0, rim, w, h + 1), Paint((150, 140, 126), folds=30))
        slab(canvas, box(0, rim, w, rim + h * 0.025), Paint((176, 166, 150), folds=20))


def branches(canvas: Canvas, stream: Stream, reach: float) -> None:
    """Branches with leaves that hang in from above."""
    h, w = canvas.height, canvas.width
    colour = stream.choice(GREENS)
    for _ in range(3):
        x = w * stream.uniform(0.0, 1.0)
        trunk(canvas, (x, -4), (x + stream.uniform(-0.3, 0.3) * w, h * reach * 0.8), w * 0.03, w * 0.012)
    rows = max(1, math.ceil(reach / 0.14))
    for row in range(rows):
        y = h * (reach - 0.08 - 0.14 * row)
        for column in range(6):
            centre = (w * (column + stream.uniform(-0.25, 0.25)) / 5, y + stream.uniform(-0.035, 0.035) * h)
            clump(canvas, stream, centre, w * stream.uniform(0.16, 0.21), colour, 24)
