"""A gallery on disk, ready to be searched: a faiss index for every occlusion type, and what is known of each image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.retrieval.distances import distance_blocks
from oamn_plugin.retrieval.matching import matched_blocks, matched_distances
from oamn_plugin.retrieval.ranking import evaluate_ranking
from oamn_plugin.retrieval.result import RankingResult
from oamn_plugin.retrieval.unification import QueryDescriptors, Unification
from oamn_plugin.search import faiss_files
from oamn_plugin.search.encoder import ImageEncoder, ModelIdentity
from oamn_plugin.search.faiss_files import IVFPQ
from oamn_plugin.search.gallery import GalleryImage, numbered
from oamn_plugin.search.index_folder import GalleryIndexError, IndexFolder
from oamn_plugin.search.index_plan import Plan


class Match(NamedTuple):
    """A gallery image that a search found."""

    image: GalleryImage
    distance: float
    """Squared Euclidean distance of the unit descriptors, 0 to 4, or the matched one; an estimate in an approximate
    index."""
    type_name: str
    """The occlusion type that the gallery image was compared under; of a matched one that which explains it best."""
    posterior: Mapping[str, float] = {}
    """Share of each occlusion type in a matched distance; empty otherwise."""


class GalleryIndex:
    """A searchable gallery in a folder, which is made when the first images are added.

    Exact by default: distances are those of :func:`oamn_plugin.retrieval.evaluate_ranking`, to the bit. A build that is
    killed at any moment is carried on by the next call and ends with the same files. Only one process may write at a
    time; searching may go on meanwhile.

    Args:
        folder: where the index lies.
        encoder: describes images. None: searches descriptors only, nothing can be added.
        approximate: for a new index: quantise instead of storing descriptors. An existing one knows what it is.
        progress: show progress bars.

    Raises:
        GalleryIndexError: the index was built with other weights or settings, or is none.

    Example::

        index = GalleryIndex("gallery.index", encoder)
        report = index.add(read_gallery("crops/"))
        queries = encoder.queries([encoder.read("snapshot.jpg")[None]])
        for match in index.search(queries, k=5)[0]:
            print(match.image.path, match.distance)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        encoder: ImageEncoder | None = None,
        *,
        approximate: IVFPQ | None = None,
        progress: bool = False,
    ) -> None:
        self.encoder, self.progress = encoder, progress
        self._files = IndexFolder(Path(folder).expanduser(), encoder, approximate)
        self._loaded: tuple[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._files.images)

    def __repr__(self) -> str:
        kind = "exact" if self.approximate is None else str(self.approximate)
        types = ", ".join(self.types)
        return f"{type(self).__name__}({str(self.folder)!r}, {len(self)} images, {kind}, types {types})"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._files.path

    @property
    def identity(self) -> ModelIdentity:
        """The weights and settings it was built with."""
        return self._files.identity

    @property
    def model(self) -> dict[str, Any] | None:
        """Name, source and unification of the model it was built with; None in an index that does not say."""
        return self._files.model if isinstance(self._files.model, dict) else None

    @property
    def approximate(self) -> IVFPQ | None:
        """How descriptors are quantised; None: they are not."""
        return self._files.approximate

    @property
    def images(self) -> list[GalleryImage]:
        """Its images, in the order they were added."""
        return list(self._files.images.values())

    @property
    def types(self) -> tuple[str, ...]:
        """The occlusion types that are built."""
        return self._files.types

    @property
    def unreadable(self) -> dict[str, str]:
        """Path to reason of the images that could not be read; adding them again tries again."""
        return self._files.unreadable

    @property
    def unfinished(self) -> bool:
        """Whether a change was interrupted; the next one carries on with it first."""
        return self._files.pending.load() is not None

    def add(self, images: Iterable[GalleryImage], types: Sequence[str] | None = None) -> int:
        """Adds the images that the index does not have yet; first carries on with an interrupted build.

        Args:
            images: an image is known by its path.
            types: occlusion types to build; None: those already built, or all that the encoder has.

        Returns:
            How many images were added. Those that cannot be read are in :attr:`unreadable`.

        Raises:
            GalleryIndexError: no encoder, an unknown type, or another process is writing.
        """
        wanted = self._wanted(types)
        with self._files.writing():
            tried = self._resume()
            self._build_types([name for name in wanted if name not in self.types])
            names = tuple(name for name in OCCLUSION_TYPES if name in (*wanted, *self.types))
            known = {image.path for image in self.images} | tried
            fresh = {image.path: image for image in images if image.path not in known}
            before, first = len(self), max(self._files.images, default=-1) + 1
            if fresh:
                if self.approximate is not None and not self.types:
                    self.approximate.check(self._files.dim, len(fresh))
                self._carry_out(Plan(tuple(enumerate(fresh.values(), start=first)), names))
            return len(self) - before

    def build(self, types: Sequence[str] | None = None) -> None:
        """Describes the images for further occlusion types; None: all that the encoder has. See :meth:`add`."""
        with self._files.writing():
            self._resume()
            self._build_types([name for name in self._wanted(types, default_all=True) if name not in self.types])

    def remove(self, paths: Iterable[str | os.PathLike[str]]) -> int:
        """Takes images out and returns how many there were. Needs no encoder unless a build was interrupted."""
        gone = {os.path.abspath(path) for path in paths}
        with self._files.writing():
            self._resume()
            numbers = tuple(number for number, image in self._files.images.items() if image.path in gone)
            if numbers:
                self._carry_out(Plan(removed=numbers))
            return len(numbers)

    def search(self, queries: QueryDescriptors, k: int = 20, *, plain: bool = False) -> list[list[Match]]:
        """The nearest images of every query, nearest first; equal distances in the gallery's order.

        Args:
            queries: Q described queries.
            k: matches a query; fewer if the gallery is smaller.
            plain: compare un-occluded images with each other, whatever the unification.

        Returns:
            Q lists. A type that is not built yet is built, if there is an encoder.

        Raises:
            GalleryIndexError: an empty index, or a type that is missing and cannot be built.
        """
        if not len(self):
            raise GalleryIndexError(f"{self.folder} holds no image yet: run index first")
        if self.unification.kind == "matched" and not plain:
            return self._search_matched(queries.descriptors.numpy(), k)
        names = self.search_types(queries, plain)
        found: list[list[Match]] = [[] for _ in names]
        for name in dict.fromkeys(names):
            rows = [row for row, own in enumerate(names) if own == name]
            for row, matches in zip(rows, self._search_type(name, queries.descriptors[rows].numpy(), k), strict=True):
                found[row] = matches
        return found

    def search_types(self, queries: QueryDescriptors, plain: bool = False) -> list[str]:
        """The occlusion type that each of the queries is compared under, where it is not matched."""
        typed = self.unification.kind == "typed" and not plain
        return queries.type_names if typed else [NONE] * len(queries.types)

    @property
    def unification(self) -> Unification:
        """How queries and gallery are unified: as the encoder says, plainly without one."""
        return Unification() if self.encoder is None else self.encoder.unification

    def _search_matched(self, query: np.ndarray, k: int) -> list[list[Match]]:
        matching = self.unification.matching()
        sides = {name: self.descriptors(name) for name in matching.types}
        images, found = self.images, []
        for start, block in matched_blocks(query, sides, matching):
            for row, (columns, distances) in enumerate(nearest_rows(block.numpy(), k), start=start):
                own = torch.from_numpy(np.stack([sides[name][columns] for name in matching.types]))
                _, posterior = matched_distances(
                    torch.from_numpy(query[row : row + 1]), own, matching.log_prior(), matching.temperature
                )
                pairs = zip(columns.tolist(), distances.tolist(), posterior[0].tolist(), strict=True)
                found.append([_matched(images[n], d, matching.types, shares) for n, d, shares in pairs])
        return found

    def descriptors(self, name: str) -> np.ndarray:
        """(G, D) descriptors of a type in the order of :attr:`images`; of an exact index only."""
        numbers, vectors = self._exact(name)
        if numbers.tolist() != list(self._files.images):
            raise GalleryIndexError(f"some images could not be read for {name}, but for other types: build them again")
        return vectors.copy()  # they lie in the faiss index, which goes when the next type is loaded

    def evaluate(
        self, queries: QueryDescriptors, images: Sequence[GalleryImage], *, plain: bool = False
    ) -> RankingResult:
        """The evaluator's scores of queries whose identities and cameras are known, as are the gallery's.

        Args:
            queries: Q described queries.
            images: the same Q images. Without cameras, queries and gallery count as taken by two.
            plain: without unification.

        Raises:
            ValueError: no query with a match. GalleryIndexError: an approximate index.
        """
        query_pids, gallery_pids = numbered([i.pid for i in images], [i.pid for i in self.images])
        query_camids, gallery_camids = numbered(
            [i.camid or "query" for i in images], [i.camid or "gallery" for i in self.images]
        )
        labels = query_pids, gallery_pids, query_camids, gallery_camids
        if self.unification.kind == "matched" and not plain:
            matching = self.unification.matching()
            sides = {name: self.descriptors(name) for name in matching.types}
            return evaluate_ranking(queries.descriptors, sides, *labels, matching=matching)
        names = self.search_types(queries, plain)
        gallery = {name: partial(self.descriptors, name) for name in names}
        return evaluate_ranking(queries.descriptors, gallery, *labels, query_types=names)

    def _search_type(self, name: str, descriptors: np.ndarray, k: int) -> Iterator[list[Match]]:
        self._ensure(name)
        images = self._files.images
        for numbers, distances in self._nearest(name, descriptors, k):
            pairs = zip(numbers.tolist(), distances.tolist(), strict=True)
            # -1 fills up short lists; other unknown numbers belong to a change that is under way
            yield [Match(images[n], max(0.0, d), name) for n, d in pairs if n in images][:k]

    def _nearest(self, name: str, descriptors: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Image numbers and distances of each query."""
        if self.approximate is None:
            numbers, vectors = self._exact(name)
            yield from ((numbers[rows], values) for rows, values in exact_search(descriptors, vectors, k))
            return
        index = self._load(name)
        index.nprobe = self.approximate.probes
        spare = max(0, index.ntotal - len(self))
        distances, numbers = index.search(np.ascontiguousarray(descriptors, np.float32), k + spare)
        yield from zip(numbers, distances, strict=True)

    def _exact(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and descriptors of the images of a type; rows of an unfinished change are left out."""
        if self.approximate is not None:
            raise GalleryIndexError(f"{self.folder} is approximate: it does not hold the descriptors themselves")
        self._ensure(name)
        index = self._load(name)
        numbers, vectors = faiss_files.ids_of(index), faiss_files.vectors_of(index)
        known = np.isin(numbers, np.fromiter(self._files.images, dtype=np.int64))
        return (numbers, vectors) if known.all() else (numbers[known], vectors[known])

    def _ensure(self, name: str) -> None:
        if name in self.types:
            return
        if self.encoder is None:
            raise GalleryIndexError(f"{self.folder} has no descriptors of type {name}: run index --types {name}")
        self.build([name])

    def _load(self, name: str) -> Any:
        """The faiss index of a type; one type is in memory at a time."""
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None
            self._loaded = name, self._files.read_type(name)
        return self._loaded[1]

    def _wanted(self, types: Sequence[str] | None, default_all: bool = False) -> tuple[str, ...]:
        possible = OCCLUSION_TYPES if self.encoder is None else self.encoder.types
        if types is None:
            return possible if default_all or not self.types else self.types
        unknown = [name for name in types if name not in possible]
        if unknown:
            raise GalleryIndexError(f"cannot describe the types {', '.join(unknown)}: choose of {', '.join(possible)}")
        return tuple(types)

    def _build_types(self, names: Sequence[str]) -> None:
        if names and len(self):
            self._carry_out(Plan(tuple(self._files.images.items()), tuple(names), new=False))

    def _carry_out(self, plan: Plan) -> None:
        self._loaded = None
        self._files.carry_out(plan, self.encoder, self.progress)

    def _resume(self) -> set[str]:
        """Carries on with an interrupted change; returns the paths that it was about."""
        self._loaded = None
        self._files.read_images()
        plan = self._files.pending.load()
        if plan is None:
            return set()
        self._files.finish(plan, self.encoder, self.progress)
        return {image.path for _, image in plan.images}


def exact_search(query: np.ndarray, gallery: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and distances of the k nearest gallery rows of each query, by the evaluator's own distances.

    Args:
        query: (Q, D) float32.
        gallery: (G, D) float32.
        k: how many; fewer if the gallery is smaller. Equal distances come in the gallery's order, at the end too.
    """
    for _, block in distance_blocks(query, gallery):
        yield from nearest_rows(block.numpy(), k)


def nearest_rows(block: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns and values of the k smallest of each row of distances (R, G), in a stable order."""
    for row in block:
        near = np.arange(len(row))
        if k < len(row):
            near = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1])
        order = near[np.argsort(row[near], kind="stable")][:k]
        yield order, row[order]


def _matched(image: GalleryImage, distance: float, types: Sequence[str], posterior: Sequence[float]) -> Match:
    best = types[int(np.argmax(posterior))]
    return Match(image, max(0.0, distance), best, dict(zip(types, posterior, strict=True)))
