"""What every reader gives: plain records of images, in three lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from oamn_plugin.errors import ExpectedError


class DataSetError(ExpectedError, ValueError):
    """A data set that is missing, incomplete or not laid out as its reader expects; the message says what to do."""


class Record(NamedTuple):
    """One image of one person.

    ``pid`` is the identity (0 stands for distractors in Market-1501's gallery), ``camid`` the camera, from 0.
    """

    path: str
    pid: int
    camid: int


class Split(NamedTuple):
    """The three lists of a data set; ``train`` is empty where the set publishes no training images."""

    train: list[Record]
    query: list[Record]
    gallery: list[Record]


class Counts(NamedTuple):
    """How many images, identities and cameras a list of records holds."""

    images: int
    pids: int
    cameras: int


def counts(records: Iterable[Record]) -> Counts:
    """Counts images, identities and cameras; distractors (pid 0) count as one identity, as in the published figures.

    >>> counts([Record("a.jpg", 1, 0), Record("b.jpg", 1, 2)])
    Counts(images=2, pids=1, cameras=2)
    """
    listed = list(records)
    return Counts(len(listed), len({r.pid for r in listed}), len({r.camid for r in listed}))
