"""What an evaluation gives back: the scores, and the same per query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oamn_plugin.retrieval.metrics import FloatArray, IntArray, cmc

RANKS = (1, 3, 5, 10, 20)
"""The k of the Rank-k scores that every evaluation reports."""


@dataclass(frozen=True)
class RankingResult:
    """Scores of a set of queries against a gallery; fractions in [0, 1].

    Means run over the queries with a match; a query whose identity is not in the gallery under another camera has
    ``valid`` False, 0 in every per-query array, and counts only in ``num_query`` and ``num_without_match``.
    """

    cmc: FloatArray
    """(min(max_rank, num_gallery),) cumulative matching characteristic; element k - 1 is Rank-k."""
    ap: FloatArray
    """(Q,) average precision: mean of the precisions at the positives."""
    ap_trapezoid: FloatArray
    """(Q,) trapezoidal area under the precision-recall curve."""
    inp: FloatArray
    """(Q,) inverse negative penalty."""
    first_rank: IntArray
    """(Q,) 1-based rank of the nearest positive, 0 = no match."""
    num_gallery: int
    """Gallery images, those dropped for single queries included."""
    query_types: Mapping[str, int] = field(default_factory=dict)
    """How many queries have each occlusion type; empty when the evaluation had no types."""
    posterior: np.ndarray | None = None
    """(Q, 9) float32 in the order of ``OCCLUSION_TYPES``: how matched unification explains each query, by the nearest
    gallery images; None for other kinds of matching."""

    @property
    def valid(self) -> np.ndarray:
        """(Q,) bool: the query has a match in the gallery."""
        return self.first_rank > 0

    @property
    def num_query(self) -> int:
        """Queries, those without a match included."""
        return len(self.first_rank)

    @property
    def num_without_match(self) -> int:
        """Queries whose identity is not in the gallery under another camera."""
        return int((~self.valid).sum())

    @property
    def mAP(self) -> float:  # noqa: N802 (the field's spelling)
        """Mean average precision over the queries with a match."""
        return float(self.ap[self.valid].mean())

    @property
    def mAP_trapezoid(self) -> float:  # noqa: N802
        """Mean trapezoidal average precision over the queries with a match."""
        return float(self.ap_trapezoid[self.valid].mean())

    @property
    def mINP(self) -> float:  # noqa: N802
        """Mean inverse negative penalty over the queries with a match."""
        return float(self.inp[self.valid].mean())

    def rank(self, k: int) -> float:
        """Rank-k: share of the matched queries with a positive among the k nearest, for any k from 1 on."""
        return float(cmc(self.first_rank, k)[k - 1])

    def to_percent(self) -> dict[str, Any]:
        """The entry of ``results.json`` for one data set: scores in percent, counts, query types."""
        scores = {f"Rank-{k}": 100 * self.rank(k) for k in RANKS}
        means = {"mAP": self.mAP, "mAP_trapezoid": self.mAP_trapezoid, "mINP": self.mINP}
        return {
            **scores,
            **{name: 100 * value for name, value in means.items()},
            "num_query": self.num_query,
            "num_gallery": self.num_gallery,
            "query_types": dict(self.query_types),
        }

    def per_query(self) -> dict[str, np.ndarray]:
        """The per-query arrays by name, as ``per_query/<data set>.npz`` stores them."""
        return {
            "ap": self.ap,
            "ap_trapezoid": self.ap_trapezoid,
            "inp": self.inp,
            "first_rank": self.first_rank,
            "valid": self.valid,
            **({} if self.posterior is None else {"posterior": self.posterior}),
        }
