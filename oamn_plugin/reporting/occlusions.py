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


class Occlusion(NamedTuple):
    """What covers an image: ``side`` (one of SIDES, or ``none``) and the covered share of the image, 0 to 1."""

    side: str
    area: float


def read_occlusions(paths: Sequence[str]) -> list[Occlusion | None]:
    """The recorded occlusion of each image; None where its data set recorded none.

    Args:
        paths: image files. The record is an ``annotations.csv`` beside an image or in the folder above, with columns
            ``file`` (a name or path), ``side`` and ``area_fraction``.
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
    """What a folder's annotations say of each file; empty where there are none, or they are no such table."""
    path = Path(folder) / ANNOTATIONS
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, ValueError, OSError):  # no text, or no table
        return {}
    table: dict[str, Occlusion] = {}
    for row in rows:
        try:
            occlusion = Occlusion(row["side"] or "none", float(row["area_fraction"] or 0))
            parts = (row["file"] or "").replace("\\", "/").split("/")
        except (KeyError, ValueError):
            continue
        table["/".join(parts[-2:])] = occlusion  # a name may be there once in every folder
        table.setdefault(parts[-1], occlusion)
    return table
