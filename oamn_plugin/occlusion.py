"""The vocabulary of occlusion: sides, areas, the nine occlusion types and the strip each one covers.

Ground floor of the package: everything above speaks these words, and this file imports nothing above it. Plain Python,
so that a command line can print them without loading torch. Source: OAMN (ICCV 2021), section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

NONE = "none"
SIDES = ("left", "right", "bottom", "top")
"""The four sides an occluder can enter from, in the order of the scorer's logits."""
AREAS = ("half", "quarter")
"""How much of the image an occlusion covers."""
OCCLUSION_TYPES = (NONE, *(f"{side}_{area}" for area in AREAS for side in SIDES))
"""The nine types: none, then left, right, bottom, top half, then the same four at a quarter."""
TYPE_INDEX = {name: index for index, name in enumerate(OCCLUSION_TYPES)}
"""Type name to its index in :data:`OCCLUSION_TYPES`; how types are stored in tensors."""
OPPOSITE = {"left": "right", "right": "left", "bottom": "top", "top": "bottom"}


class Strip(NamedTuple):
    """A rectangle of pixels: rows ``top : top + height``, columns ``left : left + width``."""

    top: int
    left: int
    height: int
    width: int


def split_type(occlusion_type: str) -> tuple[str, str]:
    """Returns ``(side, area)`` of an occlusion type other than ``none``.

    Args:
        occlusion_type: one of :data:`OCCLUSION_TYPES` but ``none``.

    Raises:
        ValueError: the type is ``none`` (it has no side) or is not one of the nine.

    >>> split_type("left_half")
    ('left', 'half')
    """
    if occlusion_type not in TYPE_INDEX:
        raise ValueError(f"unknown occlusion type {occlusion_type!r}: choose one of {', '.join(OCCLUSION_TYPES)}")
    if occlusion_type == NONE:
        raise ValueError("the occlusion type 'none' has no side and no area")
    side, area = occlusion_type.split("_")
    return side, area


def strip(occlusion_type: str, height: int, width: int) -> Strip:
    """Pixels that an occlusion type covers on an image.

    Left and right strips are full height; bottom and top strips are full width. On odd sizes the covered extent is
    rounded down, so that a strip never covers more than its name says.

    Args:
        occlusion_type: one of :data:`OCCLUSION_TYPES`; ``none`` gives an empty strip.
        height: image height in pixels, at least 4.
        width: image width in pixels, at least 4.

    Returns:
        ``(top, left, height, width)`` in pixels.

    Raises:
        ValueError: unknown type, or an image too small to have a quarter.

    >>> strip("right_quarter", 256, 128)
    Strip(top=0, left=96, height=256, width=32)
    >>> strip("none", 256, 128)
    Strip(top=0, left=0, height=0, width=0)
    """
    if height < 4 or width < 4:
        raise ValueError(f"an image of {height} x {width} pixels is too small to occlude: at least 4 x 4")
    if occlusion_type == NONE:
        return Strip(0, 0, 0, 0)
    side, area = split_type(occlusion_type)
    return along_side(
        side, (width if side in ("left", "right") else height) // (2 if area == "half" else 4), height, width
    )


def rest(occlusion_type: str, height: int, width: int) -> Strip:
    """Pixels that the strip of an occlusion type other than ``none`` leaves; arguments and errors as of :func:`strip`.

    >>> rest("right_quarter", 256, 128)
    Strip(top=0, left=0, height=256, width=96)
    """
    covered, side = strip(occlusion_type, height, width), split_type(occlusion_type)[0]
    depth = width - covered.width if side in ("left", "right") else height - covered.height
    return along_side(OPPOSITE[side], depth, height, width)


def along_side(side: str, depth: int, height: int, width: int) -> Strip:
    """The rectangle that lies along a whole side of an image and reaches ``depth`` pixels into it.

    >>> along_side("bottom", 10, 256, 128)
    Strip(top=246, left=0, height=10, width=128)
    """
    return {
        "left": Strip(0, 0, height, depth),
        "right": Strip(0, width - depth, height, depth),
        "bottom": Strip(height - depth, 0, depth, width),
        "top": Strip(0, 0, depth, width),
    }[side]
