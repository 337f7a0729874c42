"""Outlines: ellipses, tapered limbs, smooth curves and boxes, as lists of points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oamn_plugin.datasets.embedded.raster import Point


def ellipse(centre: Point, rx: float, ry: float, points: int = 20) -> list[Point]:
    """An ellipse with horizontal and vertical axes."""
    steps = (2 * math.pi * index / points for index in range(points))
    return [(centre[0] + rx * math.cos(step), centre[1] + ry * math.sin(step)) for step in steps]


def limb(start: Point, end: Point, first: float, last: float, ends: int = 5) -> list[Point]:
    """A tapered bar with round ends: radius ``first`` at ``start``, ``last`` at ``end``."""
    along = math.atan2(end[1] - start[1], end[0] - start[0])
    outline = []
    for centre, radius, turn in ((start, first, along + math.pi / 2), (end, last, along - math.pi / 2)):
        for index in range(ends + 1):
            angle = turn + math.pi * index / ends
            outline.append((centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)))
    return outline


def smooth(points: Sequence[Point], steps: int = 4) -> list[Point]:
    """A closed curve through the points (Catmull-Rom spline)."""
    outline, count = [], len(points)
    for index in range(count):
        a, b, c, d = (points[(index + offset) % count] for offset in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            x, y = (_spline(a[axis], b[axis], c[axis], d[axis], t) for axis in (0, 1))
            outline.append((x, y))
    return outline


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t)


def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """An upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> list[Point]:
    """An upright rectangle with round corners."""
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    corners = ((right, bottom, 0), (left, bottom, 1), (left, top, 2), (right, top, 3))
    outline = []
    for x, y, quadrant in corners:
        cx, cy = (x - radius if quadrant in (0, 3) else x + radius), (y - radius if quadrant < 2 else y + radius)
        for index in range(4):
            angle = math.pi / 2 * (quadrant + index / 3)
            outline.append((cx + radius * math.cos(angle), cy + radius * math.sin(angle)))
    return outline


def tube(levels: Sequence[tuple[float, float, float]]) -> list[Point]:
    """An outline from levels ``(middle x, y, half width)``, top to bottom: torsos, skirts, vases."""
    left = [(x - half, y) for x, y, half in levels]
    right = [(x + half, y) for x, y, half in levels]
    return left + right[::-1]
