"""The sets that pair occluded or partial images with whole ones and publish no cameras.

Queries get camera 0 and gallery images camera 1, so that nothing is dropped from the rank lists.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from oamn_plugin.datasets.labels import label_number
from oamn_plugin.datasets.readers.layout import FolderLayout, list_images, report_strange
from oamn_plugin.datasets.records import Record, Split

QUERY_CAMERA, GALLERY_CAMERA = 0, 1
OCCLUDED, WHOLE, PARTIAL = "occluded_body_images", "whole_body_images", "partial_body_images"
_LEADING_NUMBER = re.compile(r"\d+")

OCCLUDED_REID = FolderLayout(
    "Occluded-REID",
    ("Occluded_REID", "Occluded-REID", "OccludedREID", "Occluded_REID_Dataset"),
    (OCCLUDED, WHOLE),
    "Occluded-REID is handed out by its authors (Zhuo et al., ICME 2018).",
)
PARTIAL_REID = FolderLayout(
    "Partial-REID",
    ("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID"),
    (PARTIAL, OCCLUDED, WHOLE),
    "Partial-REID is handed out by its authors (Zheng et al., ICCV 2015).",
)
PARTIAL_ILIDS = FolderLayout(
    "Partial-iLIDS",
    ("Partial_iLIDS", "Partial-iLIDS", "PartialiLIDS", "Partial-iLIDS_Dataset"),
    ("Probe", "Gallery"),
    "Partial-iLIDS is handed out by its authors (He et al., CVPR 2018).",
)
P_DUKE = FolderLayout(
    "P-DukeMTMC-reID",
    ("P-DukeMTMC-reid", "P-DukeMTMC", "P_Duke", "P-DukeMTMC-reID_Dataset"),
    tuple(f"{split}/{part}" for split in ("train", "test") for part in (OCCLUDED, WHOLE)),
    "P-DukeMTMC-reID is handed out by its authors (Zhuo et al., ICME 2018).",
)


def read_pairs(folder: Path, query: str, gallery: str) -> Split:
    """Occluded or partial queries and whole gallery images, each in a sub-folder of its own; no training split.

    Raises:
        DataSetError: a sub-folder is empty or its images are named otherwise.
    """
    return Split([], _read_numbered(folder / query, QUERY_CAMERA), _read_numbered(folder / gallery, GALLERY_CAMERA))


def read_p_duke(folder: Path) -> Split:
    """P-DukeMTMC-reID: occluded queries against whole gallery images; the identity is the folder's name.

    In training, occluded images count as camera 0 and whole ones as camera 1.

    Raises:
        DataSetError: a sub-folder is empty or its images are named otherwise.
    """
    occluded, whole = (
        [_read_numbered(folder / split / part, camid, by_folder=True) for split in ("train", "test")]
        for part, camid in ((OCCLUDED, QUERY_CAMERA), (WHOLE, GALLERY_CAMERA))
    )
    return Split(occluded[0] + whole[0], occluded[1], whole[1])


def _read_numbered(folder: Path, camid: int, by_folder: bool = False) -> list[Record]:
    """Images whose file name (or whose folder's name) begins with the identity's number."""
    records, strange = [], []
    for path in list_images(folder, recursive=True):
        owner = Path(path).parent.name if by_folder else os.path.basename(path)
        match = _LEADING_NUMBER.match(owner)
        if match is None:
            strange.append(path)
        else:
            records.append(Record(path, label_number(match[0], f"{path}: the identity"), camid))
    report_strange(folder, strange, len(records), "PPP/..." if by_folder else "PPP_NN.jpg, beginning with the identity")
    return records
