"""Published figures of other methods, as several later papers quote them; a block of its own in every report.

They were measured by their authors with their own training, so they are context and never a baseline. The mean average
precisions among them are of two kinds (see ``mAP`` and ``mAP_trapezoid`` in :mod:`oamn_plugin.retrieval`), which differ
by several points: each line says which.
"""

from __future__ import annotations

from typing import NamedTuple

from .tables import Cell, Figure, Table

TRAPEZOID = "trapezoidal"
PRECISIONS = "sum of precisions"
UNSTATED = "not stated"


class Published(NamedTuple):
    """One published result; percent. ``convention`` says which average precision the mAP is."""

    protocol: str
    method: str
    rank1: float
    map: float | None
    convention: str


# figures as the methods' papers or later comparisons state them; OAMN's evaluator and PGFA's are trapezoidal
_DUKE, _PARTIAL, _MARKET, _DUKE_FULL = (
    "Occluded-Duke",
    "Market-1501 → Partial-REID",
    "Market-1501",
    "DukeMTMC-reID",
)
PUBLISHED = (
    Published(_DUKE, "PCB", 42.6, 33.7, UNSTATED),
    Published(_DUKE, "HOReID", 55.1, 43.8, UNSTATED),
    Published(_DUKE, "OAMN", 62.6, 46.1, TRAPEZOID),
    Published(_DUKE, "PAT", 64.5, 53.6, UNSTATED),
    Published(_DUKE, "FED", 68.1, 56.4, PRECISIONS),
    Published(_DUKE, "PADE", 72.3, 63.0, UNSTATED),
    Published(_DUKE, "BPBreID (HRNet)", 75.1, 62.5, UNSTATED),
    Published(_DUKE, "KPR", 84.3, 75.1, UNSTATED),
    Published(_PARTIAL, "PCB", 66.3, 63.8, UNSTATED),
    Published(_PARTIAL, "HOReID", 85.3, None, UNSTATED),
    Published(_PARTIAL, "OAMN", 86.0, 77.4, TRAPEZOID),
    Published(_PARTIAL, "PAT", 88.0, None, UNSTATED),
    Published(_PARTIAL, "FED", 83.1, 80.5, PRECISIONS),
    Published(_PARTIAL, "PADE", 89.3, 84.8, UNSTATED),
    Published(_PARTIAL, "KPR", 94.0, 90.7, UNSTATED),
    Published("Market-1501 → Partial-iLIDS", "VGTri", 80.7, None, UNSTATED),
    Published(_MARKET, "OAMN", 92.3, 79.8, TRAPEZOID),
    Published(_MARKET, "bagtricks R50 (fastreid)", 94.4, 86.1, PRECISIONS),
    Published(_MARKET, "AGW R50 (fastreid)", 95.3, 88.2, PRECISIONS),
    Published(_MARKET, "SBS R50 (fastreid)", 95.4, 88.2, PRECISIONS),
    Published(_MARKET, "MGN R50-ibn (fastreid)", 95.8, 89.7, PRECISIONS),
    Published(_DUKE_FULL, "OAMN", 86.3, 72.6, TRAPEZOID),
    Published(_DUKE_FULL, "bagtricks R50 (fastreid)", 87.1, 76.9, PRECISIONS),
    Published(_DUKE_FULL, "SBS R50 (fastreid)", 89.6, 79.8, PRECISIONS),
)


def published_table(protocols: tuple[str, ...] = ()) -> Table:
    """The published figures, of the given protocols or of all, with the convention of each mAP."""
    rows: list[list[Cell]] = [
        [line.protocol, line.method, Figure(line.rank1), None if line.map is None else Figure(line.map),
         line.convention if line.map is not None else None]
        for line in PUBLISHED
        if not protocols or line.protocol in protocols
    ]  # fmt: skip
    return Table(("Trained → tested", "Method", "Rank-1", "mAP", "mAP is"), rows)
