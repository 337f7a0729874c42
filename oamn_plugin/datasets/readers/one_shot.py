"""The sets that pair occluded or partial images with whole ones and publish no cameras.

Queries get camera 0 and gallery images camera 1, so that nothing is dropped from the rank lists.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from oamn_plugin.datasets.labels import label_number
from oamn_plugin.datasets.readers.layout import Layout, list_images, report_strange
from oamn_plugin.datasets.records import Record, Split

PARTIAL_REID_PROTOCOLS = ("partial", "occluded")
QUERY_CAMERA, GALLERY_CAMERA = 0, 1
_OCCLUDED, _WHOLE, _PARTIAL = "occluded_body_images", "whole_body_images", "partial_body_images"
_LEADING_NUMBER = re.compile(r"\d+")

OCCLUDED_REID = Layout(
    "Occluded-REID",
    ("Occluded_REID", "Occluded-REID", "OccludedREID", "Occluded_REID_Dataset"),
    (_OCCLUDED, _WHOLE),
    "Occluded-REID is handed out by its authors (Zhuo et al., ICME 2018).",
)
PARTIAL_REID = Layout(
    "Partial-REID",
    ("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID"),
    (_PARTIAL, _OCCLUDED, _WHOLE),
    "Partial-REID is handed out by its authors (Zheng et al., ICCV 2015).",
)
PARTIAL_ILIDS = Layout(
    "Partial-iLIDS",
    ("Partial_iLIDS", "Partial-iLIDS", "PartialiLIDS", "Partial-iLIDS_Dataset"),
    ("Probe", "Gallery"),
    "Partial-iLIDS is handed out by its authors (He et al., CVPR 2018).",
)
P_DUKE = Layout(
    "P-DukeMTMC-reID",
    ("P-DukeMTMC-reid", "P-DukeMTMC", "P_Duke", "P-DukeMTMC-reID_Dataset"),
    tuple(f"{split}/{part}" for split in ("train", "test") for part in (_OCCLUDED, _WHOLE)),
    "P-DukeMTMC-reID is handed out by its authors (Zhuo et al., ICME 2018).",
)


def read_occluded_reid(root: str | os.PathLike[str]) -> Split:
    """Occluded-REID: 200 people, five occluded queries and five whole gallery images each; no training split.

    Raises:
        DataSetError: the folder is missing, or a part of it is empty or named otherwise.
    """
    folder = OCCLUDED_REID.find(root)
    return _pair(folder / _OCCLUDED, folder / _WHOLE)


def read_partial_reid(root: str | os.PathLike[str], protocol: str = "partial") -> Split:
    """Partial-REID: 60 people; ``protocol`` says whether the queries are ``partial`` (cropped) or ``occluded``.

    Raises:
        DataSetError: the folder is missing, or a part of it is empty or named otherwise.
        ValueError: unknown protocol.
    """
    if protocol not in PARTIAL_REID_PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PARTIAL_REID_PROTOCOLS)}, got {protocol!r}")
    folder = PARTIAL_REID.find(root)
    return _pair(folder / (_PARTIAL if protocol == "partial" else _OCCLUDED), folder / _WHOLE)


def read_partial_ilids(root: str | os.PathLike[str]) -> Split:
    """Partial-iLIDS: 119 people, one partial query and one whole gallery image each; no training split.

    Raises:
        DataSetError: the folder is missing, or a part of it is empty or named otherwise.
    """
    folder = PARTIAL_ILIDS.find(root)
    return _pair(folder / "Probe", folder / "Gallery")


def read_p_duke(root: str | os.PathLike[str]) -> Split:
    """P-DukeMTMC-reID: occluded queries against whole gallery images; the identity is the folder's name.

    In training, occluded images count as camera 0 and whole ones as camera 1.

    Raises:
        DataSetError: the folder is missing, or a part of it is empty or named otherwise.
    """
    folder = P_DUKE.find(root)
    train = [
        *_read_numbered(folder / "train" / _OCCLUDED, QUERY_CAMERA, by_folder=True),
        *_read_numbered(folder / "train" / _WHOLE, GALLERY_CAMERA, by_folder=True),
    ]
    test = folder / "test"
    return Split(
        train,
        _read_numbered(test / _OCCLUDED, QUERY_CAMERA, by_folder=True),
        _read_numbered(test / _WHOLE, GALLERY_CAMERA, by_folder=True),
    )


def _pair(query: Path, gallery: Path) -> Split:
    return Split([], _read_numbered(query, QUERY_CAMERA), _read_numbered(gallery, GALLERY_CAMERA))


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
