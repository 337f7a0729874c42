"""A described gallery, and how data sets of one test share it.

Several protocols have one gallery: the occluded and the partial queries of Partial-REID, a holistic set and its
occluded version. Describing it is most of the work of an evaluation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from oamn_plugin.datasets.records import Record
from oamn_plugin.retrieval.store import DescriptorStore


@dataclass(frozen=True)
class DescribedGallery:
    """This process's part of a gallery.

    Attributes:
        store: its descriptors.
        present: which of its images could be read.
        skipped: why the others could not.
        seconds: that describing took.
    """

    store: DescriptorStore
    present: np.ndarray
    skipped: list[str]
    seconds: float


class GalleryShelf:
    """Holds the gallery that was described last, and no other: descriptors of nine types are large.

    Args:
        shared: compare the next gallery with it.
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared, self._key = shared, None
        self._found: DescribedGallery | None = None

    def take(
        self, records: Sequence[Record], settings: Hashable, describe: Callable[[], DescribedGallery]
    ) -> DescribedGallery:
        """The described gallery: the one that is here if it is of the same files by the same settings, or a new one."""
        key: Any = (files_of(records), settings) if self._shared else None
        if self._found is None or key != self._key:
            self.close()
            self._found, self._key = describe(), key
        return self._found

    def close(self) -> None:
        """Removes the descriptors from the disk."""
        if self._found is not None:
            self._found.store.close()
        self._found = None


_SHARED: ContextVar[GalleryShelf | None] = ContextVar("shared gallery", default=None)


@contextmanager
def sharing_galleries() -> Iterator[None]:
    """Inside, :func:`~oamn_plugin.hosts.shared.evaluation.evaluate` describes equal galleries in a row once.

    For the data sets of one test: one model, and one way to read a gallery image. Typed unification shares a gallery
    only where both sets need the same types.
    """
    with closing(GalleryShelf(shared=True)) as shelf:
        token = _SHARED.set(shelf)
        try:
            yield
        finally:
            _SHARED.reset(token)


def gallery_shelf() -> AbstractContextManager[GalleryShelf]:
    """The shelf of :func:`sharing_galleries`; outside of it one of its own, emptied at the end."""
    shared = _SHARED.get()
    return closing(GalleryShelf()) if shared is None else nullcontext(shared)


def files_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The image files, links followed: two data sets have one gallery where these are equal, in order."""
    return tuple(os.path.realpath(record.path) for record in records)
