"""What is known of every generated image: which pixels show the person, which the occluder, and which type that is."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES, SIDES, strip

ANNOTATIONS, MASKS = "annotations.csv", "visibility.npz"
COLUMNS = ("file", "split", "pid", "camid", "occluder", "side", "area_fraction", "type", *SIDES)


class Truth(NamedTuple):
    """What is known of one image.

    Attributes:
        split: folder of the image.
        pid: identity.
        camid: camera, from 0.
        visible: (H, W) bool, pixels that show the person.
        occluder_mask: (H, W) bool, pixels that show the occluder.
        occluder: its kind, or ``none``.
        side: the side it comes in from, or ``none``.
        area: share of the image that it covers.
        type_name: the nearest of the nine occlusion types.
        sides: side to the occluded share of that half of the image.
    """

    split: str
    pid: int
    camid: int
    visible: NDArray[np.bool_]
    occluder_mask: NDArray[np.bool_]
    occluder: str
    side: str
    area: float
    type_name: str
    sides: Mapping[str, float]


def nearest_type(occluder: NDArray[np.bool_]) -> str:
    """The occlusion type whose strip differs from the occluder's pixels in the fewest places.

    Args:
        occluder: (H, W) bool. An empty mask is ``none``; any other is one of the eight.

    >>> mask = np.zeros((64, 32), dtype=bool)
    >>> mask[:, :14] = True
    >>> nearest_type(mask)
    'left_half'
    """
    total = int(np.count_nonzero(occluder))
    if not total:
        return NONE
    height, width = occluder.shape
    differing = {}
    for name in OCCLUSION_TYPES[1:]:
        top, left, tall, wide = strip(name, height, width)
        inside = int(np.count_nonzero(occluder[top : top + tall, left : left + wide]))
        differing[name] = total + tall * wide - 2 * inside
    return min(differing, key=lambda name: differing[name])


def side_shares(occluder: NDArray[np.bool_]) -> dict[str, float]:
    """Share of each half of the image that is occluded."""
    shares = {}
    for side in SIDES:
        top, left, tall, wide = strip(f"{side}_half", *occluder.shape)
        shares[side] = float(np.count_nonzero(occluder[top : top + tall, left : left + wide])) / (tall * wide)
    return shares


def describe(
    split: str, pid: int, camid: int, visible: NDArray[np.bool_], occluder: NDArray[np.bool_], kind: str, side: str
) -> Truth:
    """Measures an image's occlusion."""
    area = float(np.count_nonzero(occluder)) / occluder.size
    return Truth(split, pid, camid, visible, occluder, kind, side, area, nearest_type(occluder), side_shares(occluder))


def save_truth(folder: Path, truths: Mapping[str, Truth]) -> None:
    """Writes ``annotations.csv`` and ``visibility.npz``.

    Args:
        folder: of the data set.
        truths: file name (with its split: names are unique within the data set) to what is known of it.
    """
    with open(folder / ANNOTATIONS, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, truth in truths.items():
            known = (
                truth.split,
                truth.pid,
                truth.camid,
                truth.occluder,
                truth.side,
                f"{truth.area:.4f}",
                truth.type_name,
            )
            writer.writerow((name, *known, *(f"{truth.sides[side]:.4f}" for side in SIDES)))
    height, width = next(iter(truths.values())).visible.shape
    np.savez(
        folder / MASKS,
        names=np.array(list(truths)),
        visible=_pack([truth.visible for truth in truths.values()]),
        occluder=_pack([truth.occluder_mask for truth in truths.values()]),
        height=np.array(height),
        width=np.array(width),
    )


def _pack(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    return np.packbits(np.stack(masks).reshape(len(masks), -1), axis=1)


def _unpack(rows: NDArray[np.uint8], height: int, width: int) -> NDArray[np.bool_]:
    return np.unpackbits(rows, axis=1, count=height * width).reshape(-1, height, width).astype(bool)


def load_truth(path: str | Path) -> dict[str, Truth]:
    """Reads what is known of every image of a generated data set.

    Args:
        path: folder of the data set.

    Returns:
        File name (without its folder) to its :class:`Truth`.

    Raises:
        FileNotFoundError: the folder holds no annotations.
    """
    folder = Path(path)
    for name in (ANNOTATIONS, MASKS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}: it is not a generated data set; make one with ensure()")
    with np.load(folder / MASKS, allow_pickle=False) as stored:
        height, width = int(stored["height"]), int(stored["width"])
        visible = _unpack(stored["visible"], height, width)
        occluder = _unpack(stored["occluder"], height, width)
        index = {str(name): position for position, name in enumerate(stored["names"])}
    truths = {}
    with open(folder / ANNOTATIONS, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = index[row["file"]]
            truths[row["file"]] = Truth(
                row["split"],
                int(row["pid"]),
                int(row["camid"]),
                visible[at],
                occluder[at],
                row["occluder"],
                row["side"],
                float(row["area_fraction"]),
                row["type"],
                {side: float(row[side]) for side in SIDES},
            )
    return truths
