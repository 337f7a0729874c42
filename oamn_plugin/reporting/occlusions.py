"""The true occlusion of query images, where their data set recorded it, and scores by side and area."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.occlusion import SIDES

AREA_EDGES = (0.0, 0.3, 0.4, 0.5, 1.0)
AREA_LABELS = ("< 30", "30-40", "40-50", "≥ 50")
"""Bins of the occluded share of the image, percent."""
ANNOTATIONS = "annotations.csv"
_NAME_COLUMNS = ("name", "file", "filename", "path", "image")
_AREA_COLUMNS = ("area", "fraction", "area_fraction", "occluded")


class Occlusion(NamedTuple):
    """What covers an image: ``side`` (one of SIDES, or ``none``) and the covered share of the image, 0 to 1."""

    side: str
    area: float


def read_occlusions(paths: Sequence[str]) -> list[Occlusion | None]:
    """The recorded occlusion of each image; None where its data set recorded none.

    Args:
        paths: image files. The record is an ``annotations.csv`` beside an image or in the folder above, with a column
            for the file name (or path), ``side`` and ``area`` (a fraction).
    """
    found = []
    for path in map(Path, paths):
        table = next((t for t in map(_read_table, (str(path.parent), str(path.parent.parent))) if t), {})
        found.append(table.get(f"{path.parent.name}/{path.name}", table.get(path.name)))
    return found


def score_map(scores: NDArray[np.float64], occlusions: Sequence[Occlusion | None]) -> tuple[NDArray, NDArray]:
    """Mean score by true side and area.

    Args:
        scores: (N,) scores of the queries.
        occlusions: their true occlusions.

    Returns:
        (4, 4) means, NaN without a query, and the (4, 4) numbers of queries; rows as :data:`SIDES`, columns as
        :data:`AREA_LABELS`.
    """
    total = np.zeros((len(SIDES), len(AREA_LABELS)))
    count = np.zeros_like(total)
    for score, occlusion in zip(scores, occlusions, strict=True):
        if occlusion is None or occlusion.side not in SIDES:
            continue
        column = int(np.clip(np.digitize(occlusion.area, AREA_EDGES) - 1, 0, len(AREA_LABELS) - 1))
        total[SIDES.index(occlusion.side), column] += score
        count[SIDES.index(occlusion.side), column] += 1
    with np.errstate(invalid="ignore"):
        return total / count, count.astype(int)


@lru_cache(maxsize=32)
def _read_table(folder: str) -> dict[str, Occlusion]:
    path = Path(folder) / ANNOTATIONS
    try:
        return _parse(path) if path.is_file() else {}
    except (csv.Error, ValueError, OSError):  # no text, or no table
        return {}


def _parse(path: Path) -> dict[str, Occlusion]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        name = next((column for column in _NAME_COLUMNS if column in columns), None)
        area = next((column for column in _AREA_COLUMNS if column in columns), None)
        if name is None or area is None or "side" not in columns:
            return {}
        table: dict[str, Occlusion] = {}
        for row in reader:
            _add(table, row[name] or "", row["side"], row[area])
    return table


def _add(table: dict[str, Occlusion], name: str, side: str, area: str) -> None:
    try:
        occlusion = Occlusion(side or "none", float(area or 0))
    except ValueError:
        return
    parts = name.replace("\\", "/").split("/")
    table["/".join(parts[-2:])] = occlusion  # a name may be there once in every folder
    table.setdefault(parts[-1], occlusion)
