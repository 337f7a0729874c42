"""The quick search of an index: a quantised copy of its descriptors in inverted lists, which names candidates.

Descriptors lie in lists around centroids (Jegou et al., TPAMI 2011), each as one bit a number (RaBitQ: Gao and Long,
SIGMOD 2024). They are rotated at random first: the axes of learned descriptors differ in variance, and without it a bit
of an axis that hardly varies would count as much as one that tells people apart. The lists nearest to a query are
looked into, and the candidates that the codes name are compared by the exact formula on the descriptors themselves,
which stay on disk. Each occlusion type that is compared has a copy of its own: docs/search.md says why.

The copies can be made again from the index at any time. Images that they do not hold yet are candidates of every query.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.search.descriptor_files import Rows
from oamn_plugin.search.files import GalleryIndexError, IndexFileError, read_json, replacing, signature, write_json
from oamn_plugin.search.tuning import Trial, TuningSet, tried

MIN_IMAGES = 1000
"""Fewer images than this are searched exactly, which is quick enough and leaves nothing to learn from."""
_QUERY_BITS = 4  # of a number of the query, while codes are compared; 8 take longer and find no more
_ROUNDS = 5  # of k-means; more move recall little
_PER_LIST = 39  # descriptors that train a list
_UNCOVERED = 0.01  # share of images, and
_FEW = 1000  # number of them, that may be left to exact comparison before they are taken in
_GROWTH = 4.0
_HEADER = struct.Struct("<iqqq?i")  # d, ntotal, two unused numbers, is_trained, metric
_STEP = 1 << 16


def check_possible(images: int) -> None:
    """Makes sure that a gallery of so many images can be quantised.

    Raises:
        GalleryIndexError: too few images, or faiss is missing.
    """
    if images < MIN_IMAGES:
        raise GalleryIndexError(
            f"an approximate index pays from {MIN_IMAGES} images, here are {images}: search exactly"
        )
    _faiss()


class Quantised:
    """The quantised copies that belong to an index, one for each type that is compared.

    Args:
        folder: of the index.
        dim: numbers in a descriptor.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.dim, self._folder, self._settings = dim, folder / "approximate", folder / "approximate.json"
        self._codes: dict[str, Codes] = {}

    @property
    def chosen(self) -> Trial | None:
        """The setting that searches use; None: there is no copy.

        Raises:
            IndexFileError: damaged.
        """
        if not self._settings.exists() or not self.types:
            return None
        try:
            trial = Trial(**read_json(self._settings)["chosen"])
            if not (0 < trial.probes < 1 << 24 and 0 < trial.candidates < 1 << 24):
                raise ValueError("out of range")
        except (TypeError, LookupError, ValueError) as error:
            raise IndexFileError(f"{self._settings} is damaged: remove it; index --approximate makes it") from error
        return trial

    @property
    def types(self) -> list[str]:
        """The types that have a copy."""
        return [name for name in OCCLUSION_TYPES if self._of(name).path.exists()]

    def build(self, sides: Mapping[str, Rows]) -> None:
        """Makes the copies of some types.

        Raises:
            GalleryIndexError: too few images, or faiss is missing.
        """
        for name, rows in sides.items():
            check_possible(len(rows.numbers))
            self._of(name).build(rows)

    def update(self, sides: Mapping[str, Rows]) -> None:
        """Takes in what has been added and takes out what has been removed, once it is more than a few images."""
        for name, rows in sides.items():
            self._of(name).update(rows)

    def tune(self, target_recall: float, known: np.ndarray, tuning: TuningSet) -> list[Trial]:
        """Tries settings and keeps the cheapest that surely reaches the recall asked for, or else the best.

        Returns:
            The trials, by their cost.
        """

        def search(row: int, probes: int, candidates: int) -> np.ndarray:
            return self.candidates(tuning.queries[row], known, tuning.handicaps[row], probes, candidates)

        trials = tried(search, max(self._of(name).lists for name in self.types), target_recall, tuning)
        good = [trial for trial in trials if trial.at_least >= target_recall]
        chosen = good[0] if good else max(trials, key=lambda trial: trial.recall)
        rows = [list(asdict(trial).values()) for trial in trials]
        write_json(self._settings, {"chosen": asdict(chosen), "target": target_recall, "trials": rows})
        return trials

    def candidates(
        self, query: np.ndarray, known: np.ndarray, handicaps: Mapping[str, float], probes: int, count: int
    ) -> np.ndarray:
        """Numbers of the images that may be among the nearest, ascending.

        Args:
            query: (D,).
            known: (G,) numbers of the images there are, ascending.
            handicaps: the types that are compared, and what is added to a distance of each.
            probes: lists that are looked into.
            count: images that the codes name; those that are not quantised yet come on top.
        """
        parts = [self._of(name).nearest(query, probes, count) for name in handicaps]
        numbers = np.concatenate([found for found, _, _ in parts])
        distances = np.concatenate([part[1] + added for part, added in zip(parts, handicaps.values(), strict=True)])
        numbers = numbers[np.argsort(distances, kind="stable")]
        first = np.unique(numbers, return_index=True)[1]  # an image's nearest variant stands for it
        numbers = numbers[np.sort(first)[:count]]
        uncovered = known[np.searchsorted(known, min(last for _, _, last in parts), side="right") :]
        return np.union1d(numbers[is_in(numbers, known)], uncovered)

    def _of(self, name: str) -> Codes:
        return self._codes.setdefault(name, Codes(self._folder / f"{name}.faiss", self.dim))


class Codes:
    """The quantised descriptors of one type.

    Args:
        path: ``NAME.faiss``.
        dim: numbers in a descriptor.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path, self.dim = path, dim
        self._loaded: tuple[tuple[int, ...], Any, np.ndarray] | None = None

    @property
    def lists(self) -> int:
        """How many inverted lists there are."""
        return int(_inverted(self._load()[0]).nlist)

    def build(self, rows: Rows) -> None:
        """Makes the file."""
        self.path.parent.mkdir(exist_ok=True)
        self._write(_filled(self._trained(rows.descriptors), rows, 0))

    def update(self, rows: Rows) -> None:
        """Brings the file up to date once more than a few images differ; too few images are left without one."""
        index, numbers = self._load()
        if len(rows.numbers) < MIN_IMAGES:
            self.path.unlink(missing_ok=True)
            return
        gone = np.setdiff1d(numbers, rows.numbers, assume_unique=True)
        covered = int(np.searchsorted(rows.numbers, numbers[-1], side="right")) if len(numbers) else 0
        changed = len(gone) + len(rows.numbers) - covered
        if changed <= max(_FEW, _UNCOVERED * len(rows.numbers)):
            return
        if _lists(len(rows.numbers)) > _GROWTH**0.5 * _inverted(index).nlist:
            self.build(rows)
            return
        if len(gone):
            index.remove_ids(gone)
        self._write(_filled(index, rows, covered))

    def nearest(self, query: np.ndarray, probes: int, count: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Numbers and estimated distances of what is nearest by the codes, and the largest number there is."""
        index, numbers = self._load()
        lists = _inverted(index)
        lists.nprobe, lists.qb = min(probes, lists.nlist), _QUERY_BITS
        distances, found = index.search(np.ascontiguousarray(query[None], np.float32), min(count, index.ntotal))
        return found[0], distances[0], int(numbers[-1]) if len(numbers) else -1

    def _trained(self, descriptors: np.ndarray) -> Any:
        lists = _lists(len(descriptors))
        index = _faiss().index_factory(self.dim, f"RR{self.dim},IVF{lists},RaBitQfs")
        clustering = _inverted(index).cp
        clustering.min_points_per_centroid = 1  # it would warn on stderr
        clustering.niter = _ROUNDS
        step = max(1, len(descriptors) // (_PER_LIST * lists))
        index.train(np.ascontiguousarray(descriptors[::step], dtype=np.float32))
        return index

    def _load(self) -> tuple[Any, np.ndarray]:
        """The faiss index and the numbers of its images, ascending."""
        found = signature(self.path)
        if self._loaded is None or self._loaded[0] != found:
            index = read(self.path, self.dim)
            self._loaded = found, index, _numbers_in(index)
        return self._loaded[1:]

    def _write(self, index: Any) -> None:
        faiss = _faiss()
        with replacing(self.path) as aside:
            faiss.write_index(index, str(aside))


def is_in(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of a few numbers are among many, which ascend.

    >>> is_in(np.array([3, 9, -1]), np.array([1, 3, 5])).tolist()
    [True, False, False]
    """
    if not len(known):
        return np.zeros(len(numbers), dtype=bool)
    return known[np.minimum(np.searchsorted(known, numbers), len(known) - 1)] == numbers


def read(path: Path, dim: int) -> Any:
    """Reads a faiss index of D-dimensional descriptors, rotated and in inverted lists.

    Dimension and number of images are compared with the size of the file before faiss, which trusts its input, sees it.

    Raises:
        IndexFileError: missing, cut off, or of another kind or dimension.
    """
    again = "remove it and run index --approximate"
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(4 + _HEADER.size)
    except OSError as error:
        raise IndexFileError(f"cannot read the index file {path}: {error.strerror}") from error
    plausible = len(head) == 4 + _HEADER.size and head[:4] == b"IxPT"
    if plausible:
        d, total, *_ = _HEADER.unpack_from(head, 4)
        plausible = d == dim and 0 <= total * 8 < size
    if not plausible:
        raise IndexFileError(f"{path} is damaged or no index of {dim} numbers an image: {again}")
    try:
        return _faiss().read_index(str(path))
    except RuntimeError as error:
        raise IndexFileError(f"{path} is damaged ({str(error).splitlines()[0][:200]}): {again}") from error


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise GalleryIndexError("an approximate index needs faiss: pip install faiss-cpu") from None
    return faiss


def _lists(count: int) -> int:
    """Inverted lists for so many descriptors. More of them make a query quantise itself more often than it pays."""
    return max(1, min(int(count**0.5), count // _PER_LIST))


def _inverted(index: Any) -> Any:
    """The inverted lists behind the rotation."""
    return _faiss().downcast_index(index.index)


def _filled(index: Any, rows: Rows, start: int) -> Any:
    """The index with the rows from ``start`` on added."""
    for first in range(start, len(rows.numbers), _STEP):
        part = slice(first, first + _STEP)
        index.add_with_ids(np.ascontiguousarray(rows.descriptors[part], dtype=np.float32), rows.numbers[part])
    return index


def _numbers_in(index: Any) -> np.ndarray:
    """(N,) numbers of the images in an index, ascending."""
    lists, faiss = _inverted(index).invlists, _faiss()
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
        for number in range(lists.nlist)
        if lists.list_size(number)
    ]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
