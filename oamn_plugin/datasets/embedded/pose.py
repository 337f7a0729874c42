"""How a body stands or walks, and where its joints appear in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from oamn_plugin.datasets.embedded.identity import Identity
from oamn_plugin.datasets.embedded.raster import Point
from oamn_plugin.datasets.embedded.stream import Stream

Joint = tuple[float, float, float]
"""Body coordinates: x to the side, y down from the top of the head, z forward; 1 is the body's height."""


@dataclass(frozen=True)
class Pose:
    """One instant of one person.

    Attributes:
        yaw: viewpoint in degrees: 0 front, 90 facing right, 180 back, 270 facing left.
        phase: of the walking cycle, in radians.
        stride: largest angle of the thigh, in degrees.
        arms: per side, ``swing``, ``phone``, ``pocket`` or ``hold``.
        lean: of the trunk to the front, in degrees.
    """

    yaw: float
    phase: float = 0.0
    stride: float = 0.0
    arms: tuple[str, str] = ("swing", "swing")
    lean: float = 2.0


def sample_pose(stream: Stream) -> Pose:
    """Draws a viewpoint, an instant of the walk, and what the arms do."""
    view = stream.weighted({0: 3, 45: 2, 90: 2, 135: 2, 180: 3, 225: 2, 270: 2, 315: 2})
    stride = stream.uniform(3, 8) if stream.chance(0.25) else stream.uniform(14, 27)
    arms = (stream.weighted({"swing": 8, "phone": 0.8, "pocket": 1, "hold": 0.7}) for _ in range(2))
    yaw = (view + stream.uniform(-20, 20)) % 360
    return Pose(yaw, stream.uniform(0, 2 * math.pi), stride, (next(arms), next(arms)), stream.uniform(0, 5))


@dataclass
class Skeleton:
    """Joints of a posed body, projected to the canvas.

    Attributes:
        joints: name to its point in canvas pixels. Sides are ``0`` (x negative) and ``1``: ``knee0``, ``hand1``.
        depths: name to the distance towards the viewer, in body heights.
        unit: canvas pixels per body height.
        cos, sin: of the yaw.
    """

    unit: float
    stretch: float
    origin: Point
    cos: float
    sin: float
    pitch: float
    joints: dict[str, Point] = field(default_factory=dict)
    depths: dict[str, float] = field(default_factory=dict)

    def project(self, joint: Joint) -> Point:
        """Body coordinates to canvas pixels."""
        x, y, z = joint
        across, depth = x * self.cos + z * self.sin, z * self.cos - x * self.sin
        return self.origin[0] + across * self.unit * self.stretch, self.origin[1] + (y + self.pitch * depth) * self.unit

    def place(self, name: str, joint: Joint) -> None:
        """Adds a joint under a name."""
        self.joints[name] = self.project(joint)
        self.depths[name] = joint[2] * self.cos - joint[0] * self.sin

    def half(self, width: float, depth: float) -> float:
        """Half width in canvas pixels of an elliptic section with the given half width and half depth."""
        return math.hypot(width * self.cos, depth * self.sin) * self.unit * self.stretch


def _swing(joint: Joint, length: float, pitch: float, spread: float = 0.0) -> Joint:
    """The end of a bone that hangs from ``joint``, swung forward by ``pitch`` degrees and outward by ``spread``."""
    pitch, spread = math.radians(pitch), math.radians(spread)
    x, y, z = joint
    return (
        x + length * math.sin(spread),
        y + length * math.cos(pitch) * math.cos(spread),
        z + length * math.sin(pitch) * math.cos(spread),
    )


def _leg(pose: Pose, side: int, identity: Identity) -> dict[str, Joint]:
    phase = pose.phase + (math.pi if side else 0)
    thigh = pose.stride * math.sin(phase)
    knee = 4 + 1.7 * pose.stride * max(0.0, math.cos(phase)) ** 2
    hip = ((-1, 1)[side] * 0.047 * identity.hips, 0.505, 0.0)
    bend = _swing(hip, 0.24 * identity.legs, thigh + 3)
    ankle = _swing(bend, 0.225 * identity.legs, thigh - knee)
    toe = (ankle[0] + (-1, 1)[side] * 0.014, ankle[1] + 0.026 + 0.0006 * (thigh - knee), ankle[2] + 0.082)
    return {"hip": hip, "knee": bend, "ankle": ankle, "toe": toe}


def _arm(pose: Pose, side: int, identity: Identity) -> dict[str, Joint]:
    sign = (-1, 1)[side]
    swing = -0.9 * pose.stride * math.sin(pose.phase + (math.pi if side else 0))
    kind = pose.arms[side]
    upper, lower = {
        "swing": (swing, 12 + max(0.0, swing)), "phone": (28, 118), "pocket": (-14, 42), "hold": (8, 84),
    }[kind]  # fmt: skip
    inward = {"swing": 0.0, "phone": -14.0, "pocket": -4.0, "hold": -26.0}[kind]
    shoulder = (sign * (0.1 * identity.shoulders + 0.01 * (identity.girth - 1)), 0.211, 0.0)
    elbow = _swing(shoulder, 0.158, upper, sign * (8 + 8 * (identity.girth - 1)))
    hand = _swing(elbow, 0.138, upper + lower, sign * inward)
    return {"shoulder": shoulder, "elbow": elbow, "hand": hand}


def skeleton(
    identity: Identity, pose: Pose, unit: float, feet: Point, stretch: float = 1.0, pitch: float = 0.12
) -> Skeleton:
    """Poses a body so that its lowest foot stands at ``feet``.

    Args:
        unit: canvas pixels per body height.
        feet: where the body stands, in canvas pixels.
        stretch: horizontal scale on top of ``unit``.
        pitch: how far the camera looks down: sine of its angle.
    """
    yaw = math.radians(pose.yaw)
    body = Skeleton(unit, stretch, (0.0, 0.0), math.cos(yaw), math.sin(yaw), pitch)
    lean = math.tan(math.radians(pose.lean))
    joints: dict[str, Joint] = {}
    for side in (0, 1):
        joints |= {f"{name}{side}": joint for name, joint in _leg(pose, side, identity).items()}
        for name, (x, y, z) in _arm(pose, side, identity).items():
            joints[f"{name}{side}"] = (x, y, z + lean * 0.28)
    for name, y, z in (("head", 0.068, 0.022), ("neck", 0.15, 0.0), ("chest", 0.25, 0.0), ("waist", 0.4, 0.0)):
        joints[name] = (0.0, y, z + lean * (0.5 - y))
    joints["pelvis"] = (0.0, 0.5, 0.0)
    lowest = max(body.project(joint)[1] for name, joint in joints.items() if name[:3] in ("toe", "ank"))
    body.origin = (feet[0], feet[1] - 0.012 * unit - lowest)
    for name, joint in joints.items():
        body.place(name, joint)
    return body
