"""How large the generated data set is and how hard: every such number is here."""

from __future__ import annotations

from dataclasses import dataclass

from oamn_plugin.errors import did_you_mean

FORMAT = 2
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

    def __post_init__(self) -> None:
        few = [name for name in ("train_ids", "test_ids", "train_images", "queries") if getattr(self, name) < 1]
        if few:
            raise ValueError(f"{', '.join(few)} must be at least 1")
        if not 2 <= self.cameras <= self.gallery_images:
            raise ValueError(
                "a query needs its identity in the gallery under another camera: cameras must be at least 2 and "
                f"gallery_images at least cameras, got {self.cameras} and {self.gallery_images}"
            )
        if self.train_ids + self.test_ids > 9999:
            raise ValueError(f"file names hold 9999 identities, got {self.train_ids + self.test_ids}")
        if min(self.height, self.width) < 16:
            raise ValueError(f"images must be at least 16 pixels high and wide, got {self.height} x {self.width}")


SIZES = {
    "tiny": Size(train_ids=12, test_ids=6, train_images=4, queries=2, gallery_images=4),
    "demo": Size(train_ids=150, test_ids=75, train_images=10, queries=4, gallery_images=8),
    "benchmark": Size(train_ids=400, test_ids=200, train_images=16, queries=6, gallery_images=12, cameras=6),
}


@dataclass(frozen=True)
class Difficulty:
    """What makes identities hard to tell apart, and images hard to match."""

    lookalikes: float = 0.65
    """Share of identities that wear the same main garments as up to two others, and differ in the rest."""
    plain_clothes: float = 0.6
    """Share of garments without a pattern."""
    nothing_carried: float = 0.6
    """Share of identities without a bag."""
    bare_head: float = 0.82
    """Share of identities without a hat."""
    colour_jitter: int = 8
    """How far an identity's garment may be from the named colour, per channel of 255."""
    smallest_figure: float = 0.75
    largest_figure: float = 1.10
    """Height of the figure over the height of the box."""
    shift: float = 0.09
    """Largest shift of the figure from the middle of the box, as a share of the box."""
    bystanders: float = 0.18
    """Share of images with another person in the background."""
    tint: float = 0.14
    """Largest per-channel gain of a camera, up or down."""
    gamma: float = 0.30
    """Largest per-channel gamma of a camera, up or down."""
    exposure: float = 0.20
    """Largest change of brightness from image to image."""
    noise: int = 7
    """Largest amplitude of a camera's noise."""
    occluded_gallery: float = 0.10
    """Share of occluded gallery images."""
    smallest_area: float = 0.20
    largest_area: float = 0.65
    """Share of the image that an occluder covers."""
    quarters: float = 0.45
    """Share of occluders that cover about a quarter; the others cover about a half."""
    least_hidden: float = 0.10
    least_visible: float = 0.20
    """Least share of the person that an occluder hides, and that it leaves to be seen."""


DIFFICULTY = Difficulty()


def counts_of(size: str | Size) -> Size:
    """The counts of a preset; counts are returned as they are.

    Raises:
        ValueError: there is no such preset (the nearest one is named), or counts that make no data set.

    >>> counts_of("demo").test_ids
    75
    """
    if isinstance(size, Size):
        return size
    if size not in SIZES:
        hint = did_you_mean(size, SIZES)
        raise ValueError(f"the embedded data set has no size {size!r}.{hint} Known: {', '.join(SIZES)}")
    return SIZES[size]
