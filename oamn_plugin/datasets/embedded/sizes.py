"""How large the generated data set is and how hard: every such number is here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

FORMAT = 1
"""Version of the pictures. It is part of the folder's name: a change of a single pixel must raise it."""


@dataclass(frozen=True)
class Size:
    """Counts of a preset.

    Attributes:
        train_ids, test_ids: identities; the two sets are disjoint.
        train_images: images per training identity, spread over the cameras.
        queries: occluded queries per test identity, and as many holistic ones, from different cameras.
        gallery_images: gallery images per test identity, spread over the cameras.
        cameras: number of cameras.
        height, width: image size in pixels.
    """

    train_ids: int
    test_ids: int
    train_images: int
    queries: int
    gallery_images: int
    cameras: int = 4
    height: int = 128
    width: int = 64


SIZES = {
    "tiny": Size(train_ids=12, test_ids=6, train_images=4, queries=2, gallery_images=4),
    "demo": Size(train_ids=150, test_ids=75, train_images=10, queries=2, gallery_images=12),
    "benchmark": Size(train_ids=400, test_ids=200, train_images=16, queries=3, gallery_images=18, cameras=6),
}


@dataclass(frozen=True)
class Difficulty:
    """What makes identities hard to tell apart, and images hard to match."""

    plain_clothes: float = 0.5
    """Share of garments without a pattern."""
    nothing_carried: float = 0.5
    """Share of identities without a bag."""
    bare_head: float = 0.75
    """Share of identities without a hat."""
    colour_jitter: int = 14
    """How far an identity's garment may be from the named colour, per channel of 255."""
    smallest_figure: float = 0.75
    largest_figure: float = 1.10
    """Height of the figure over the height of the box."""
    shift: float = 0.09
    """Largest shift of the figure from the middle of the box, as a share of the box."""
    bystanders: float = 0.12
    """Share of images with another person in the background."""
    tint: float = 0.10
    """Largest per-channel gain of a camera, up or down."""
    gamma: float = 0.22
    """Largest per-channel gamma of a camera, up or down."""
    exposure: float = 0.16
    """Largest change of brightness from image to image."""
    noise: int = 7
    """Largest amplitude of a camera's noise."""
    occluded_gallery: float = 0.10
    """Share of occluded gallery images."""
    smallest_area: float = 0.20
    largest_area: float = 0.65
    """Share of the image that an occluder covers."""
    least_hidden: float = 0.15
    least_visible: float = 0.20
    """Least share of the person that an occluder hides, and that it leaves to be seen."""


DIFFICULTY = Difficulty()


def size(name: str) -> Size:
    """The counts of a preset.

    Raises:
        ValueError: there is no such preset; the nearest one is named.

    >>> size("demo").test_ids
    75
    """
    if name not in SIZES:
        near = difflib.get_close_matches(name, SIZES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(SIZES)}"
        raise ValueError(f"the embedded data set has no size {name!r}: {hint}")
    return SIZES[name]
