"""The folder of a gallery index: its files, and the changes that are made to them so that no kill can harm them.

index.json        weights, settings, dimension and model
images.json       what is known of every image, by number; written last, an image is in the index once it is here
unreadable.json   path to reason
types/NAME.npy    descriptors for each occlusion type that is built, see :mod:`oamn_plugin.search.descriptor_files`
approximate*      quantised copies for quick searches, see :mod:`oamn_plugin.search.faiss_files`
pending/          the change that is being made, see :mod:`oamn_plugin.search.index_plan`

An image's number is never given to another one, so that whoever holds an older state finds too little, never the wrong
image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from oamn_plugin.errors import did_you_mean
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.search.descriptor_files import DescriptorFile
from oamn_plugin.search.encoder import ImageEncoder, ModelIdentity
from oamn_plugin.search.files import (
    GalleryIndexError,
    IndexFileError,
    NoIndexError,
    locked,
    read_json,
    signature,
    write_json,
)
from oamn_plugin.search.index_plan import Known, Plan, PlanFolder, from_row, to_row
from oamn_plugin.search.workers import encode_together

FORMAT = 2
LARGEST_DIM = 1 << 16


class IndexFolder:
    """Files of a gallery index.

    Args:
        folder: where they lie; made by the first change.
        encoder: what describes images, None for reading only.

    Attributes:
        known: what is known of each image, by its number, ascending.
        numbers: (G,) the numbers.
        state: counts the changes of the two.
        next_number: no image has had it or a larger one.

    Raises:
        GalleryIndexError: no index there and no encoder to begin one, or one of another model.
    """

    def __init__(self, folder: Path, encoder: ImageEncoder | None) -> None:
        self.path, self.encoder = folder, encoder
        self.known: dict[int, Known] = {}
        self.numbers = np.zeros(0, dtype=np.int64)
        self.state = 0
        self.next_number = 0
        self._header: dict[str, Any] | None = None
        self._read: tuple[int, ...] | None = None
        self._settle(read_json(folder / "index.json") or self._begin())
        self.refresh()

    @property
    def types(self) -> tuple[str, ...]:
        """The occlusion types that are built."""
        return tuple(name for name in OCCLUSION_TYPES if self.descriptors(name).exists())

    @property
    def unreadable(self) -> dict[str, str]:
        """Path to reason."""
        path = self.path / "unreadable.json"
        content = read_json(path) or {}
        if not isinstance(content, dict) or not all(isinstance(reason, str) for reason in content.values()):
            raise IndexFileError(f"{path} is damaged: remove it and run index again")
        return content

    def descriptors(self, name: str) -> DescriptorFile:
        """The descriptors of a type."""
        return DescriptorFile(self.path / "types" / f"{name}.npy", self.dim)

    def free_number(self) -> int:
        """A number that no image and no row of descriptors has had."""
        stored = [self.descriptors(name).read().numbers for name in self.types]
        return max([self.next_number, *(int(numbers[-1]) + 1 for numbers in stored if len(numbers))])

    def refresh(self) -> None:
        """Reads what is known of the images if another process has changed it.

        Raises:
            IndexFileError: damaged.
        """
        path = self.path / "images.json"
        before = signature(path)
        if before == self._read:
            return
        content = read_json(path)
        try:
            if content is None:
                content = {"next": 0, "images": []}
            known, following = dict(from_row(row) for row in content["images"]), content["next"]
            numbers = list(known)
            if type(following) is not int or len(numbers) != len(content["images"]):
                raise ValueError("numbers")
            if numbers != sorted(numbers) or (numbers and numbers[-1] >= following):
                raise ValueError("numbers")
        except (TypeError, ValueError, LookupError) as error:
            raise IndexFileError(f"{path} is damaged: build the index again") from error
        self.next_number, self._read = following, before
        self._set(known)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the lock of the one process that may write, with the newest state read.

        Raises:
            GalleryIndexError: another one holds it, or has begun an index of another model here meanwhile.
        """
        with locked(self.path):
            if self._header is not None:
                self._settle(read_json(self.path / "index.json") or self._header)
            self.refresh()
            yield

    def carry_out(self, plan: Plan, progress: bool) -> None:
        """Makes a change, the first of which makes the index. The caller holds the lock."""
        if self._header is not None:
            write_json(self.path / "index.json", self._header)
            self._header = None
        self.pending.begin(plan)
        self.finish(plan, progress)

    def finish(self, plan: Plan, progress: bool) -> None:
        """Carries a change to its end from wherever it is: every step may be repeated without harm.

        Raises:
            GalleryIndexError: images are to be described, but there is no encoder.
        """
        if plan.images:
            if self.encoder is None:
                raise GalleryIndexError(f"{self.path} needs its model to go on with an interrupted build")
            encode_together(self.pending, plan, self.encoder, progress)
        if plan.removed:
            gone = set(plan.removed)
            self.write_images({number: known for number, known in self.known.items() if number not in gone})
            for name in self.types:
                self.descriptors(name).drop(gone)
        reasons: dict[int, str] = {}
        last = -1
        for name in plan.types:
            self.descriptors(name).append(block.rows for block in self.pending.blocks(plan, name))
            for block in self.pending.blocks(plan, name):
                reasons.update(block.unreadable)
                last = max(last, *block.rows.numbers.tolist()) if len(block.rows.numbers) else last
        if plan.images:
            self._note(plan, reasons, last + 1)
        self.pending.finish()

    def _note(self, plan: Plan, reasons: dict[int, str], following: int) -> None:
        """Writes down which images could be read and which not."""
        unreadable = self.unreadable
        for number, (image, _) in plan.images:
            unreadable.pop(image.path, None)
            if number in reasons:
                unreadable[image.path] = reasons[number]
        self.write_unreadable(unreadable)
        if plan.new:
            self.next_number = max(self.next_number, following)
            self.write_images({**self.known, **{n: known for n, known in plan.images if n not in reasons}})

    def write_images(self, known: dict[int, Known]) -> None:
        """Writes down what is known of the images."""
        content = {"next": self.next_number, "images": [to_row(number, one) for number, one in known.items()]}
        if known or self._read:
            write_json(self.path / "images.json", content)
            self._read = signature(self.path / "images.json")
        self._set(known)

    def _set(self, known: dict[int, Known]) -> None:
        self.known, self.numbers = known, np.fromiter(known, dtype=np.int64, count=len(known))
        self.state += 1

    def write_unreadable(self, reasons: dict[str, str]) -> None:
        """Writes down which images cannot be read."""
        write_json(self.path / "unreadable.json", reasons)

    def _begin(self) -> dict[str, Any]:
        if self.encoder is None:
            beside = [header.parent.name for header in self.path.absolute().parent.glob("*/index.json")]
            hint = did_you_mean(self.path.name, beside)
            raise NoIndexError(f"there is no gallery index in {self.path}: build one with the command index.{hint}")
        if self.path.exists() and not self.path.is_dir():
            raise GalleryIndexError(f"{self.path} is a file: choose another place for the index")
        if self.path.exists() and [item for item in self.path.iterdir() if not item.name.startswith(".")]:
            header: dict[str, Any] | None = read_json(self.path / "index.json")
            if header is not None:  # another process has begun it in between
                return header
            raise GalleryIndexError(f"{self.path} is not empty and no gallery index: choose another folder")
        self._header = header_of(self.encoder)
        return self._header

    def _settle(self, header: Any) -> None:
        """Takes over what ``index.json`` says."""
        path = self.path / "index.json"
        if isinstance(header, dict) and header.get("format") == 1:
            raise GalleryIndexError(f"{self.path} is an index of an older version: remove it and build it again")
        self.identity, self.dim = identity_in(header, str(path))
        self.model: Any = header.get("model")
        self.pending = PlanFolder(self.path / "pending", self.dim)
        if self.encoder is not None:
            check_identity(self.identity, self.encoder, str(self.path))
        if header is not self._header:
            self._header = None


def header_of(encoder: ImageEncoder) -> dict[str, Any]:
    """What an index says of the model that it is built with."""
    weights, settings = encoder.identity()
    unification = asdict(encoder.unification)
    model = {"name": encoder.name, "source": getattr(encoder, "source", None), "unification": unification}
    return {"format": FORMAT, "dim": encoder.dim, "weights": weights, "settings": dict(settings), "model": model}


def identity_in(header: Any, place: str) -> tuple[ModelIdentity, int]:
    """Identity of the model and dimension in a header.

    Raises:
        GalleryIndexError: it is none.
    """
    kinds = {"format": int, "dim": int, "weights": str, "settings": dict}
    if not isinstance(header, dict) or any(type(header.get(key)) is not kind for key, kind in kinds.items()):
        raise GalleryIndexError(f"{place} is damaged or of no gallery index: build it again")
    if header["format"] != FORMAT or not 0 < header["dim"] <= LARGEST_DIM:
        raise GalleryIndexError(f"{place} is not of format {FORMAT}: build the index again")
    return ModelIdentity(header["weights"], header["settings"]), header["dim"]


def check_identity(own: ModelIdentity, encoder: ImageEncoder, place: str) -> None:
    """Compares an index's model with another one.

    Raises:
        GalleryIndexError: descriptors of the two cannot be compared; the message names what differs.
    """
    other = encoder.identity()
    differing = [
        f"{key} is {own.settings.get(key)!r} in the index, {other.settings.get(key)!r} now"
        for key in sorted({*own.settings, *other.settings})
        if own.settings.get(key) != other.settings.get(key)
    ]
    if own.weights != other.weights:
        differing.insert(0, f"weights {own.weights[:12]} in the index, {other.weights[:12]} now")
    if differing:
        raise GalleryIndexError(
            f"{place} was built with another model, so its distances would mean nothing: "
            f"{'; '.join(differing)}. Use the weights and configuration it was built with, or build another index"
        )
