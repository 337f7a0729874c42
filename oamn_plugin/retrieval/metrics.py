"""Scores of a rank list from nothing but the ranks of its positives: AP (both kinds), inverse negative penalty, CMC.

A query's *positives* are the gallery images of its identity under another camera; their ranks are 1-based among the
images that count (those of the same identity and the same camera are dropped). Every function takes all queries at
once, as an integer array ``ranks (Q, P)`` with each row's ranks ascending and 0 in the places a query does not fill.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def average_precision(ranks: IntArray) -> FloatArray:
    """Average precision: the mean, over a query's positives, of the precision at the rank of each.

    This is the ``mAP`` of fastreid, torchreid and scikit-learn.

    Args:
        ranks: (Q, P) ascending 1-based ranks of the positives, 0 = no positive here.

    Returns:
        (Q,) values in [0, 1]; 0 for a query without a positive.

    >>> average_precision(np.array([[2, 0], [1, 4]])).tolist()
    [0.5, 0.75]
    """
    hits, counts = _hits(ranks)
    return _mean_over_positives(hits / np.maximum(ranks, 1), counts)


def average_precision_trapezoid(ranks: IntArray) -> FloatArray:
    """Area under the precision-recall curve by trapezoids, as in the original evaluation code of Market-1501.

    Each positive adds ``(precision just before it + precision at it) / 2``, the precision before rank 1 being 1. PGFA
    and the published OAMN figures use it.

    Args:
        ranks: (Q, P) ascending 1-based ranks of the positives, 0 = no positive here.

    Returns:
        (Q,) values in [0, 1]; 0 for a query without a positive.

    >>> average_precision_trapezoid(np.array([[2, 0], [1, 4]])).tolist()
    [0.25, 0.7083333333333333]
    """
    hits, counts = _hits(ranks)
    before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
    at = hits / np.maximum(ranks, 1)
    return _mean_over_positives((before + at) / 2, counts)


def inverse_negative_penalty(ranks: IntArray) -> FloatArray:
    """Inverse negative penalty: number of positives over the rank of the last one (Ye et al., TPAMI 2021; mINP).

    Args:
        ranks: (Q, P) ascending 1-based ranks of the positives, 0 = no positive here.

    Returns:
        (Q,) values in [0, 1]; 0 for a query without a positive.

    >>> inverse_negative_penalty(np.array([[2, 0], [1, 4]])).tolist()
    [0.5, 0.5]
    """
    _, counts = _hits(ranks)
    last = ranks.max(axis=1, initial=0)
    return counts / np.maximum(last, 1)


def cmc(first_rank: IntArray, max_rank: int = 50) -> FloatArray:
    """Cumulative matching characteristic: share of the queries whose nearest positive is at rank k or before.

    Queries without a match do not count.

    Args:
        first_rank: (Q,) 1-based rank of the nearest positive, 0 = the query has no match and does not count.
        max_rank: length of the curve, at least 1.

    Returns:
        (max_rank,) values in [0, 1]; element k - 1 is Rank-k. All 0 when no query has a match.

    >>> cmc(np.array([1, 3, 0, 2]), max_rank=3).tolist()
    [0.3333333333333333, 0.6666666666666666, 1.0]
    """
    matched = first_rank[first_rank > 0]
    hits = np.bincount(np.minimum(matched, max_rank + 1), minlength=max_rank + 2)[1 : max_rank + 1]
    return np.cumsum(hits) / max(len(matched), 1)


def _hits(ranks: IntArray) -> tuple[IntArray, IntArray]:
    """Number of positives up to each one (Q, P), 0 in empty places, and of every query's positives (Q,)."""
    filled = (ranks > 0).astype(np.int64)
    return np.cumsum(filled, axis=1) * filled, filled.sum(axis=1)


def _mean_over_positives(values: FloatArray, counts: IntArray) -> FloatArray:
    filled = np.arange(values.shape[1]) < counts[:, None]
    return np.where(filled, values, 0.0).sum(axis=1) / np.maximum(counts, 1)
