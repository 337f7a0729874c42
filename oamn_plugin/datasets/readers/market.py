"""Market-1501 and the sets of its layout: ``bounding_box_train``, ``query``, ``bounding_box_test``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from oamn_plugin.datasets.labels import label_number
from oamn_plugin.datasets.readers.layout import FolderLayout, list_images, report_strange
from oamn_plugin.datasets.records import DataSetError, Record, Split

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
"""Train, query, gallery: the three folders of the layout."""
_NAME = re.compile(r"(?P<pid>-1|\d+)_c(?P<camid>\d+)")
_PATTERN = "PPPP_cC..., as in 0002_c1s1_000451_03.jpg"
_DUKE_ADVICE = "DukeMTMC-reID was withdrawn by its authors; the images must come from a copy that you hold."

MARKET1501 = FolderLayout(
    "Market-1501",
    ("Market-1501-v15.09.15", "Market-1501", "market1501", "Market"),
    FOLDERS,
    "Market-1501 is handed out by its authors (Zheng et al., ICCV 2015).",
)
OCCLUDED_MARKET1501 = FolderLayout(
    "Market-1501 with occluded queries",
    ("Market-1501-v15.09.15-occluded", "Market-1501-occluded", "market1501-occluded", "Occluded-Market1501"),
    FOLDERS,
    "Make it with `oamn data occlude MARKET_DIR`.",
)
DUKEMTMC = FolderLayout("DukeMTMC-reID", ("DukeMTMC-reID", "dukemtmc-reid", "DukeMTMC", "duke"), FOLDERS, _DUKE_ADVICE)
OCCLUDED_DUKE = FolderLayout(
    "Occluded-DukeMTMC",
    ("Occluded_Duke", "Occluded-DukeMTMC-reID", "Occluded-DukeMTMC", "Occluded-Duke"),
    FOLDERS,
    "Build it with `oamn data occluded-duke DukeMTMC-reID.zip LISTS_DIR`.",
)


def read_market_layout(folder: str | os.PathLike[str]) -> Split:
    """A set laid out and named as Market-1501, from its own folder.

    Junk (pid -1) is dropped; distractors (pid 0) stay, in the gallery only.

    Raises:
        DataSetError: a sub-folder cannot be read, holds no image named ``PPPP_cC...``, or nothing but junk.
    """
    train, query, gallery = (read_market_folder(Path(folder) / part) for part in FOLDERS)
    for part, records in (("query", query), ("bounding_box_test", gallery)):
        if not records:
            raise DataSetError(f"{Path(folder) / part} holds nothing but junk (identity -1)")
    # distractors are people of no identity: neither a class to learn nor anyone to search for
    return Split([r for r in train if r.pid > 0], [r for r in query if r.pid > 0], gallery)


def read_market_folder(folder: str | os.PathLike[str]) -> list[Record]:
    """The images of one folder by their names, junk (pid -1) left out.

    Raises:
        DataSetError: the folder cannot be read, or holds no image named ``PPPP_cC...``.
    """
    records, strange, num_named = [], [], 0
    for path in list_images(folder):
        match = _NAME.match(os.path.basename(path))
        if match is None:
            strange.append(path)
            continue
        num_named += 1
        pid = label_number(match["pid"], f"{path}: the identity")
        if pid >= 0:
            records.append(Record(path, pid, int(match["camid"]) - 1))
    report_strange(folder, strange, num_named, _PATTERN)
    return records
