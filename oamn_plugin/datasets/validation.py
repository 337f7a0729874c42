"""A validation split made of training identities, with occluded queries that never change.

Checkpoints, presets and thresholds are chosen on it, so that no test query is ever looked at. Its occlusions are not
those of training: the occluder is cropped anywhere in another person's image (not in the corners), covers 20 to 60 % of
the image in a rectangle that need not span the side, and depends on the seed and the file name alone. Its cuts are much
like those that ``plus`` is trained on.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oamn_plugin.datasets.images import read_image
from oamn_plugin.datasets.records import Record, Split
from oamn_plugin.occlusion import OCCLUSION_TYPES, OPPOSITE, SIDES, along_side, split_type, strip

COVERED_SHARES = (0.2, 0.6)
"""Smallest and largest share of the image that a validation occluder covers."""
_SPAN_RANGE = (0.7, 1.0)  # share of its side that the occluder spans
_CROP_RANGE = (0.4, 1.0)  # extent of the crop, against the largest of its shape that fits the source
_CUT_RANGE = (0.25, 0.6)  # share of the image that a cut takes


class Occluded(NamedTuple):
    """An occluded image, the side its occluder stands at and the share of the image that it covers."""

    image: Image.Image
    side: str
    area: float
    covered: NDArray[np.bool_] | None = None
    """(H, W), the pixels that the occluder hides; None where the image was cut instead."""


def split_identities(train: Sequence[Record], num_ids: int, seed: int = 0) -> Split:
    """Holds out whole identities of a training split: what is left to train on, and their queries and gallery.

    Identities seen by several cameras are taken first. Each gives one query per camera (where that camera has another
    image), the rest is gallery. Identities of a single camera give one query; the rest of their images are gallery
    under a camera number of their own, as the sets without cameras have it. The choice depends on the seed and on
    each record's identity and file name alone: not on the order of the records or on where they lie.

    Args:
        train: records of a training split.
        num_ids: how many identities to hold out.
        seed: chooses them.

    Raises:
        ValueError: fewer than ``num_ids`` identities have two images, or none would be left to train on.
    """
    by_pid: dict[int, list[Record]] = defaultdict(list)
    for record in train:
        by_pid[record.pid].append(record)
    eligible = [pid for pid, records in by_pid.items() if len(records) > 1]
    if not 0 < num_ids <= len(eligible) or num_ids >= len(by_pid):
        raise ValueError(
            f"cannot hold out {num_ids} of {len(by_pid)} training identities ({len(eligible)} of them have two images "
            f"or more): choose 1 to {min(len(eligible), len(by_pid) - 1)}"
        )
    eligible.sort(key=lambda pid: (len({r.camid for r in by_pid[pid]}) == 1, _hash(seed, pid)))
    chosen = set(eligible[:num_ids])
    spare_camera = max(record.camid for record in train) + 1
    query: list[Record] = []
    gallery: list[Record] = []
    for pid in chosen:
        queries, rest = _split_one(by_pid[pid], seed, spare_camera)
        query += queries
        gallery += rest
    return Split([record for record in train if record.pid not in chosen], sorted(query), sorted(gallery))


def _split_one(records: list[Record], seed: int, spare_camera: int) -> tuple[list[Record], list[Record]]:
    by_camera: dict[int, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: _hash(seed, os.path.basename(r.path))):
        by_camera[record.camid].append(record)
    if len(by_camera) == 1:
        first, *rest = next(iter(by_camera.values()))
        return [first], [record._replace(camid=spare_camera) for record in rest]
    queries = [images[0] for images in by_camera.values() if len(images) > 1]
    if not queries:
        queries = [next(iter(by_camera.values()))[0]]
    taken = set(queries)
    return queries, [record for record in records if record not in taken]


class QueryOccluder:
    """Occludes validation queries: the same file always gets the same occluder.

    Args:
        sources: paths of the images that occluders are cropped from: the remaining training images.
        seed: chooses occluders, sides and areas.

    Raises:
        ValueError: no source is given.
    """

    def __init__(self, sources: Sequence[str], seed: int = 0) -> None:
        if not sources:
            raise ValueError("occluders need at least one source image to be cropped from")
        self.sources = sorted(sources, key=os.path.basename)
        self.seed = seed

    def __call__(self, image: Image.Image, path: str) -> Occluded:
        """Occludes the image that was read from ``path``.

        Raises:
            BadImageError: the chosen source cannot be read.
        """
        rng = occlusion_rng(self.seed, path)
        source = self.sources[int(rng.random() * len(self.sources))]
        return occlude(image, rng, read_image(source))

    def __repr__(self) -> str:
        return f"QueryOccluder({len(self.sources)} sources, seed={self.seed})"


class QueryCutter:
    """Cuts 25 to 60 % off one side of validation queries, as a detector's box of a partly visible person does.

    The same file always loses the same. Half of the cuts are at the bottom: legs are what is missing most often.

    Args:
        seed: chooses sides and areas.
    """

    sides = ("left", "right", "bottom", "bottom", "bottom", "top")

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, image: Image.Image, path: str) -> Occluded:
        """What is left of the image that was read from ``path``, its side and its area."""
        rng = occlusion_rng(self.seed, path)
        side, area = self.sides[int(rng.random() * len(self.sides))], _uniform(rng, *_CUT_RANGE)
        width, height = image.size
        extent = width if side in ("left", "right") else height
        top, left, rows, columns = along_side(OPPOSITE[side], extent - round(area * extent), height, width)
        return Occluded(image.crop((left, top, left + columns, top + rows)), side, area)


class StripOccluder:
    """Occludes validation queries by the strip of a type: what a mask must not know by its sharpness.

    Args:
        kind: ``sharp``: a crop of the strip's own size from another image; ``blurred``: one of a quarter of its height
            and width, stretched; ``black``.
        sources: paths of the images that strips are cropped from.
        seed: chooses types, sources and places.
    """

    kinds = ("sharp", "blurred", "black")

    def __init__(self, kind: str, sources: Sequence[str], seed: int = 0) -> None:
        self.kind, self.seed = kind, seed
        self.sources = sorted(sources, key=os.path.basename)

    def __call__(self, image: Image.Image, path: str) -> Occluded:
        """Occludes the image that was read from ``path``."""
        rng = occlusion_rng(self.seed, path)
        name = OCCLUSION_TYPES[1 + int(rng.random() * (len(OCCLUSION_TYPES) - 1))]
        top, left, rows, columns = strip(name, image.height, image.width)
        patch = Image.new("RGB", (columns, rows))
        if self.kind != "black":
            source = read_image(self.sources[int(rng.random() * len(self.sources))]).resize(image.size)
            step = 4 if self.kind == "blurred" else 1
            wide, tall = max(1, columns // step), max(1, rows // step)
            x, y = int(rng.random() * (source.width - wide + 1)), int(rng.random() * (source.height - tall + 1))
            patch = source.crop((x, y, x + wide, y + tall)).resize((columns, rows), Image.Resampling.BILINEAR)
        result = image.convert("RGB")  # a copy
        result.paste(patch, (left, top))
        box = (left, top, left + columns, top + rows)
        covered = _inside(box, image.size)
        return Occluded(result, split_type(name)[0], float(covered.mean()), covered)


def occlusion_rng(seed: int, path: str | os.PathLike[str]) -> random.Random:
    """The random numbers of one file: they depend on the seed and the file's name, not on its folder."""
    return random.Random(_hash(seed, os.path.basename(path)))


def occlude(image: Image.Image, rng: random.Random, source: Image.Image) -> Occluded:
    """Pastes a crop of ``source`` at a random side of a copy of ``image``, over 20 to 60 % of it.

    The crop has the shape of the rectangle it fills, so that nothing is distorted.
    """
    side = SIDES[int(rng.random() * len(SIDES))]
    box = _place(side, image.size, rng)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = _uniform(rng, *_CROP_RANGE) * min(source.width / width, source.height / height)
    crop_width, crop_height = max(1, round(width * scale)), max(1, round(height * scale))
    left = int(rng.random() * (source.width - crop_width + 1))
    top = int(rng.random() * (source.height - crop_height + 1))
    crop = source.convert("RGB").crop((left, top, left + crop_width, top + crop_height))
    result = image.convert("RGB") if image.mode != "RGB" else image.copy()
    result.paste(crop.resize((width, height), Image.Resampling.BILINEAR), box[:2])
    return Occluded(result, side, width * height / (image.width * image.height), _inside(box, image.size))


def _place(side: str, size: tuple[int, int], rng: random.Random) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a rectangle that touches ``side`` and one end of it."""
    image_width, image_height = size
    if image_width < 8 or image_height < 8:
        raise ValueError(f"an image of {image_width} x {image_height} pixels is too small to occlude: at least 8 x 8")
    area, span, at_end = _uniform(rng, *COVERED_SHARES), _uniform(rng, *_SPAN_RANGE), rng.random() < 0.5
    depth = area / span
    across, along = (image_width, image_height) if side in ("left", "right") else (image_height, image_width)
    deep, wide = max(1, round(depth * across)), max(1, round(span * along))
    start = along - wide if at_end else 0
    near = 0 if side in ("left", "top") else across - deep
    if side in ("left", "right"):
        return near, start, near + deep, start + wide
    return start, near, start + wide, near + deep


def _inside(box: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W), the pixels in a box (left, top, right, bottom) of an image of (width, height)."""
    found = np.zeros(size[::-1], dtype=np.bool_)
    found[box[1] : box[3], box[0] : box[2]] = True
    return found


def _uniform(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _hash(*key: int | str) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode(errors="surrogateescape")).digest()[:8], "big")
