"""One change of a gallery index as a plan on disk that is carried out block by block and survives being killed.

A plan names its images and occlusion types. Descriptors are written in blocks of fixed membership, each file at once;
the index itself is touched only when all blocks are there, every step of which may be repeated without harm; the plan
is removed last. Whoever finds a plan carries on with it, and ends with the same bytes as if nothing had happened.
Several processes may share the blocks of a plan, see :mod:`oamn_plugin.search.workers`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from oamn_plugin.datasets.images import BadImageError
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.search.descriptor_files import Rows, mapped, save
from oamn_plugin.search.encoder import BATCH, ImageEncoder, in_batches
from oamn_plugin.search.files import GalleryIndexError, IndexFileError, read_json, write_json
from oamn_plugin.search.gallery import GalleryImage

BLOCK = 4 * BATCH
"""Images a block: what is lost at most when a build is killed."""


class Known(NamedTuple):
    """What an index knows of an image."""

    image: GalleryImage
    stamp: tuple[int, int]
    """Size in bytes and time of change in ns of the file before it was encoded: others mean that it was replaced."""


Numbered = tuple[int, Known]


class Changes(NamedTuple):
    """What ``add`` of an index did."""

    added: int = 0
    """Images that were not in the index."""
    replaced: int = 0
    """Images whose file had been replaced, or that lacked descriptors of a type; encoded anew."""
    relabelled: int = 0
    """Images whose identity, camera or further columns are others now; not encoded anew."""


@dataclass(frozen=True)
class Plan:
    """A change: numbers to remove, then images to describe for types (``new``: not in the index so far)."""

    images: tuple[Numbered, ...] = ()
    types: tuple[str, ...] = ()
    new: bool = True
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """Descriptors of the readable images of a block for one type, and why the others cannot be used."""

    rows: Rows
    unreadable: dict[int, str]


def stamp_of(path: str) -> tuple[int, int]:
    """Size and time of change of a file; (-1, -1) where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that cannot be one
        return -1, -1
    return found.st_size, found.st_mtime_ns


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of some paths where no file is."""
    return [path for path in paths if stamp_of(path)[0] < 0]


def check_files(index: Path | str, names: Iterable[str], paths: Sequence[str]) -> None:
    """Refuses to describe images for further types while files are gone: a type would be left with holes.

    Raises:
        GalleryIndexError: some are.
    """
    if gone := missing_files(paths):
        raise GalleryIndexError(
            f"{index} has no descriptors of type {', '.join(sorted(names))}, and {len(gone)} of {len(paths)} images "
            f"are not where they were, such as {gone[0]}: bring them back, or take them out with remove"
        )


def to_row(number: int, known: Known) -> list[Any]:
    """An image as JSON holds it."""
    return [number, *known.image, *known.stamp]


def from_row(row: Any) -> Numbered:
    """The reverse.

    Raises:
        ValueError: it is none.
    """
    try:
        number, path, pid, camid, extra, size, changed = row
    except TypeError as error:
        raise ValueError(f"{row!r} is no image") from error
    texts = (path, pid, camid, *extra, *extra.values()) if isinstance(extra, dict) else (None,)
    if not all(isinstance(text, str) for text in texts) or any(type(n) is not int for n in (number, size, changed)):
        raise ValueError(f"{str(row)[:200]} is no image")
    if number < 0:
        raise ValueError(f"{number} is no number of an image")
    return number, Known(GalleryImage(path, pid, camid, extra), (size, changed))


class PlanFolder:
    """The folder ``pending`` of an index: the plan and the blocks done so far.

    Args:
        folder: where; it exists only while there is a plan.
        dim: numbers in a descriptor.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim, self._plan = folder, dim, folder / "plan.json"

    def begin(self, plan: Plan) -> None:
        """Writes a plan down; blocks that a finished one left behind are cleared away first."""
        shutil.rmtree(self.folder, ignore_errors=True)
        content = {
            "types": plan.types,
            "new": plan.new,
            "removed": plan.removed,
            "images": [to_row(*entry) for entry in plan.images],
        }
        write_json(self._plan, content)

    def load(self) -> Plan | None:
        """The unfinished plan, or None.

        Raises:
            IndexFileError: it is damaged.
        """
        content = read_json(self._plan)
        if content is None:
            return None
        try:
            images = tuple(from_row(row) for row in content["images"])
            types, new, removed = content["types"], content["new"], content["removed"]
            if set(types) - set(OCCLUSION_TYPES) or not isinstance(new, bool):
                raise ValueError("no such types")
            numbers = [number for number, _ in images]
            if any(type(number) is not int for number in removed) or any(a >= b for a, b in pairwise(numbers)):
                raise ValueError("no such numbers")
            return Plan(images, tuple(types), new, tuple(removed))
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise self._damaged(self._plan) from error

    def finish(self) -> None:
        """Takes the plan away: from here on it is done."""
        self._plan.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def encode(self, plan: Plan, encoder: ImageEncoder, progress: bool, part: tuple[int, int] = (0, 1)) -> None:
        """Describes what is missing of a plan; every image is read once, whatever the number of types.

        Args:
            plan: as :meth:`load` gives it.
            encoder: describes the images.
            progress: show a bar.
            part: number of this process and of all that share the blocks, which are dealt out in turn.
        """
        with tqdm(total=len(plan.images), desc="gallery", unit="image", disable=not progress) as bar:
            for number, images in enumerate(in_batches(plan.images, BLOCK)):
                if number % part[1] == part[0]:
                    missing = [name for name in plan.types if not self._path(number, name).exists()]
                    for name, block in describe(images, missing, encoder).items() if missing else ():
                        self._write(number, name, block)
                bar.update(len(images))

    def blocks(self, plan: Plan, name: str) -> Iterator[Block]:
        """The finished blocks of a type, in order.

        Raises:
            IndexFileError: one is damaged.
        """
        for number, images in enumerate(in_batches(plan.images, BLOCK)):
            path = self._path(number, name)
            content = read_json(path.with_suffix(".json"))
            try:
                bad = {int(key): str(reason) for key, reason in content.items()}
                numbers = np.array([n for n, _ in images if n not in bad], dtype=np.int64)
                descriptors = np.array(mapped(path, np.float32, self.dim))
                if len(descriptors) != len(numbers):
                    raise ValueError("other images")
            except (AttributeError, ValueError, TypeError) as error:
                raise self._damaged(path) from error
            yield Block(Rows(numbers, descriptors), bad)

    def _damaged(self, path: Path) -> IndexFileError:
        return IndexFileError(f"{path} is damaged: remove the folder {self.folder} and run index again")

    def _path(self, number: int, name: str) -> Path:
        return self.folder / name / f"{number:06d}.npy"

    def _write(self, number: int, name: str, block: Block) -> None:
        path = self._path(number, name)
        write_json(path.with_suffix(".json"), {str(key): reason for key, reason in block.unreadable.items()})
        save(path, block.rows.descriptors)  # last: a block is done when this file is there


def describe(images: Sequence[Numbered], names: Sequence[str], encoder: ImageEncoder) -> dict[str, Block]:
    """Reads images and describes those that can be read, by type."""
    ids: list[int] = []
    unreadable: dict[int, str] = {}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in in_batches(images, BATCH):
        pixels, read = [], []
        for number, known in batch:
            try:
                pixels.append(encoder.read(known.image.path))
                read.append(number)
            except BadImageError as error:
                unreadable[number] = error.reason
        if not pixels:
            continue
        rows = {name: one.cpu().numpy() for name, one in encoder.gallery(torch.stack(pixels), names).items()}
        # a number that is not finite would make all distances to its image NaN
        good = np.logical_and.reduce([np.isfinite(one).all(axis=1) for one in rows.values()])
        ids += [number for number, fine in zip(read, good, strict=True) if fine]
        for number, fine in zip(read, good, strict=True):
            if not fine:
                unreadable[number] = "the model's descriptor of it is not finite"
        for name in names:
            parts[name].append(rows[name][good])
    empty = np.zeros((0, encoder.dim), dtype=np.float32)
    numbers = np.array(ids, dtype=np.int64)
    return {name: Block(Rows(numbers, np.concatenate([empty, *rows])), unreadable) for name, rows in parts.items()}
