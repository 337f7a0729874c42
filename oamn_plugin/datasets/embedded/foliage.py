"""Leaves, bushes and trees, for backgrounds and for occluders."""

from __future__ import annotations

import math

from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Frame, Paint, Point
from oamn_plugin.datasets.embedded.shapes import ellipse, limb
from oamn_plugin.datasets.embedded.stream import Stream

GREENS: tuple[Colour, ...] = ((58, 92, 44), (74, 108, 50), (46, 78, 48), (96, 116, 52), (84, 96, 44))


def tone(colour: Colour, percent: int) -> Colour:
    """A colour, lighter or darker."""
    red, green, blue = (min(255, channel * percent // 100) for channel in colour)
    return red, green, blue


def leaf(centre: Point, length: float, angle: float) -> list[Point]:
    """A pointed leaf."""
    dx, dy = math.cos(angle) * length, math.sin(angle) * length
    x, y = centre
    return [(x - dx, y - dy), (x - dy * 0.42, y + dx * 0.42), (x + dx, y + dy), (x + dy * 0.42, y - dx * 0.42)]


def clump(canvas: Canvas, stream: Stream, centre: Point, radius: float, colour: Colour, leaves: int) -> None:
    """A ball of leaves: a dark body, lit leaves over it, loose ones at the rim."""
    canvas.paint(ellipse(centre, radius * 0.86, radius * 0.86, 14), Paint(tone(colour, 68), folds=40))
    for _ in range(leaves):
        angle, distance = stream.uniform(0, 2 * math.pi), radius * math.sqrt(stream.uniform(0, 1.1))
        x, y = centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)
        light = 74 + round(34 * (centre[1] + radius - y) / (2 * radius)) + stream.integer(-14, 22)
        length = radius * stream.uniform(0.16, 0.3)
        canvas.paint(leaf((x, y), length, stream.uniform(0, math.pi)), Paint(tone(colour, light), flat=True))


def trunk(canvas: Canvas, start: Point, end: Point, first: float, last: float, colour: Colour = (92, 72, 54)) -> None:
    """A stem or a branch with bark."""
    canvas.paint(limb(start, end, first, last, 2), Paint(colour, folds=48), Frame(start, end, max(first, last)))


def tree(canvas: Canvas, stream: Stream, foot: Point, height: float, leaves: int = 24) -> None:
    """A tree that stands at ``foot``."""
    x, y = foot
    trunk(canvas, foot, (x, y - height * 0.6), height * 0.035, height * 0.025)
    colour = stream.choice(GREENS)
    for _ in range(6):
        centre = (x + stream.uniform(-0.22, 0.22) * height, y - height * stream.uniform(0.5, 0.85))
        clump(canvas, stream, centre, height * stream.uniform(0.14, 0.2), colour, leaves)
