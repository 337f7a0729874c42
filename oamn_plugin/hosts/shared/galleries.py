"""A described gallery, and how data sets of one test share it.

Several protocols have one gallery: the occluded and the partial queries of Partial-REID, a holistic set and its
occluded version. Describing it is most of the work of an evaluation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

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


_SHARED: ContextVar[list[tuple[Hashable, DescribedGallery]] | None] = ContextVar("shared gallery", default=None)
"""The gallery that was described last, and no other: descriptors of nine types are large."""


@contextmanager
def sharing_galleries() -> Iterator[None]:
    """Inside, :func:`~oamn_plugin.hosts.shared.evaluation.evaluate` describes equal galleries in a row once.

    For the data sets of one test: one model, and one way to read a gallery image. Typed unification shares a gallery
    only where both sets need the same types.
    """
    shelf: list[tuple[Hashable, DescribedGallery]] = []
    token = _SHARED.set(shelf)
    try:
        yield
    finally:
        _SHARED.reset(token)
        _empty(shelf)


@contextmanager
def described_gallery(
    records: Sequence[Record], settings: Hashable, describe: Callable[[], DescribedGallery]
) -> Iterator[DescribedGallery]:
    """A gallery for the time inside: where it is shared the last one, if it is of the same files by the same settings.

    Its descriptors leave the disk in the end, those of a shared one with :func:`sharing_galleries`.
    """
    shelf = _SHARED.get()
    if shelf is None:
        found = describe()
        with closing(found.store):
            yield found
        return
    key = (files_of(records), settings)
    if not shelf or shelf[0][0] != key:
        _empty(shelf)
        shelf.append((key, describe()))
    yield shelf[0][1]


def _empty(shelf: list[tuple[Hashable, DescribedGallery]]) -> None:
    while shelf:
        shelf.pop()[1].store.close()


def files_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The image files, links followed: two data sets have one gallery where these are equal, in order."""
    return tuple(os.path.realpath(record.path) for record in records)
