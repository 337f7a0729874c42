"""TPR at given FPR over all pairs of a query and a gallery image, as fastreid's evaluator defines it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from oamn_plugin.retrieval.counting import Members
from oamn_plugin.retrieval.distances import Descriptors
from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.retrieval.protocol import Gallery, Labels, Protocol, Types

FPRS = (1e-4, 1e-3, 1e-2)
"""The false positive rates that fastreid reports."""
_Blocks = Iterator[tuple[np.ndarray, list[Members]]]
_REACH = 64


class _Impostors(NamedTuple):
    """Impostor pairs at or above, and strictly above, each threshold; and how many there are in all."""

    at_least: np.ndarray
    above: np.ndarray
    total: int


def tpr_at_fpr(
    query: Descriptors,
    gallery: Gallery,
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels,
    gallery_camids: Labels,
    *,
    query_types: Types | None = None,
    fprs: Sequence[float] = FPRS,
    chunk_size: int | None = None,
    metric: str = "cosine",
    matching: Matching | None = None,
    absent: np.ndarray | None = None,
) -> dict[float, float]:
    """Share of impostor pairs that a threshold rejects which also rejects a given share of the genuine pairs.

    fastreid scores a pair by its distance and takes *impostor* pairs as the positive class of scikit-learn's
    ``roc_curve``. So its TPR is the share of impostor pairs at least as far apart as the threshold, its FPR that of
    genuine pairs, and it reads the curve at the point whose FPR is nearest to the wanted one. The same is computed
    here, exactly, without the list of all pairs: one pass over the distances keeps those of genuine pairs, a second
    counts the impostors beyond the few thresholds that can be meant. Memory: one block of distances and the genuine
    pairs.

    Args:
        query: (Q, D).
        gallery: (G, D), or a mapping by occlusion type.
        query_pids, gallery_pids: (Q,) and (G,) identities.
        query_camids, gallery_camids: (Q,) and (G,) cameras.
        query_types: (Q,) occlusion types, when ``gallery`` is a mapping.
        fprs: wanted false positive rates.
        chunk_size: queries whose distances are in memory at once.
        metric: ``cosine`` (fastreid's) or ``sqeuclidean``.
        matching: matched unification: pairs are scored by the matched distance.
        absent: (G,) bool, gallery images that could not be read.

    Returns:
        TPR by wanted FPR, fractions.

    Raises:
        ValueError: no genuine or no impostor pair.
    """
    protocol = Protocol(query_pids, gallery_pids, query_camids, gallery_camids, query_types, absent)

    def blocks() -> _Blocks:
        for rows, block in protocol.blocks(query, gallery, metric, chunk_size, matching=matching):
            yield block.cpu().numpy(), protocol.members(rows)

    genuine = np.concatenate(
        [row[m.positives] for rows, members in blocks() for row, m in zip(rows, members, strict=True)]
    )
    if not len(genuine):
        raise ValueError("there is no genuine pair: no query identity is in the gallery under another camera")
    values, counts = np.unique(genuine, return_counts=True)
    values, counts = values[::-1], counts[::-1]
    shares = np.cumsum(counts) / len(genuine)
    windows = [_window(shares, fpr) for fpr in fprs]
    wanted = np.unique(np.concatenate(windows))
    impostors = _count_impostors(blocks(), values[wanted][::-1])
    kept = _corners(wanted, counts, impostors)
    return {fpr: _read(fpr, wanted, kept, shares, impostors) for fpr in fprs}


def _window(shares: np.ndarray, fpr: float) -> np.ndarray:
    """Thresholds around the one of the nearest FPR, some more in case corners of the curve are further apart."""
    near = int(np.abs(shares - fpr).argmin())
    return np.arange(max(0, near - _REACH), min(len(shares), near + _REACH + 1))


def _count_impostors(blocks: _Blocks, ascending: np.ndarray) -> _Impostors:
    """Counts in the order of descending thresholds."""
    below, up_to = (np.zeros(len(ascending), dtype=np.int64) for _ in range(2))
    total, workers = 0, torch.get_num_threads()

    def count(row: np.ndarray, members: Members) -> tuple[np.ndarray, np.ndarray, int]:
        same = np.sort(row[np.concatenate(members)])
        ordered = np.sort(row[np.isfinite(row)])  # images that could not be read are infinitely far
        sides = [
            np.searchsorted(ordered, ascending, s) - np.searchsorted(same, ascending, s) for s in ("left", "right")
        ]
        return sides[0], sides[1], len(ordered) - len(same)

    with ThreadPoolExecutor(workers) as pool:
        for rows, members in blocks:
            for low, high, size in pool.map(count, rows, members):
                below += low
                up_to += high
                total += size
    if not total:
        raise ValueError("there is no impostor pair: the gallery holds no other identity")
    return _Impostors((total - below)[::-1], (total - up_to)[::-1], total)


def _corners(wanted: np.ndarray, counts: np.ndarray, impostors: _Impostors) -> np.ndarray:
    """Which thresholds scikit-learn keeps: those where the curve turns, and its first and last point."""
    step_fpr, step_tpr = counts[wanted], impostors.at_least - impostors.above
    kept = np.ones(len(wanted), dtype=bool)
    for k in range(len(wanted) - 1):
        adjacent = wanted[k + 1] == wanted[k] + 1 and impostors.above[k + 1] == impostors.at_least[k]
        if adjacent and step_fpr[k] == step_fpr[k + 1] and step_tpr[k] == step_tpr[k + 1]:
            kept[k] = False
    # the curve's first point stays if it is one of a genuine pair, its last if no impostor lies below it
    kept[(wanted == 0) & (impostors.above == 0)] = True
    return kept


def _read(fpr: float, wanted: np.ndarray, kept: np.ndarray, shares: np.ndarray, impostors: _Impostors) -> float:
    # before the first genuine pair the curve starts at FPR 0, TPR 0
    rates = np.concatenate([[0.0], shares[wanted[kept]]])
    hits = np.concatenate([[0], impostors.at_least[kept]])
    return float(hits[np.abs(rates - fpr).argmin()] / impostors.total)
