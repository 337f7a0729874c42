"""Draws a person: an articulated body in its clothes, from any viewpoint, parts ordered by depth."""

from __future__ import annotations

from oamn_plugin.datasets.embedded.bags import draw_behind, draw_front
from oamn_plugin.datasets.embedded.head import draw_head, draw_long_hair
from oamn_plugin.datasets.embedded.identity import Garment, Identity
from oamn_plugin.datasets.embedded.pose import Pose, Skeleton, skeleton
from oamn_plugin.datasets.embedded.raster import Canvas, Colour, Frame, Paint, Point
from oamn_plugin.datasets.embedded.shapes import ellipse, limb, smooth, tube

SLEEVES = {"tshirt": "short", "dress": "short", "tank": "none"}
"""Cuts without long sleeves."""


def draw_figure(
    canvas: Canvas,
    identity: Identity,
    pose: Pose,
    height: float,
    feet: Point,
    stretch: float = 1.0,
    pitch: float = 0.12,
) -> None:
    """Draws a person on a canvas.

    Args:
        canvas: painted on; its alpha grows by the person's pixels.
        identity: who.
        pose: the instant.
        height: of the body, in canvas pixels.
        feet: where the lowest foot stands, in canvas pixels.
        stretch: horizontal scale.
        pitch: how far the camera looks down.
    """
    body = skeleton(identity, pose, height, feet, stretch, pitch)
    near = 1 if body.depths["shoulder1"] > body.depths["shoulder0"] else 0
    early = [side for side in (0, 1) if body.depths[f"hand{side}"] < -0.02 or (side != near and abs(body.sin) > 0.5)]
    draw_behind(canvas, body, identity)
    for side in early:
        _arm(canvas, body, identity, side)
    legs = sorted((0, 1), key=lambda side: body.depths[f"knee{side}"] + body.depths[f"ankle{side}"])
    for side in legs:
        _leg(canvas, body, identity, side)
    _lower(canvas, body, identity)
    # hair falls behind the trunk seen from the front, behind the face seen from the side, over both seen from the back
    layers = [_trunk, draw_head]
    layers.insert(0 if body.cos > 0.4 else 1 if body.cos > -0.3 else 2, draw_long_hair)
    for draw in layers:
        draw(canvas, body, identity)
    for side in (0, 1):
        if side not in early:
            _arm(canvas, body, identity, side)
    draw_front(canvas, body, identity)


def cloth(garment: Garment, unit: float) -> Paint:
    """The paint of a garment on a body of ``unit`` canvas pixels."""
    pattern = "plain" if garment.pattern == "side_stripe" else garment.pattern
    return Paint(garment.colour, garment.second, pattern, garment.period * unit)


def _darker(colour: Colour, percent: int = 72) -> Colour:
    red, green, blue = (channel * percent // 100 for channel in colour)
    return red, green, blue


def _bar(canvas: Canvas, start: Point, end: Point, first: float, last: float, paint: Paint) -> None:
    canvas.paint(limb(start, end, first, last), paint, Frame(start, end, max(first, last)))


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _arm(canvas: Canvas, body: Skeleton, identity: Identity, side: int) -> None:
    shoulder, elbow, hand = (body.joints[f"{name}{side}"] for name in ("shoulder", "elbow", "hand"))
    unit, girth = body.unit, 0.6 + 0.4 * identity.girth
    skin, sleeve = Paint(identity.skin, folds=0), cloth(identity.upper, unit)
    if identity.upper.pattern in ("logo", "band"):
        sleeve = Paint(identity.upper.colour)
    kind = SLEEVES.get(identity.upper.cut, "long")
    bulk = (1.22 if identity.upper.cut in ("coat", "jacket", "hoodie") else 1.0) * girth * unit
    wrist = _between(elbow, hand, 0.86)
    if kind != "long":
        _bar(canvas, shoulder, elbow, 0.029 * girth * unit, 0.024 * girth * unit, skin)
        _bar(canvas, elbow, wrist, 0.024 * girth * unit, 0.017 * girth * unit, skin)
    canvas.paint(ellipse(_between(elbow, hand, 1.06), 0.019 * unit, 0.025 * unit, 12), skin)
    if kind == "short":
        _bar(canvas, shoulder, _between(shoulder, elbow, 0.62), 0.037 * bulk, 0.036 * bulk, sleeve)
    elif kind == "long":
        _bar(canvas, elbow, wrist, 0.030 * bulk, 0.024 * bulk, sleeve)
        _bar(canvas, shoulder, elbow, 0.036 * bulk, 0.031 * bulk, sleeve)
        cuff = _between(elbow, wrist, 0.94)
        if identity.upper.cut in ("hoodie", "jacket"):
            _bar(canvas, cuff, wrist, 0.025 * bulk, 0.025 * bulk, Paint(_darker(identity.upper.colour)))


def _leg(canvas: Canvas, body: Skeleton, identity: Identity, side: int) -> None:
    hip, knee, ankle = (body.joints[f"{name}{side}"] for name in ("hip", "knee", "ankle"))
    unit, girth, lower = body.unit, 0.55 + 0.45 * identity.girth, identity.lower
    skin = Paint(identity.skin, folds=0)
    bare = lower.cut in ("shorts", "skirt", "long_skirt") or identity.upper.cut == "dress"
    thigh, calf = 0.055 * girth * unit, 0.036 * girth * unit
    if bare:
        _bar(canvas, hip, knee, thigh * 0.92, calf, skin)
        _bar(canvas, knee, ankle, calf, 0.021 * unit, skin)
    _shoe(canvas, body, identity, side)
    if bare and (lower.cut != "shorts" or identity.upper.cut == "dress"):
        return
    paint = cloth(lower, unit)
    if lower.cut == "shorts":
        _bar(canvas, hip, _between(hip, knee, 0.8), thigh * 1.08, thigh, paint)
        return
    width = {"trousers": (0.041, 0.034), "wide": (0.05, 0.056), "leggings": (0.035, 0.022)}[lower.cut]
    end = _between(knee, ankle, 0.72 if identity.shoes.cut == "boots" and lower.cut != "wide" else 1.02)
    _bar(canvas, knee, end, width[0] * girth * unit, width[1] * unit, paint)
    _bar(canvas, hip, knee, thigh * (1.0 if lower.cut != "leggings" else 0.92), width[0] * girth * unit, paint)
    if lower.pattern == "side_stripe":
        offset = (-1, 1)[side] * body.cos * 0.038 * unit
        for start, stop in ((hip, knee), (knee, end)):
            a, b = (start[0] + offset, start[1]), (stop[0] + offset * 0.75, stop[1])
            canvas.paint(limb(a, b, 0.007 * unit, 0.007 * unit, 2), Paint(lower.second), clip=canvas.alpha)
    if identity.shoes.cut == "boots" and lower.cut != "wide":
        _boot(canvas, body, identity, side)


def _boot(canvas: Canvas, body: Skeleton, identity: Identity, side: int) -> None:
    knee, ankle = body.joints[f"knee{side}"], body.joints[f"ankle{side}"]
    top = _between(knee, ankle, 0.58)
    _bar(canvas, top, ankle, 0.034 * body.unit, 0.026 * body.unit, Paint(identity.shoes.colour))


def _shoe(canvas: Canvas, body: Skeleton, identity: Identity, side: int) -> None:
    ankle, toe, unit = body.joints[f"ankle{side}"], body.joints[f"toe{side}"], body.unit
    shoe = Paint(identity.shoes.colour, folds=0)
    heel = (ankle[0] - 0.2 * (toe[0] - ankle[0]), ankle[1] + 0.02 * unit)
    if identity.shoes.cut == "sneakers":
        sole = Paint((222, 221, 216), folds=0)
        shift = 0.012 * unit
        _bar(canvas, (heel[0], heel[1] + shift), (toe[0], toe[1] + shift), 0.023 * unit, 0.02 * unit, sole)
    _bar(canvas, heel, toe, 0.025 * unit, 0.021 * unit, shoe)
    if identity.shoes.cut != "flats":
        _bar(canvas, _between(ankle, toe, -0.1), heel, 0.026 * unit, 0.025 * unit, shoe)


def _sections(body: Skeleton, identity: Identity) -> dict[str, tuple[float, float, float]]:
    """Levels of the trunk: name to (middle x, y, half width) in canvas pixels."""
    girth, hips, shoulders = identity.girth, identity.hips, identity.shoulders
    half, joints = body.half, body.joints
    chest, waist, pelvis = joints["chest"], joints["waist"], joints["pelvis"]
    shoulder_y = (joints["shoulder0"][1] + joints["shoulder1"][1]) / 2
    unit = body.unit
    return {
        "neck": (joints["neck"][0], shoulder_y - 0.05 * unit, half(0.035, 0.035)),
        "slope": (joints["neck"][0], shoulder_y - 0.04 * unit, half(0.066 * shoulders, 0.045)),
        "shoulder": (joints["neck"][0], shoulder_y - 0.012 * unit, half(0.116 * shoulders, 0.055)),
        "chest": (chest[0], chest[1], half(0.109 * shoulders * (0.7 + 0.3 * girth), 0.068 * girth)),
        "waist": (waist[0], waist[1], half(0.088 * girth * (0.6 + 0.4 * hips), 0.062 * girth)),
        "hip": (pelvis[0], pelvis[1], half(0.098 * hips * (0.7 + 0.3 * girth), 0.072 * girth)),
    }


def _reach(body: Skeleton, share: float) -> tuple[float, float, float]:
    """Leftmost, rightmost x of the legs, and y, at a share of the way from hip to knee (above 1: to the ankle)."""
    points = []
    for side in (0, 1):
        hip, knee, ankle = (body.joints[f"{name}{side}"] for name in ("hip", "knee", "ankle"))
        points.append(_between(hip, knee, share) if share <= 1 else _between(knee, ankle, share - 1))
    xs = sorted(point[0] for point in points)
    return xs[0], xs[1], max(point[1] for point in points)


def _skirt(canvas: Canvas, body: Skeleton, identity: Identity, paint: Paint, share: float, flare: float) -> None:
    levels = _sections(body, identity)
    left, right, y = _reach(body, share)
    middle, half = (left + right) / 2, (right - left) / 2 + flare * body.unit
    x, hip_y, hip_half = levels["hip"]
    waist = levels["waist"]
    half = max(half, hip_half * 1.02)
    knot = ((x + middle) / 2, (hip_y * 2 + y) / 3, (hip_half * 1.04 * 2 + half) / 3)
    outline = tube(
        [(waist[0], waist[1] + 0.03 * body.unit, waist[2]), (x, hip_y, hip_half * 1.03), knot, (middle, y, half)]
    )
    canvas.paint(outline, paint, Frame((x, waist[1]), (middle, y), half))


def _lower(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    lower, unit = identity.lower, body.unit
    if identity.upper.cut == "dress":
        return
    paint = cloth(lower, unit)
    if lower.cut in ("skirt", "long_skirt"):
        share, flare = (0.82, 0.065) if lower.cut == "skirt" else (1.62, 0.07)
        _skirt(canvas, body, identity, paint, share, flare)
        return
    levels = _sections(body, identity)
    x, y, half = levels["hip"]
    waist = levels["waist"]
    outline = tube([(waist[0], waist[1] + 0.03 * unit, waist[2]), (x, y, half), (x, y + 0.055 * unit, half * 0.86)])
    canvas.paint(outline, paint, Frame((x, waist[1]), (x, y + 0.055 * unit), half))


def _trunk(canvas: Canvas, body: Skeleton, identity: Identity) -> None:
    upper, unit = identity.upper, body.unit
    levels, paint = _sections(body, identity), cloth(upper, unit)
    if upper.cut in ("coat", "dress"):
        share, flare = (0.88, 0.058) if upper.cut == "coat" else (0.86, 0.075)
        _skirt(canvas, body, identity, paint, share, flare)
    bulk = {"coat": 1.07, "jacket": 1.07, "hoodie": 1.08}.get(upper.cut, 1.0)
    names = ("neck", "slope", "shoulder", "chest", "waist", "hip")
    shape = [
        (x, y, half * (bulk if name not in ("neck", "slope") else 1)) for name in names for x, y, half in [levels[name]]
    ]
    if upper.cut not in ("coat", "dress"):
        x, y, half = shape[-1]
        shape[-1] = (x, y + (0.035 if upper.cut in ("hoodie", "shirt", "tshirt") else 0.015) * unit, half)
    if upper.cut == "tank":
        x, y, half = shape[2]
        shape[2] = (x, y, half * 0.78)
        canvas.paint(smooth(tube(shape[:4])), Paint(identity.skin, folds=0))
    if upper.pattern == "logo" and body.cos < -0.2:
        paint = Paint(upper.colour)
    sideways = body.sin * 0.5 * shape[3][2] if upper.pattern == "logo" else 0.0
    frame = Frame((shape[2][0] + sideways, shape[2][1]), (shape[-1][0] + sideways, shape[-1][1]), shape[3][2])
    canvas.paint(smooth(tube(shape)), paint, frame)
    _details(canvas, body, identity, shape)


def _details(canvas: Canvas, body: Skeleton, identity: Identity, shape: list[tuple[float, float, float]]) -> None:
    """Neckline, opening, buttons, pockets and belts: what makes a cut a cut."""
    upper, unit, cut = identity.upper, body.unit, identity.upper.cut
    (neck_x, neck_y, _), (hem_x, hem_y, hem_half), front = shape[0], shape[-1], body.sin * 0.9
    chest_x, chest_y, chest_half = shape[3]
    inside = canvas.alpha.copy()
    if cut in ("hoodie", "jacket", "tshirt"):
        hem = [(hem_x - hem_half * 1.1, hem_y - 0.02 * unit), (hem_x + hem_half * 1.1, hem_y - 0.02 * unit)]
        outline = [*hem, (hem_x + hem_half, hem_y), (hem_x - hem_half, hem_y)]
        if cut != "tshirt":
            canvas.paint(outline, Paint(_darker(upper.colour, 78)), clip=inside)
    if body.cos < -0.25:
        if cut == "hoodie":
            hood = ellipse((neck_x, neck_y + 0.03 * unit), 0.068 * unit, 0.045 * unit)
            canvas.paint(hood, Paint(_darker(upper.colour, 86)))
        return
    if cut in ("jacket", "coat"):
        width = (0.034 if cut == "jacket" else 0.006) * unit * max(0.25, body.cos)
        top, bottom = (neck_x + front * 0.04 * unit, neck_y), (hem_x + front * hem_half * 0.8, hem_y)
        bottom = bottom if cut == "jacket" else (bottom[0], bottom[1] + 0.14 * unit)
        colour = identity.inner if cut == "jacket" else _darker(upper.colour, 55)
        strip = [(top[0] - width, top[1]), (top[0] + width, top[1]), (bottom[0] + width * 0.7, bottom[1])]
        canvas.paint([*strip, (bottom[0] - width * 0.7, bottom[1])], Paint(colour), clip=inside)
    if cut == "hoodie" and body.cos > 0.1:
        pocket = [(-0.055, -0.11), (0.055, -0.11), (0.075, -0.03), (-0.075, -0.03)]
        middle = hem_x + front * hem_half * 0.6
        outline = [(middle + x * unit * body.cos, hem_y + y * unit) for x, y in pocket]
        canvas.paint(outline, Paint(_darker(upper.colour, 84)), clip=inside)
    if cut == "shirt" or (cut == "coat" and upper.pattern == "plain"):
        x = chest_x + front * chest_half * 0.8
        for step in range(5):
            button = (x, chest_y + (step * 0.055 - 0.03) * unit)
            canvas.paint(ellipse(button, 0.006 * unit, 0.006 * unit, 6), Paint(_darker(upper.colour, 50), flat=True))
    neckline = (neck_x + front * 0.025 * unit, neck_y + 0.006 * unit)
    depth = 0.04 if cut in ("tshirt", "tank", "dress") else 0.026
    canvas.paint(ellipse(neckline, body.half(0.036, 0.02), depth * unit), Paint(identity.skin, folds=0), clip=inside)
    if cut in ("shirt", "coat", "jacket"):
        for sign in (-1, 1):
            tip = (neckline[0] + sign * 0.036 * unit * max(0.3, body.cos), neckline[1] + 0.042 * unit)
            collar = [
                (neckline[0] + sign * 0.04 * unit, neckline[1] - 0.012 * unit),
                (neckline[0], neckline[1] + 0.024 * unit),
                tip,
            ]
            canvas.paint(collar, Paint(_darker(upper.colour, 82), flat=True), clip=inside)
