"""A gallery on disk, ready to be searched: descriptors for every occlusion type, and what is known of each image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.retrieval.ranking import evaluate_ranking
from oamn_plugin.retrieval.result import RankingResult
from oamn_plugin.retrieval.unification import QueryDescriptors
from oamn_plugin.search.descriptor_files import Rows
from oamn_plugin.search.encoder import ImageEncoder, ModelIdentity
from oamn_plugin.search.faiss_files import Quantised, check_possible, is_in
from oamn_plugin.search.files import GalleryIndexError, read_json, signature, write_json
from oamn_plugin.search.gallery import GalleryImage, check_labels, numbered_labels
from oamn_plugin.search.index_folder import IndexFolder
from oamn_plugin.search.index_plan import Changes, Known, Plan, check_files, missing_files, stamp_of
from oamn_plugin.search.nearest import (
    Match,
    compared_groups,
    compared_types,
    exact_nearest,
    matches_of,
    own_pairs,
    ranked,
    variants_of,
)
from oamn_plugin.search.searching import Searching
from oamn_plugin.search.tuning import TOP, Trial, handicaps_of, tuning_set
from oamn_plugin.search.workers import follow, leading, rank_and_size


class GalleryIndex(Searching):
    """A searchable gallery in a folder, which is made when the first images are added.

    Exact: distances are those of :func:`oamn_plugin.retrieval.evaluate_ranking`, to the bit. :meth:`quantise` adds a
    quick search that may miss some. A build that is killed at any moment is carried on by the next call and ends with
    the same files. Only one process may write at a time; others may search meanwhile, and see the newer state at their
    next search.

    Args:
        folder: where the index lies.
        encoder: describes images. None: searches descriptors only, nothing can be added.
        progress: show progress bars.

    Attributes:
        folder: where it lies.
        changes: what the last :meth:`add` did.

    Raises:
        GalleryIndexError: the index was built with other weights or settings, or is none.

    Example::

        index = GalleryIndex("gallery.index", encoder)
        index.add(read_gallery("crops/"))
        queries = encoder.queries([encoder.read("snapshot.jpg")[None]])
        for match in index.search(queries, k=5)[0]:
            print(match.image.path, match.distance)
    """

    def __init__(
        self, folder: str | os.PathLike[str], encoder: ImageEncoder | None = None, *, progress: bool = False
    ) -> None:
        self.encoder, self.progress, self.changes = encoder, progress, Changes()
        self.folder = Path(folder).expanduser()
        self._files = IndexFolder(self.folder, encoder)
        self._quantised = Quantised(self.folder, self._files.dim)
        self._sides: dict[str, tuple[Any, Rows]] = {}

    def __len__(self) -> int:
        return len(self._files.known)

    def load_note(self, name: str) -> Any:
        """What :meth:`save_note` was given; None: nothing."""
        return read_json(self.folder / f"{name}.json")

    def save_note(self, name: str, content: Any) -> None:
        """Keeps plain JSON values with the index."""
        write_json(self.folder / f"{name}.json", content)

    @property
    def identity(self) -> ModelIdentity:
        """The weights and settings it was built with."""
        return self._files.identity

    @property
    def model(self) -> dict[str, Any] | None:
        """Name, source and unification of the model it was built with; None in an index that does not say."""
        return self._files.model if isinstance(self._files.model, dict) else None

    @property
    def approximate(self) -> Trial | None:
        """How the quick search was tuned and what it finds; None: there is none, searches are exact."""
        return self._quantised.chosen

    @property
    def images(self) -> list[GalleryImage]:
        """Its images, in the order they were added."""
        return [known.image for known in self._files.known.values()]

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

        Of the others, those whose file has been replaced, or that lack a type, are encoded anew, and identity, camera
        and further columns become those given. Under torchrun every process calls this, and they share the work.

        Args:
            images: an image is known by its path.
            types: occlusion types to build; None: those already built, or all that the encoder has.

        Returns:
            How many images were added; :attr:`changes` says more. Those that cannot be read are in :attr:`unreadable`.

        Raises:
            GalleryIndexError: no encoder, an unknown type, another process is writing, or no image can be read.
        """
        wanted = self._wanted(types)
        if self._follows():
            return 0
        with leading(), self._files.writing():
            before = {image.path for image in self.images}
            tried = self._resume()
            self._build_types([name for name in wanted if name not in self.types])
            names = tuple(name for name in OCCLUSION_TYPES if name in (*wanted, *self.types))
            absolute = (image._replace(path=os.path.abspath(image.path)) for image in images)
            given = {image.path: image for image in absolute}
            replaced, relabelled = self._take_in(given, names, tried)
            added = sum(image.path not in before for image in self.images)  # those of an interrupted build too
            self.changes = Changes(added, replaced, relabelled)
            if given and not len(self):
                path, reason = next(iter(self.unreadable.items()), ("", "all of them were removed"))
                raise GalleryIndexError(f"none of the {len(given)} images could be read, such as {path}: {reason}")
            self._update_quantised()
            return self.changes.added

    def _take_in(self, given: dict[str, GalleryImage], names: tuple[str, ...], tried: set[str]) -> tuple[int, int]:
        """Encodes and labels what is new; how many images were replaced, and how many only labelled anew."""
        known = {one.image.path: (number, one) for number, one in self._files.known.items()}
        stamps = {path: stamp_of(path) for path in given}
        lacking = self._lacking()
        replaced = {
            path for path, stamp in stamps.items() if path in known and stamp[0] >= 0
            and (stamp != known[path][1].stamp or known[path][0] in lacking)
        }  # fmt: skip
        other = {p for p in known.keys() & given.keys() if known[p][1].image != given[p]}
        if other:
            labels = {known[path][0]: Known(given[path], known[path][1].stamp) for path in other}
            self._files.write_images({**self._files.known, **labels})
        encoded = [p for p in given if p in replaced or (p not in known and p not in tried)]
        if encoded:
            rows = [Known(given[path], stamps[path]) for path in encoded]
            gone = tuple(sorted(known[path][0] for path in replaced))
            plan = Plan(tuple(enumerate(rows, start=self._files.free_number())), names, removed=gone)
            self._files.carry_out(plan, self.progress)
        now = {image.path for image in self.images}
        return len(now & replaced), len(other - replaced)

    def build(self, types: Sequence[str] | None = None) -> None:
        """Describes the images for further occlusion types; None: all that the encoder has. See :meth:`add`."""
        if self._follows():
            return
        with leading(), self._files.writing():
            self._resume()
            self._build_types([name for name in self._wanted(types, default_all=True) if name not in self.types])

    def remove(self, paths: Iterable[str | os.PathLike[str]]) -> int:
        """Takes images out and returns how many there were. Needs no encoder unless a build was interrupted.

        Raises:
            GalleryIndexError: one is not in the index; nothing is removed then.
        """
        gone = {os.path.abspath(path) for path in paths}
        with self._files.writing():
            self._resume()
            unreadable = self.unreadable
            numbers = tuple(number for number, known in self._files.known.items() if known.image.path in gone)
            unknown = sorted(gone - {self._files.known[number].image.path for number in numbers} - unreadable.keys())
            if unknown:
                raise GalleryIndexError(
                    f"{len(unknown)} of {len(gone)} images are not in {self.folder}, such as {unknown[0]}: "
                    "nothing was removed"
                )
            if numbers:
                self._files.carry_out(Plan(removed=numbers), self.progress)
            if gone & unreadable.keys():
                self._files.write_unreadable({p: reason for p, reason in unreadable.items() if p not in gone})
            self._update_quantised()
            return len(numbers)

    def quantise(self, target_recall: float = 0.95) -> list[Trial]:
        """Adds a quick search of few bytes a descriptor, tuned on images of the gallery that are held out as queries.

        Searches use it from then on, unless told to be exact; images added later are taken in.

        Args:
            target_recall: share of the ten nearest images that it must find.

        Returns:
            The trials, cheapest first; :attr:`approximate` is the one chosen.

        Raises:
            GalleryIndexError: too few images, no descriptors of the type ``none``, or faiss is missing.
        """
        check_possible(len(self))
        matching = self.matching()
        names: Sequence[str] = (NONE,)
        if self.unification.kind != "none":
            names = matching.types if matching else self.types
        self._ensure(NONE, *names)  # before the lock is taken: what is missing is built under it
        with self._files.writing():
            self._resume()
            sides = dict(zip(names, self._all_sides(names), strict=True))
            self._quantised.build(sides)
            return self._quantised.tune(target_recall, self._files.numbers, tuning_set(sides, matching))

    def search(
        self,
        queries: QueryDescriptors,
        k: int = 20,
        *,
        plain: bool = False,
        exact: bool = False,
        leave_out: Sequence[GalleryImage] | None = None,
    ) -> list[list[Match]]:
        """The nearest images of every query, nearest first; equal distances in the gallery's order.

        Args:
            queries: Q described queries.
            k: matches a query; fewer if the gallery is smaller.
            plain: compare un-occluded images with each other, whatever the unification.
            exact: compare with every image, even where there is a quick search.
            leave_out: the Q query images: gallery images of a query's own person and camera are left out.

        Returns:
            Q lists. A type that is not built yet is built, if there is an encoder.

        Raises:
            GalleryIndexError: an empty index, or a type that is missing and cannot be built.
        """
        self._files.refresh()
        if not len(self):
            raise GalleryIndexError(f"{self.folder} holds no image yet: run index first")
        known, own = self._files.known, own_pairs(leave_out, len(queries.types))
        many = k + max(filter(None, self.how_many(own)), default=0)
        chosen = self.approximate if not exact and many < len(self) else None
        matching = self.matching(plain)
        found: list[list[Match]] = [[] for _ in own]
        for names, rows in compared_groups(self.unification, queries, plain):
            sides = self._all_sides(names)
            query = queries.descriptors[rows].numpy()
            if chosen is not None and set(names) <= set(self._quantised.types):
                nearest = self._quick(query, names, sides, matching, many, chosen)
            else:
                nearest = exact_nearest(query, sides, matching, many)
            for row, one, (numbers, distances) in zip(rows, query, nearest, strict=True):
                images = [known[number].image for number in numbers.tolist()]
                kept = [n for n, image in enumerate(images) if own[row] != (image.pid, image.camid)][:k]
                variants = variants_of(sides, numbers[kept])
                found[row] = matches_of(one, [images[n] for n in kept], distances[kept], variants, names, matching)
        return found

    def how_many(self, pairs: Sequence[tuple[str, str] | None]) -> list[int | None]:
        """How many images there are of each person by a camera; None for None."""
        counts = Counter((image.pid, image.camid) for image in self.images) if any(pairs) else Counter()
        return [counts[pair] if pair else None for pair in pairs]

    def descriptors(self, name: str) -> np.ndarray:
        """(G, D) float32 descriptors of a type in the order of :attr:`images`, a memory map.

        Raises:
            GalleryIndexError: some images could not be read for this type, or were removed meanwhile.
        """
        self._ensure(name)
        numbers, vectors = self._side(name)
        if not np.array_equal(numbers, self._files.numbers):
            there = set(numbers.tolist())
            first = next(known.image.path for number, known in self._files.known.items() if number not in there)
            raise GalleryIndexError(
                f"{self.folder} lacks descriptors of type {name} of some images, such as {first}, which could not be "
                "read for it: run index on the gallery again, or take them out with remove where their files are gone"
            )
        return vectors

    def check_scorable(self, images: Sequence[GalleryImage]) -> None:
        """Makes sure, before anything is described, that :meth:`evaluate` can score queries by these images.

        Raises:
            GalleryIndexError: an identity that is not known, of a query or of the gallery, or no query with a match.
        """
        check_labels(images, self.images)

    def evaluate(
        self, queries: QueryDescriptors, images: Sequence[GalleryImage], *, plain: bool = False
    ) -> RankingResult:
        """The evaluator's scores of queries whose identities and cameras are known, as are the gallery's; exact.

        Args:
            queries: Q described queries.
            images: the same Q images. Without cameras, queries and gallery count as taken by two.
            plain: without unification.

        Raises:
            ValueError: no query with a match. GalleryIndexError: a query without identity.
        """
        self._files.refresh()
        unknown = sum(not image.pid for image in images)
        if unknown:
            raise GalleryIndexError(f"{unknown} of {len(images)} queries have no identity: they cannot be scored")
        labels = numbered_labels(images, self.images)
        if (matching := self.matching(plain)) is not None:
            sides = {name: self.descriptors(name) for name in matching.types}
            return evaluate_ranking(queries.descriptors, sides, *labels, matching=matching)
        names = compared_types(self.unification, queries, plain)
        gallery = {name: partial(self.descriptors, name) for name in names}
        return evaluate_ranking(queries.descriptors, gallery, *labels, query_types=names)

    def _quick(
        self,
        query: np.ndarray,
        names: Sequence[str],
        sides: Sequence[Rows],
        matching: Matching | None,
        k: int,
        chosen: Trial,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers and distances of the nearest of the candidates that the quantised index names for each query."""
        handicaps, count = handicaps_of(names, matching), chosen.candidates * -(-k // TOP)
        for one in query:
            numbers = self._quantised.candidates(one, self._files.numbers, handicaps, chosen.probes, count)
            common = numbers[np.logical_and.reduce([is_in(numbers, side.numbers) for side in sides])]
            yield ranked(one, common, variants_of(sides, common), matching, k)

    def _side(self, name: str) -> Rows:
        """Descriptors of a type; those of an unfinished change are left out."""
        file = self._files.descriptors(name)
        before = signature(file.numbers_path), self._files.state
        if self._sides.get(name, (None,))[0] != before:
            rows, numbers = file.read(), self._files.numbers
            if not np.array_equal(rows.numbers, numbers):
                known = np.isin(rows.numbers, numbers)
                rows = rows if known.all() else Rows(rows.numbers[known], rows.descriptors[known])
            self._sides[name] = before, rows
        return self._sides[name][1]

    def _all_sides(self, names: Sequence[str]) -> list[Rows]:
        self._ensure(*names)
        sides = [self._side(name) for name in names]
        if any(not np.array_equal(sides[0].numbers, side.numbers) for side in sides):
            for name in names:
                self.descriptors(name)  # says which is not whole
        return sides

    def _update_quantised(self) -> None:
        if self.approximate is not None:
            self._quantised.update({name: self._side(name) for name in self._quantised.types if name in self.types})

    def _ensure(self, *names: str) -> None:
        missing = self._wanted([name for name in dict.fromkeys(names) if name not in self.types])
        if missing and self.encoder is None:
            named = " ".join(missing)
            raise GalleryIndexError(f"{self.folder} has no descriptors of type {named}: run index --types {named}")
        if missing:
            self.build(missing)

    def _wanted(self, types: Sequence[str] | None, default_all: bool = False) -> tuple[str, ...]:
        if types is None:
            return self.possible_types if default_all or not self.types else self.types
        self.check_types(types)
        return tuple(types)

    def _build_types(self, names: Sequence[str]) -> None:
        if names and len(self):
            check_files(self.folder, names, [image.path for image in self.images])
            self._files.carry_out(Plan(tuple(self._files.known.items()), tuple(names), new=False), self.progress)

    def _lacking(self) -> set[int]:
        """Numbers of the images without descriptors of a type that is built: they could not be read for it."""
        numbers = self._files.numbers
        stored = [self._files.descriptors(name).read().numbers for name in self.types]
        return {int(number) for one in stored for number in numbers[~np.isin(numbers, one)]}

    def _resume(self) -> set[str]:
        """Carries on with an interrupted change; returns the paths that it was about."""
        plan = self._files.pending.load()
        if plan is None:
            return set()
        if not plan.new and missing_files(known.image.path for _, known in plan.images):
            self._files.pending.finish()  # a further type, half built, while the gallery is gone: given up
            return set()
        self._files.finish(plan, self.progress)
        return {known.image.path for _, known in plan.images}

    def _follows(self) -> bool:
        """Whether this is not the first of several processes; its part of the work is done then."""
        if rank_and_size()[0] == 0:
            return False
        if self.encoder is not None:
            follow(self._files.pending, self.encoder)
        self._files.refresh()
        return True
