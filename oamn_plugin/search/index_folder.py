"""The folder of a gallery index: its files, and the changes that are made to them so that no kill can harm them.

index.json        weights, settings, dimension, kind, and how its model is loaded
images.json       what is known of every image, by number; written last, an image is in the index once it is here
unreadable.json   path to reason
types/NAME.faiss  a faiss index for each occlusion type that is built
pending/          the change that is being made, see :mod:`oamn_plugin.search.index_plan`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from oamn_plugin.errors import ExpectedError
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.search import faiss_files
from oamn_plugin.search.encoder import ImageEncoder, ModelIdentity
from oamn_plugin.search.faiss_files import IVFPQ, IndexFileError
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index_plan import Plan, PlanFolder, read_json, write_json

FORMAT = 1
_KEYS = {"weights", "settings", "dim", "approximate"}


class GalleryIndexError(ExpectedError, ValueError):
    """An index that does not fit what is asked of it; the message says how to go on."""


class IndexFolder:
    """Files of a gallery index.

    Args:
        folder: where they lie; made by the first change.
        encoder: what describes images, None for reading only.
        approximate: kind of a new index; None: exact.

    Raises:
        GalleryIndexError: no index there and no encoder to begin one, or one of another model or kind.
    """

    def __init__(self, folder: Path, encoder: ImageEncoder | None, approximate: IVFPQ | None) -> None:
        self.path = folder
        self.pending = PlanFolder(folder / "pending")
        self.images: dict[int, GalleryImage] = {}
        self._header: dict[str, Any] | None = None
        header = read_json(folder / "index.json")
        if header is None:
            header = self._header = self._begin(encoder, approximate)
        if not isinstance(header, dict) or header.get("format") != FORMAT or not header.keys() >= _KEYS:
            raise GalleryIndexError(f"{folder} is no gallery index of format {FORMAT}: build it again")
        if approximate is not None and header["approximate"] != vars(approximate):
            raise GalleryIndexError(f"{folder} is an index of another kind: choose another folder")
        self.identity = ModelIdentity(header["weights"], header["settings"])
        self.dim: int = header["dim"]
        self.model: Any = header.get("model")
        self.approximate = None if header["approximate"] is None else IVFPQ(**header["approximate"])
        if encoder is not None:
            self._check_encoder(encoder)
        self.read_images()

    @property
    def types(self) -> tuple[str, ...]:
        """The occlusion types that are built."""
        return tuple(name for name in OCCLUSION_TYPES if self.type_path(name).exists())

    @property
    def unreadable(self) -> dict[str, str]:
        """Path to reason."""
        return read_json(self.path / "unreadable.json") or {}

    def type_path(self, name: str) -> Path:
        """The faiss file of a type."""
        return self.path / "types" / f"{name}.faiss"

    def read_type(self, name: str) -> Any:
        """The faiss index of a type."""
        return faiss_files.read(self.type_path(name), self.dim)

    def read_images(self) -> None:
        """Reads what is known of the images; another process may have changed it."""
        content = read_json(self.path / "images.json") or []
        try:
            self.images = {int(row[0]): GalleryImage(*row[1:]) for row in content}
        except (TypeError, ValueError, LookupError) as error:
            raise IndexFileError(f"{self.path / 'images.json'} is damaged: build the index again") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the lock of the one process that may write.

        Raises:
            GalleryIndexError: another one holds it.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such locks: two writers at once are the user's care
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GalleryIndexError(f"another process is writing to {self.path}: wait for it to end") from None
            yield

    def carry_out(self, plan: Plan, encoder: ImageEncoder | None, progress: bool) -> None:
        """Makes a change, the first of which makes the index. The caller holds the lock."""
        if self._header is not None:
            write_json(self.path / "index.json", self._header)
            self._header = None
        self.pending.begin(plan)
        self.finish(plan, encoder, progress)

    def finish(self, plan: Plan, encoder: ImageEncoder | None, progress: bool) -> None:
        """Carries a change to its end from wherever it is: every step may be repeated without harm.

        Raises:
            GalleryIndexError: images are to be described, but there is no encoder.
        """
        if plan.images:
            if encoder is None:
                raise GalleryIndexError(f"{self.path} needs its model to go on with an interrupted build")
            self.pending.encode(plan, encoder, progress)
        if plan.removed:
            gone = set(plan.removed)
            self._write_images({number: image for number, image in self.images.items() if number not in gone})
            for name in self.types:
                self._drop(name, plan.removed)
        reasons: dict[int, str] = {}
        for name in plan.types:
            reasons.update(self._merge(name, plan))
        if plan.images:
            self._note(plan, reasons)
        self.pending.finish()

    def _note(self, plan: Plan, reasons: dict[int, str]) -> None:
        """Writes down which images could be read and which not."""
        unreadable = self.unreadable
        for number, image in plan.images:
            unreadable.pop(image.path, None)
            if number in reasons:
                unreadable[image.path] = reasons[number]
        write_json(self.path / "unreadable.json", unreadable)
        if plan.new:
            self._write_images({**self.images, **{n: image for n, image in plan.images if n not in reasons}})

    def _write_images(self, images: dict[int, GalleryImage]) -> None:
        write_json(self.path / "images.json", [[number, *image] for number, image in images.items()])
        self.images = images

    def _merge(self, name: str, plan: Plan) -> dict[int, str]:
        """Puts a type's finished blocks into its index; returns why images cannot be read."""
        reasons: dict[int, str] = {}
        exists = self.type_path(name).exists()
        index = self.read_type(name) if exists else self._empty(name, plan)
        present = faiss_files.ids_of(index)
        for block in self.pending.blocks(plan, name):
            reasons.update(block.unreadable)
            fresh = ~np.isin(block.ids, present)
            if fresh.any():
                index.add_with_ids(np.ascontiguousarray(block.descriptors[fresh]), block.ids[fresh])
        if index.ntotal != len(present) or not exists:
            faiss_files.write(self.type_path(name), index)
        return reasons

    def _empty(self, name: str, plan: Plan) -> Any:
        if self.approximate is None:
            return faiss_files.new_flat(self.dim)
        return self.approximate.train(np.concatenate([b.descriptors for b in self.pending.blocks(plan, name)]))

    def _drop(self, name: str, numbers: Sequence[int]) -> None:
        index = self.read_type(name)
        if index.remove_ids(np.array(numbers, dtype=np.int64)):
            faiss_files.write(self.type_path(name), index)

    def _begin(self, encoder: ImageEncoder | None, approximate: IVFPQ | None) -> dict[str, Any]:
        if encoder is None:
            raise GalleryIndexError(f"there is no gallery index in {self.path}: build one with oamn search index")
        if self.path.exists() and [item for item in self.path.iterdir() if not item.name.startswith(".")]:
            raise GalleryIndexError(f"{self.path} is not empty and no gallery index: choose another folder")
        if approximate is not None:
            approximate.check(encoder.dim)
        weights, settings = encoder.identity()
        kind = None if approximate is None else vars(approximate)
        model = {"name": encoder.name, "source": encoder.source, "unification": asdict(encoder.unification)}
        return {"format": FORMAT, "dim": encoder.dim, "approximate": kind, "weights": weights, "settings": settings,
                "model": model}  # fmt: skip

    def _check_encoder(self, encoder: ImageEncoder) -> None:
        own, other = self.identity, encoder.identity()
        differing = [
            f"{key} is {own.settings.get(key)!r} in the index, {other.settings.get(key)!r} now"
            for key in sorted({*own.settings, *other.settings})
            if own.settings.get(key) != other.settings.get(key)
        ]
        if own.weights != other.weights:
            differing.insert(0, f"weights {own.weights[:12]} in the index, {other.weights[:12]} now")
        if differing:
            raise GalleryIndexError(
                f"{self.path} was built with another model, so its distances would mean nothing: "
                f"{'; '.join(differing)}. Use the weights and configuration it was built with, or build another index"
            )
