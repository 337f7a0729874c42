"""Head, face, hair and hats, from any viewpoint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.datasets.embedded.identity import Identity
from oamn_plugin.datasets.embedded.pose import Skeleton
from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Frame, Paint, Point, full_mask
from oamn_plugin.datasets.embedded.shapes import box, ellipse, limb, smooth, tube

RX, RY = 0.049, 0.066
"""Half axes of the head, in body heights."""


def draw_head(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    """Draws neck, head, face, hair, scarf and hat."""
    unit, centre = body.unit, body.joints["head"]
    neck = body.joints["neck"]
    width = body.stretch * unit
    skin, hair = Paint(identity.skin, folds=0), Paint(identity.hair, folds=24)
    below = (neck[0], neck[1] + 0.026 * unit)
    canvas.paint(limb(centre, below, 0.031 * width, 0.034 * width), Paint(_shade(identity.skin), folds=0))
    rx, ry = (RX + 0.007 * abs(body.sin)) * width, RY * unit
    full = {"curly": 1.22, "bald": 1.0, "buzz": 1.0}.get(identity.hair_style, 1.07)
    skull = ellipse((centre[0], centre[1] - 0.004 * unit), rx * full, ry * (1.0 + (full - 1) * 0.7), 24)
    canvas.paint(skull, skin if identity.hair_style == "bald" else hair)
    _face(canvas, body, identity, centre, rx, ry)
    if identity.scarf is not None:
        wrap = ellipse((neck[0], neck[1] + 0.012 * unit), 0.056 * width, 0.026 * unit)
        canvas.paint(wrap, Paint(identity.scarf, folds=28))
    _knots(canvas, body, identity, centre, rx, ry)
    _hat(canvas, body, identity, centre, rx, ry)


def _shade(colour: Colour) -> Colour:
    red, green, blue = (channel * 82 // 100 for channel in colour)
    return red, green, blue


def _face(canvas: Canvas, body: Skeleton, identity: Identity, centre: Point, rx: float, ry: float) -> None:
    if body.cos < -0.55:
        return
    turned = (1 - body.cos) / 2
    middle = (centre[0] + body.sin * rx * (0.18 + 0.62 * turned), centre[1] + 0.12 * ry)
    half = rx * (0.86 - 0.66 * turned)
    head = ellipse(centre, rx, ry, 24)
    inside = _mask(canvas, head)
    face = ellipse(middle, half, ry * 0.86)
    canvas.paint(face, Paint(identity.skin, folds=0), Frame(centre, (centre[0], centre[1] + ry), rx * 1.1), inside)
    dark = Paint((46, 34, 32), flat=True)
    if identity.beard:
        jaw = tube([(middle[0], middle[1] + 0.34 * ry, half), (middle[0], centre[1] + ry, half * 0.8)])
        canvas.paint(jaw, Paint(identity.hair), clip=inside & _mask(canvas, face))
    if body.cos < -0.35:
        return
    for sign in (-1, 1):
        x = middle[0] + sign * 0.4 * half + 0.1 * body.sin * rx
        if (sign * body.sin < 0 and abs(body.sin) > 0.8) or abs(x - centre[0]) > rx * 0.95:
            continue
        eye = (x, middle[1] - 0.1 * ry)
        canvas.paint(ellipse(eye, 0.13 * rx, 0.08 * ry, 8), dark, clip=inside)
        brow = box(x - 0.2 * rx, eye[1] - 0.25 * ry, x + 0.2 * rx, eye[1] - 0.17 * ry)
        canvas.paint(brow, Paint(identity.hair, flat=True), clip=inside)
    mouth = (middle[0] + 0.12 * body.sin * rx, middle[1] + 0.5 * ry)
    canvas.paint(ellipse(mouth, 0.24 * half, 0.045 * ry, 8), Paint((150, 78, 74), flat=True), clip=inside)
    nose = (middle[0] + 0.3 * body.sin * rx, middle[1] + 0.16 * ry)
    canvas.paint(ellipse(nose, 0.1 * rx, 0.12 * ry, 8), Paint(_shade(identity.skin), flat=True), clip=inside)


def _mask(canvas: Canvas, points: list[Point]) -> NDArray[np.bool_]:
    return full_mask(points, canvas.height, canvas.width)


def draw_long_hair(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    """Hair that falls below the head: behind the trunk seen from the front, over it seen from the back."""
    lengths = {"long": 0.27, "bob": 0.155, "ponytail": 0.0}
    length = lengths.get(identity.hair_style, 0.0)
    if not length:
        return
    unit, (x, y) = body.unit, body.joints["head"]
    rx = (RX + 0.007 * abs(body.sin)) * unit * body.stretch * 1.12
    back = -body.sin * 0.035 * unit
    hair = tube([
        (x, y - 0.03 * unit, rx), (x + back * 0.7, y + 0.05 * unit, rx * 1.02),
        (x + back * 1.3, y + length * 0.7 * unit, rx * 0.95), (x + back * 1.4, y + length * unit, rx * 0.6),
    ])  # fmt: skip
    if body.cos > 0.0 and abs(body.sin) > 0.6:
        hair = [(px - body.sin * 0.02 * unit, py) for px, py in hair]
    canvas.paint(smooth(hair), Paint(identity.hair, folds=30))


def _knots(canvas: Canvas, body: Skeleton, identity: Identity, centre: Point, rx: float, ry: float) -> None:
    unit, hair = body.unit, Paint(identity.hair, folds=24)
    behind = (centre[0] - body.sin * rx * 1.15, centre[1])
    if identity.hair_style == "bun":
        y = centre[1] - ry * (0.95 if body.cos > 0 else 0.55)
        canvas.paint(ellipse((centre[0] - body.sin * rx * 0.8, y), 0.026 * unit, 0.024 * unit, 14), hair)
    if identity.hair_style == "ponytail" and body.cos < 0.65:
        end = (behind[0] - body.sin * 0.03 * unit, centre[1] + 0.135 * unit)
        canvas.paint(limb((behind[0], centre[1] - 0.01 * unit), end, 0.022 * unit, 0.014 * unit), hair)


def _hat(canvas: Canvas, body: Skeleton, identity: Identity, centre: Point, rx: float, ry: float) -> None:
    kind, paint = identity.hat.kind, Paint(identity.hat.colour, folds=8)
    if kind == "none":
        return
    x, y = centre
    brow = y - 0.28 * ry
    crown, wide = y - ry * 0.95, rx * 1.12
    dome = [(x - wide, brow), (x - rx * 0.85, crown), (x, y - ry * 1.2), (x + rx * 0.85, crown), (x + wide, brow)]
    canvas.paint(smooth([*dome, (x, brow + 0.06 * ry)]), paint)
    if kind == "cap" and body.cos > -0.6:
        peak = (x + body.sin * rx * 1.25, brow + (0.1 + 0.12 * max(0.0, body.cos)) * ry)
        canvas.paint(ellipse(peak, rx * (0.62 + 0.28 * body.cos), 0.15 * ry, 14), Paint(_shade(identity.hat.colour)))
    if kind == "beanie":
        canvas.paint(
            box(x - rx * 1.14, brow - 0.16 * ry, x + rx * 1.14, brow + 0.1 * ry), Paint(_shade(identity.hat.colour))
        )
    if kind == "sunhat":
        canvas.paint(ellipse((x, brow), rx * 1.85, ry * 0.24), Paint(_shade(identity.hat.colour)))
