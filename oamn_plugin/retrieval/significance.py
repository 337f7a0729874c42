"""How sure a score is: bootstrap intervals over queries, and a paired test between two runs on the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from oamn_plugin.retrieval.result import RANKS, RankingResult

PerQuery = RankingResult | Mapping[str, np.ndarray]
"""A result, or the arrays that ``per_query/<data set>.npz`` holds."""
TAILS = (0.025, 0.975)
"""Quantiles that an interval of 95 % lies between."""
_CHUNK = 256


class Interval(NamedTuple):
    """A score and its confidence interval, as fractions."""

    value: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """Difference of two runs, second minus first, on the queries both have a match for."""

    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided, of the hypothesis that the runs are exchangeable query by query."""
    num_query: int


def query_scores(run: PerQuery, ranks: Sequence[int] = RANKS) -> dict[str, np.ndarray]:
    """Per-query values (n,) whose mean is the score, by its name, of the n queries with a match."""
    arrays = run.per_query() if isinstance(run, RankingResult) else run
    valid = np.asarray(arrays["valid"], dtype=bool)
    first = np.asarray(arrays["first_rank"])[valid]
    scores = {f"Rank-{k}": (first <= k).astype(np.float64) for k in ranks}
    names = {"mAP": "ap", "mAP_trapezoid": "ap_trapezoid", "mINP": "inp"}
    return {**scores, **{score: np.asarray(arrays[key], dtype=np.float64)[valid] for score, key in names.items()}}


def bootstrap_intervals(run: PerQuery, *, samples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap over queries for every score, at a level of 95 %.

    The interval says how the score would move with other queries of the same kind; it does not hold the spread between
    trainings. All scores are computed on the same resampled queries.

    Args:
        run: result or per-query arrays.
        samples: number of resamples.
        seed: of numpy's generator; the same seed gives the same interval.

    Raises:
        ValueError: no query with a match.
    """
    scores = query_scores(run)
    values = np.stack(list(scores.values()), axis=1)
    low, high = np.quantile(_resampled_means(values, samples, seed), TAILS, axis=0)
    return {name: Interval(float(values[:, i].mean()), float(low[i]), float(high[i])) for i, name in enumerate(scores)}


def paired_test(
    first: PerQuery,
    second: PerQuery,
    score: str = "mAP",
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Tests whether two runs differ on the same queries.

    The p-value is that of a paired permutation test (the signs of the per-query differences flipped at random), the
    interval a paired percentile bootstrap of the difference.

    Args:
        first: result or per-query arrays of one run.
        second: of the other; the difference is second minus first.
        score: ``Rank-k`` for any k, ``mAP``, ``mAP_trapezoid`` or ``mINP``.
        samples: number of resamples; the smallest p-value is 1 / (samples + 1).
        seed: of numpy's generator.

    Raises:
        ValueError: the runs are not on the same queries, or the score is unknown.
    """
    _check_same_queries(first, second)
    differences = _values(second, score) - _values(first, score)
    observed = float(differences.mean()) if len(differences) else 0.0
    low, high = np.quantile(_resampled_means(differences[:, None], samples, seed), TAILS)
    return PairedTest(observed, float(low), float(high), _sign_flip(differences, samples, seed), len(differences))


def _sign_flip(differences: np.ndarray, samples: int, seed: int) -> float:
    generator, total = np.random.default_rng([seed, 1]), abs(differences.sum())
    changed = differences[differences != 0]
    as_extreme = 0
    for start in range(0, samples, _CHUNK):
        signs = 2 * generator.integers(0, 2, (min(_CHUNK, samples - start), len(changed)), dtype=np.int8) - 1
        as_extreme += int((np.abs(signs @ changed) >= total - 1e-12).sum())
    return (1 + as_extreme) / (1 + samples)


def _resampled_means(values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means (samples, S) of (n, S) values over n rows drawn with replacement, each draw shared by all columns."""
    count = len(values)
    if not count:
        raise ValueError("there is no query with a match to resample")
    generator = np.random.default_rng([seed, 0])
    means = []
    for start in range(0, samples, _CHUNK):
        size = min(_CHUNK, samples - start)
        drawn = generator.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means.append(times @ values / count)
    return np.concatenate(means)


def _values(run: PerQuery, score: str) -> np.ndarray:
    ranks = [int(score[5:])] if score.startswith("Rank-") and score[5:].isdigit() else []
    scores = query_scores(run, ranks)
    if score not in scores:
        raise ValueError(f"unknown score {score!r}: choose Rank-1 (or any k), mAP, mAP_trapezoid or mINP")
    return scores[score]


def _check_same_queries(first: PerQuery, second: PerQuery) -> None:
    left, right = (run.per_query() if isinstance(run, RankingResult) else run for run in (first, second))
    for key in ("valid", "pids", "camids", "paths"):
        if key in left and key in right and not np.array_equal(left[key], right[key]):
            raise ValueError(f"the two runs are not on the same queries: their {key!r} differ")
