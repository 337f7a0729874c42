"""Every published data set by name: its reader, its folders, its published counts, what one trains on for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oamn_plugin.datasets import readers
from oamn_plugin.datasets.readers import FOLDERS, OCCLUDED, PARTIAL, WHOLE, FolderLayout, plain_name, read_market_layout
from oamn_plugin.datasets.records import DataSetError, Split, counts
from oamn_plugin.errors import did_you_mean

_logger = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()  # a run reads its data sets more than once
Reader = Callable[[Path], Split]
"""From a set's own folder to its records."""


@dataclass(frozen=True)
class Published:
    """Published size of one list; distractors count as one identity."""

    pids: int
    images: int


@dataclass(frozen=True)
class PublishedSet:
    """One data set and protocol.

    Attributes:
        name: the name under which both hosts register it.
        layout: title, folder names, required sub-folders, where to get it.
        reader: reads the folder that ``layout.find`` gives.
        train: published size, None where the set has no training split; ``query`` and ``gallery`` likewise.
    """

    name: str
    layout: FolderLayout
    reader: Reader
    train: Published | None
    query: Published
    gallery: Published

    @property
    def trains_on(self) -> str:
        """Name of the set whose training split is used, its own where it has one."""
        return self.name if self.train else "Market1501"

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


_MARKET1501 = FolderLayout(
    "Market-1501",
    ("Market-1501-v15.09.15", "Market-1501", "market1501", "Market"),
    FOLDERS,
    "Market-1501 is handed out by its authors (Zheng et al., ICCV 2015).",
)
_OCCLUDED_MARKET1501 = FolderLayout(
    "Market-1501 with occluded queries",
    ("Market-1501-v15.09.15-occluded", "Market-1501-occluded", "market1501-occluded", "Occluded-Market1501"),
    FOLDERS,
    "Make it with `oamn data occlude MARKET_DIR`.",
)
_DUKEMTMC = FolderLayout(
    "DukeMTMC-reID",
    ("DukeMTMC-reID", "dukemtmc-reid", "DukeMTMC", "duke"),
    FOLDERS,
    "DukeMTMC-reID was withdrawn by its authors; the images must come from a copy that you hold.",
)
_OCCLUDED_DUKE = FolderLayout(
    "Occluded-DukeMTMC",
    ("Occluded_Duke", "Occluded-DukeMTMC-reID", "Occluded-DukeMTMC", "Occluded-Duke"),
    FOLDERS,
    "Build it with `oamn data occluded-duke DukeMTMC-reID.zip LISTS_DIR`.",
)
_MSMT17 = FolderLayout(
    "MSMT17",
    ("MSMT17_V1", "MSMT17", "MSMT17_V2"),
    readers.LISTS,
    "MSMT17 is handed out by its authors (Wei et al., CVPR 2018).",
)
_OCCLUDED_REID = FolderLayout(
    "Occluded-REID",
    ("Occluded_REID", "Occluded-REID", "OccludedREID", "Occluded_REID_Dataset"),
    (OCCLUDED, WHOLE),
    "Occluded-REID is handed out by its authors (Zhuo et al., ICME 2018).",
)
_PARTIAL_REID = FolderLayout(
    "Partial-REID",
    ("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID"),
    (PARTIAL, OCCLUDED, WHOLE),
    "Partial-REID is handed out by its authors (Zheng et al., ICCV 2015).",
)
_PARTIAL_ILIDS = FolderLayout(
    "Partial-iLIDS",
    ("Partial_iLIDS", "Partial-iLIDS", "PartialiLIDS", "Partial-iLIDS_Dataset"),
    ("Probe", "Gallery"),
    "Partial-iLIDS is handed out by its authors (He et al., CVPR 2018).",
)
_P_DUKE = FolderLayout(
    "P-DukeMTMC-reID",
    ("P-DukeMTMC-reid", "P-DukeMTMC", "P_Duke", "P-DukeMTMC-reID_Dataset"),
    tuple(f"{split}/{part}" for split in ("train", "test") for part in (OCCLUDED, WHOLE)),
    "P-DukeMTMC-reID is handed out by its authors (Zhuo et al., ICME 2018).",
)
_PARTIAL, _OCCLUDED = (partial(readers.read_pairs, query=query, gallery=WHOLE) for query in (PARTIAL, OCCLUDED))
_PROBES = partial(readers.read_pairs, query="Probe", gallery="Gallery")
_Size = tuple[int, int]
_TABLE: tuple[tuple[str, FolderLayout, Reader, _Size | None, _Size, _Size], ...] = (
    # name, layout, reader, then identities and images of train, query and gallery
    ("Market1501", _MARKET1501, read_market_layout, (751, 12936), (750, 3368), (751, 15913)),
    ("OccludedMarket1501", _OCCLUDED_MARKET1501, read_market_layout, (751, 12936), (750, 3368), (751, 15913)),
    ("OccludedDuke", _OCCLUDED_DUKE, read_market_layout, (702, 15618), (519, 2210), (1110, 17661)),
    ("OccludedREID", _OCCLUDED_REID, _OCCLUDED, None, (200, 1000), (200, 1000)),
    ("PartialREID", _PARTIAL_REID, _PARTIAL, None, (60, 300), (60, 300)),
    ("PartialREIDOccluded", _PARTIAL_REID, _OCCLUDED, None, (60, 300), (60, 300)),
    ("PartialiLIDS", _PARTIAL_ILIDS, _PROBES, None, (119, 119), (119, 119)),
    ("PDukeMTMC", _P_DUKE, readers.read_p_duke, (665, 12927), (634, 2163), (634, 9053)),
    ("DukeMTMC", _DUKEMTMC, read_market_layout, (702, 16522), (702, 2228), (1110, 17661)),
    ("MSMT17", _MSMT17, readers.read_msmt17, (1041, 30248), (3060, 11659), (3060, 82161)),
)
CATALOGUE: dict[str, PublishedSet] = {
    name: PublishedSet(
        name, layout, reader, Published(*train) if train else None, Published(*query), Published(*gallery)
    )
    for name, layout, reader, train, query, gallery in _TABLE
}
"""Data set name to its entry."""


def find_entry(name: str) -> PublishedSet:
    """The entry of a name, whatever its case and hyphens.

    Raises:
        DataSetError: unknown name; the nearest valid one is named.

    >>> find_entry("partial-ilids").name
    'PartialiLIDS'
    """
    owners = {
        plain_name(key): entry.name
        for entry in reversed(CATALOGUE.values())
        for key in (*entry.layout.folders, entry.name)
    }
    key = plain_name(name)
    if key in owners:
        return CATALOGUE[owners[key]]
    hint = did_you_mean(name, owners.values())
    raise DataSetError(f"unknown data set {name!r}.{hint} Known: {', '.join(CATALOGUE)}")


def load(name: str, root: str | os.PathLike[str]) -> Split:
    """Reads a data set by name; counts other than the published ones are logged as a warning, once.

    Raises:
        DataSetError: an unknown name, or the set is missing or not laid out as expected.
    """
    entry = find_entry(name)
    split = entry.reader(entry.layout.find(root))
    differences = entry.differences(split)
    if differences and (entry.name, os.fspath(root)) not in _told:
        _told.add((entry.name, os.fspath(root)))
        _logger.warning(
            "%s differs from what was published, figures will not compare: %s", entry.title, "; ".join(differences)
        )
    return split


def load_to_train(name: str, root: str) -> Split:
    """As :func:`load`; a set without training images gets those of the set that is used for it, if they are there."""
    split = load(name, root)
    if split.train:
        return split
    try:
        return split._replace(train=load(find_entry(name).trains_on, root).train)
    except DataSetError:  # to test all the same
        return split
