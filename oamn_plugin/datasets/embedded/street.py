"""More things that stand in the way: bicycles, furniture and signs. Same arguments as in :mod:`.objects`."""

from __future__ import annotations

import itertools
import math

from oamn_plugin.datasets.embedded.foliage import tone
from oamn_plugin.datasets.embedded.objects import BODYWORK, TYRE, slab
from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Frame, Paint, Point
from oamn_plugin.datasets.embedded.shapes import box, ellipse, limb, rounded
from oamn_plugin.datasets.embedded.stream import Stream

WOOD: tuple[Colour, ...] = ((138, 98, 62), (168, 128, 84), (98, 68, 48), (120, 110, 98))


def _tube(canvas: Canvas, start: Point, end: Point, radius: float, colour: Colour) -> None:
    canvas.paint(limb(start, end, radius, radius, 2), Paint(colour, folds=0), Frame(start, end, radius))


def _ring(canvas: Canvas, centre: Point, radius: float) -> None:
    outer, count = ellipse(centre, radius, radius, 26), 26
    inner = ellipse(centre, radius * 0.84, radius * 0.84, count)
    for index in range(count):
        following = (index + 1) % count
        canvas.paint([outer[index], outer[following], inner[following], inner[index]], Paint(TYRE, flat=True))
    for step in range(7):
        angle = math.pi * step / 7
        dx, dy = radius * 0.85 * math.cos(angle), radius * 0.85 * math.sin(angle)
        spoke = limb(
            (centre[0] - dx, centre[1] - dy), (centre[0] + dx, centre[1] + dy), radius * 0.022, radius * 0.022, 1
        )
        canvas.paint(spoke, Paint((150, 152, 154), flat=True))


def _bicycle(canvas: Canvas, stream: Stream, middle: float, ground: float, tall: float) -> None:
    """One bicycle seen from the side; ``tall`` is the height of its handlebar."""
    radius, colour, thick = tall * 0.33, stream.choice(BODYWORK), tall * 0.03
    rear, front = (middle - tall * 0.5, ground - radius), (middle + tall * 0.5, ground - radius)
    crank, seat = (middle - tall * 0.08, ground - radius * 0.95), (middle - tall * 0.2, ground - tall * 0.78)
    bar = (middle + tall * 0.36, ground - tall * 0.88)
    for centre in (rear, front):
        _ring(canvas, centre, radius)
    for start, end in ((rear, seat), (rear, crank), (crank, seat), (crank, bar), (seat, bar), (bar, front)):
        _tube(canvas, start, end, thick, colour)
    for centre in (rear, front):
        fender = [
            (centre[0] + radius * 1.12 * math.cos(a), centre[1] + radius * 1.12 * math.sin(a))
            for a in (3.5, 4.2, 4.9, 5.6)
        ]
        for start, end in itertools.pairwise(fender):
            _tube(canvas, start, end, thick * 0.9, tone(colour, 70))
    _tube(canvas, bar, (bar[0] - tall * 0.12, bar[1] - tall * 0.08), thick, (60, 60, 62))
    canvas.paint(ellipse((seat[0], seat[1] - tall * 0.05), tall * 0.13, tall * 0.045, 12), Paint((38, 32, 30)))
    canvas.paint(ellipse(crank, tall * 0.08, tall * 0.08, 14), Paint((70, 70, 72)))
    basket = rounded(
        bar[0] - tall * 0.02, bar[1] - tall * 0.02, bar[0] + tall * 0.34, bar[1] + tall * 0.24, tall * 0.03
    )
    canvas.paint(basket, Paint((112, 92, 66), (70, 58, 42), "checks", tall * 0.07, folds=10))
    load = rounded(
        rear[0] - tall * 0.22, ground - tall * 0.98, rear[0] + tall * 0.2, ground - radius * 2.2, tall * 0.03
    )
    canvas.paint(load, Paint(stream.choice(BODYWORK), folds=14))


def bicycles(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A row of parked bicycles at the lower edge."""
    h, w = canvas.height, canvas.width
    tall = h * min(0.62, max(0.34, reach))
    count = 2 if reach < 0.45 else 3
    for index in range(count):
        middle = w * (0.5 + stream.uniform(-0.22, 0.22))
        _bicycle(canvas, stream, middle, h * (1.0 + 0.03 * index) - h * max(0.0, reach - 0.62), tall)


def bench(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A bench, or a table with a cloth, along the lower edge."""
    h, w = canvas.height, canvas.width
    top, wood = h * (1 - reach), stream.choice(WOOD)
    if stream.chance(0.5):
        cloth = stream.choice(BODYWORK)
        hem = [(w * 0.02, top + h * 0.05), (w * 0.98, top + h * 0.05), (w * 1.02, h + 1), (-w * 0.02, h + 1)]
        slab(
            canvas,
            hem,
            Paint(cloth, tone(cloth, 70), stream.choice(("checks", "plain", "pinstripes")), w * 0.16, folds=36),
        )
        slab(
            canvas,
            [(0, top), (w, top), (w * 1.04, top + h * 0.06), (-w * 0.04, top + h * 0.06)],
            Paint(tone(cloth, 118)),
        )
        for _ in range(4):
            x, size = w * stream.uniform(0.1, 0.9), h * stream.uniform(0.03, 0.06)
            canvas.paint(
                rounded(x - size, top - size, x + size, top + size * 0.5, size * 0.5), Paint(stream.choice(BODYWORK))
            )
        return
    slats = max(3, round(reach * 11))
    for index in range(slats):
        y = top + (h - top) * index / slats
        slab(
            canvas,
            box(-2, y, w + 2, y + (h - top) / slats * 0.86),
            Paint(tone(wood, stream.integer(90, 112)), folds=40),
        )
    for share in (0.12, 0.82):
        canvas.paint(box(w * share, top - h * 0.02, w * share + w * 0.07, h + 1), Paint((52, 54, 56)))


def cabinet(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A shelf with goods, or a vending machine, at the left."""
    h, w = canvas.height, canvas.width
    edge, top = w * reach, h * stream.uniform(-0.02, 0.08)
    frame = stream.choice(WOOD) if stream.chance(0.5) else stream.choice(BODYWORK)
    slab(canvas, box(-2, top, edge, h + 1), Paint(frame, folds=24))
    inner, rows = edge - w * 0.07, 6
    slab(canvas, box(-2, top + h * 0.04, inner, h * 0.9), Paint((44, 46, 50)))
    for row in range(rows):
        y = top + h * 0.04 + (h * 0.86 - top) * (row + 1) / rows
        x = inner - w * 0.02
        while x > -0.1 * w:
            width, tall = w * stream.uniform(0.05, 0.12), h * stream.uniform(0.06, 0.11)
            canvas.paint(
                rounded(x - width, y - tall, x - w * 0.008, y, w * 0.012), Paint(stream.choice(BODYWORK), folds=8)
            )
            x -= width
        slab(canvas, box(-2, y, inner, y + h * 0.012), Paint(tone(frame, 118), folds=10))


def sign(canvas: Canvas, stream: Stream, reach: float) -> None:
    """A hanging sign, an awning or an umbrella that comes in from above."""
    h, w = canvas.height, canvas.width
    edge, colour, kind = h * reach, stream.choice(BODYWORK), stream.choice(("sign", "awning", "umbrella"))
    if kind == "sign":
        slab(canvas, box(-2, -2, w + 2, edge), Paint(colour, folds=10))
        slab(canvas, box(-2, edge - h * 0.02, w + 2, edge), Paint(tone(colour, 60)))
        ink = (236, 236, 230) if sum(colour) < 380 else (34, 36, 44)
        for row in range(max(1, round(reach / 0.12))):
            x, y = w * 0.1, edge - h * (0.1 + 0.11 * row)
            while x < w * 0.85:
                width = w * stream.uniform(0.05, 0.12)
                canvas.paint(box(x, y, x + width, y + h * 0.045), Paint(ink, flat=True))
                x += width + w * 0.03
    elif kind == "awning":
        stripe = stream.choice(BODYWORK)
        pale = (232, 230, 222) if sum(stripe) < 480 else (60, 70, 84)
        slab(canvas, box(-2, -2, w + 2, edge - h * 0.05), Paint(stripe, pale, "pinstripes", w * 0.3, folds=20))
        for index in range(8):
            middle = w * (index + 0.5) / 8
            lobe = rounded(middle - w / 16, edge - h * 0.07, middle + w / 16, edge, w / 20)
            canvas.paint(lobe, Paint(tone(stripe if index % 2 else pale, 82)))
    else:
        _umbrella(canvas, stream, edge, colour)


def _umbrella(canvas: Canvas, stream: Stream, edge: float, colour: Colour) -> None:
    """The near half of an umbrella: a dome of panels with a scalloped rim."""
    h, w = canvas.height, canvas.width
    middle, half, panels = w * stream.uniform(0.4, 0.6), w * 0.78, 6
    top = min(edge - 0.5 * w, -0.04 * h)
    for panel in range(panels):
        left, right = (math.pi * (1 - (panel + step) / panels) for step in (0, 1))
        rim = [(middle + half * math.cos(angle), edge - h * 0.03) for angle in (left, right)]
        dip = ((rim[0][0] + rim[1][0]) / 2, edge - h * 0.055)
        flank = [(middle + 0.8 * half * math.cos(angle), (top * 1.2 + edge) / 2.2) for angle in (left, right)]
        face = tone(colour, 124 - 10 * abs(panel - 1))
        outline = [(middle, top), flank[0], rim[0], dip, rim[1], flank[1]]
        canvas.paint(outline, Paint(face, folds=10), Frame((middle, top), (middle, edge), half * 2))
        canvas.paint(limb(flank[1], rim[1], w * 0.006, w * 0.006, 1), Paint(tone(colour, 70), flat=True))
    slab(canvas, box(-2, -2, w + 2, max(0.0, min(top + 0.36 * w, edge * 0.35))), Paint(tone(colour, 80), folds=10))
    _tube(canvas, (middle, edge - h * 0.06), (middle, edge + h * 0.06), w * 0.012, (60, 60, 62))
