"""What a person carries: backpack, handbag, shoulder bag, trolley."""

from __future__ import annotations

from oamn_plugin.datasets.embedded.identity import Identity
from oamn_plugin.datasets.embedded.pose import Skeleton
from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Paint, Point
from oamn_plugin.datasets.embedded.shapes import box, limb, rounded


def _dark(colour: Colour) -> Colour:
    red, green, blue = (channel * 62 // 100 for channel in colour)
    return red, green, blue


def draw_behind(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    """Bags that the body hides from this viewpoint, wholly or in part."""
    if identity.bag.kind == "backpack" and body.cos > -0.2:
        _backpack(canvas, body, identity)
    if identity.bag.kind in ("handbag", "shoulder", "trolley") and _hidden(body, identity):
        _hanging(canvas, body, identity)


def draw_front(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    """Bags and straps in front of the body from this viewpoint."""
    if identity.bag.kind == "backpack":
        if body.cos <= -0.2:
            _backpack(canvas, body, identity)
        else:
            _straps(canvas, body, identity)
    if identity.bag.kind == "shoulder":
        _sash(canvas, body, identity)
    if identity.bag.kind in ("handbag", "shoulder", "trolley") and not _hidden(body, identity):
        _hanging(canvas, body, identity)


def _side(identity: Identity) -> int:
    return 0 if identity.bag_side < 0 else 1


def _hidden(body: Skeleton, identity: Identity) -> bool:
    return body.depths[f"shoulder{_side(identity)}"] < -0.04


def _backpack(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    unit, colour = body.unit, identity.bag.colour
    x, y = body.joints["chest"]
    middle = x - body.sin * 0.105 * unit
    half = body.half(0.09, 0.05)
    top, bottom = y - 0.075 * unit, y + 0.16 * unit
    canvas.paint(rounded(middle - half, top, middle + half, bottom, 0.035 * unit), Paint(colour, folds=20))
    if body.cos <= -0.2:
        pocket = rounded(
            middle - half * 0.72, y + 0.05 * unit, middle + half * 0.72, bottom - 0.012 * unit, 0.02 * unit
        )
        canvas.paint(pocket, Paint(_dark(colour), folds=20))
        canvas.paint(
            box(middle - half * 0.8, y, middle + half * 0.8, y + 0.008 * unit), Paint(_dark(colour), flat=True)
        )


def _straps(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    unit, inside = body.unit, canvas.alpha.copy()
    for sign in (-1, 1):
        top = body.project((sign * 0.065, 0.175, 0.03))
        bottom = body.project((sign * 0.078, 0.345, 0.06))
        if body.cos < 0.35 and sign * body.sin > 0:
            continue
        canvas.paint(limb(top, bottom, 0.012 * unit, 0.011 * unit, 2), Paint(_dark(identity.bag.colour)), clip=inside)


def _sash(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    sign, face = identity.bag_side, 1 if body.cos > 0 else -1
    top, bottom = body.project((-sign * 0.075, 0.172, 0.0)), body.project((sign * 0.1, 0.46, 0.05 * face))
    inside = canvas.alpha.copy()
    canvas.paint(
        limb(top, bottom, 0.009 * body.unit, 0.009 * body.unit, 2), Paint(_dark(identity.bag.colour)), clip=inside
    )


def _hanging(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    unit, paint, dark = body.unit, Paint(identity.bag.colour, folds=14), Paint(_dark(identity.bag.colour))
    sign, hand = identity.bag_side, body.joints[f"hand{_side(identity)}"]
    if identity.bag.kind == "shoulder":
        x, y = body.project((sign * 0.125, 0.5, 0.0))
        half = body.half(0.045, 0.075)
        canvas.paint(rounded(x - half, y - 0.05 * unit, x + half, y + 0.06 * unit, 0.015 * unit), paint)
        canvas.paint(box(x - half, y - 0.05 * unit, x + half, y - 0.005 * unit), dark)
        return
    if identity.bag.kind == "handbag":
        x, y, half = hand[0], hand[1] + 0.075 * unit, body.half(0.045, 0.072)
        _handle(canvas, hand, (x - half * 0.6, y), 0.006 * unit, dark)
        _handle(canvas, hand, (x + half * 0.6, y), 0.006 * unit, dark)
        bag = [(x - half * 0.85, y), (x + half * 0.85, y), (x + half, y + 0.095 * unit), (x - half, y + 0.095 * unit)]
        canvas.paint(bag, paint)
        canvas.paint(box(x - half * 0.85, y, x + half * 0.85, y + 0.016 * unit), dark)
        return
    x, ground = body.project((sign * 0.19, 1.0, -0.1))
    half = body.half(0.07, 0.05)
    top, bottom = ground - 0.27 * unit, ground - 0.03 * unit
    _handle(canvas, hand, (x, top), 0.007 * unit, Paint((70, 70, 74)))
    canvas.paint(rounded(x - half, top, x + half, bottom, 0.018 * unit), paint)
    for share in (-0.5, 0.0, 0.5):
        canvas.paint(box(x + share * half - 0.004 * unit, top, x + share * half + 0.004 * unit, bottom), dark)
    for share in (-0.7, 0.7):
        wheel = (x + share * half, bottom)
        canvas.paint(limb(wheel, (wheel[0], wheel[1] + 0.006 * unit), 0.013 * unit, 0.013 * unit), Paint((24, 24, 26)))


def _handle(canvas: Canvas, start: Point, end: Point, radius: float, paint: Paint) -> None:
    canvas.paint(limb(start, end, radius, radius, 2), paint)
