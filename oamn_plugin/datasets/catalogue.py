"""Every published data set by name: its reader, its folders, its published counts, what one trains on for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from oamn_plugin.datasets.readers import (
    FolderLayout,
    market,
    msmt17,
    one_shot,
    read_dukemtmc,
    read_market1501,
    read_msmt17,
    read_occluded_duke,
    read_occluded_market1501,
    read_occluded_reid,
    read_p_duke,
    read_partial_ilids,
    read_partial_reid,
)
from oamn_plugin.datasets.records import DataSetError, Split, counts
from oamn_plugin.errors import did_you_mean

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """Published size of one list; distractors count as one identity."""

    pids: int
    images: int


@dataclass(frozen=True)
class Entry:
    """One data set and protocol.

    Attributes:
        name: the name under which both hosts register it.
        layout: title, folder names, required sub-folders, where to get it.
        reader: ``reader(root) -> Split``.
        train: published size, None where the set has no training split; ``query`` and ``gallery`` likewise.
        trains_on: name of the set whose training split is used, its own where it has one.
    """

    name: str
    layout: FolderLayout
    reader: Callable[[str | os.PathLike[str]], Split]
    train: Published | None
    query: Published
    gallery: Published
    trains_on: str

    @property
    def title(self) -> str:
        """The name in the literature, with the protocol where there are two."""
        return self.layout.title + (" (occluded queries)" if self.name == "PartialREIDOccluded" else "")

    def differences(self, split: Split) -> list[str]:
        """What is not as published, one sentence a difference; empty where all counts agree."""
        found = []
        for part in ("train", "query", "gallery"):
            published, there = getattr(self, part), counts(getattr(split, part))
            for what in ("images", "pids"):
                wanted, have = getattr(published, what, 0), getattr(there, what)
                if wanted != have:
                    word = "identities" if what == "pids" else what
                    found.append(f"{part}: {have:,} {word}, published {wanted:,} ({have - wanted:+,})")
        return found


_NO_TRAIN = "Market1501"
_ENTRIES = (
    Entry(
        "Market1501",
        market.MARKET1501,
        read_market1501,
        Published(751, 12936),
        Published(750, 3368),
        Published(751, 15913),
        "Market1501",
    ),
    Entry(
        "OccludedMarket1501",
        market.OCCLUDED_MARKET1501,
        read_occluded_market1501,
        Published(751, 12936),
        Published(750, 3368),
        Published(751, 15913),
        "OccludedMarket1501",
    ),
    Entry(
        "OccludedDuke",
        market.OCCLUDED_DUKE,
        read_occluded_duke,
        Published(702, 15618),
        Published(519, 2210),
        Published(1110, 17661),
        "OccludedDuke",
    ),
    Entry(
        "OccludedREID",
        one_shot.OCCLUDED_REID,
        read_occluded_reid,
        None,
        Published(200, 1000),
        Published(200, 1000),
        _NO_TRAIN,
    ),
    Entry(
        "PartialREID",
        one_shot.PARTIAL_REID,
        read_partial_reid,
        None,
        Published(60, 300),
        Published(60, 300),
        _NO_TRAIN,
    ),
    Entry(
        "PartialREIDOccluded",
        one_shot.PARTIAL_REID,
        partial(read_partial_reid, protocol="occluded"),
        None,
        Published(60, 300),
        Published(60, 300),
        _NO_TRAIN,
    ),
    Entry(
        "PartialiLIDS",
        one_shot.PARTIAL_ILIDS,
        read_partial_ilids,
        None,
        Published(119, 119),
        Published(119, 119),
        _NO_TRAIN,
    ),
    Entry(
        "PDukeMTMC",
        one_shot.P_DUKE,
        read_p_duke,
        Published(665, 12927),
        Published(634, 2163),
        Published(634, 9053),
        "PDukeMTMC",
    ),
    Entry(
        "DukeMTMC",
        market.DUKEMTMC,
        read_dukemtmc,
        Published(702, 16522),
        Published(702, 2228),
        Published(1110, 17661),
        "DukeMTMC",
    ),
    Entry(
        "MSMT17",
        msmt17.MSMT17,
        read_msmt17,
        Published(1041, 30248),
        Published(3060, 11659),
        Published(3060, 82161),
        "MSMT17",
    ),
)
CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Data set name to its entry."""


def find_entry(name: str) -> Entry:
    """The entry of a name, whatever its case and hyphens.

    Raises:
        DataSetError: unknown name; the nearest valid one is named.

    >>> find_entry("partial-ilids").name
    'PartialiLIDS'
    """
    owners = {_plain(key): entry.name for entry in reversed(_ENTRIES) for key in (*entry.layout.folders, entry.name)}
    key = _plain(name)
    if key in owners:
        return CATALOGUE[owners[key]]
    hint = did_you_mean(name, owners.values())
    raise DataSetError(f"unknown data set {name!r}.{hint} Known: {', '.join(CATALOGUE)}")


def load(name: str, root: str | os.PathLike[str], *, warn: bool = True) -> Split:
    """Reads a data set by name; counts other than the published ones are logged as a warning.

    Raises:
        DataSetError: an unknown name, or the set is missing or not laid out as expected.
    """
    entry = find_entry(name)
    split = entry.reader(root)
    differences = entry.differences(split) if warn else []
    if differences:
        _logger.warning(
            "%s differs from what was published, figures will not compare: %s", entry.title, "; ".join(differences)
        )
    return split


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
