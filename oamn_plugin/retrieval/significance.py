"""How sure a score is: bootstrap intervals over queries, and a paired test between two runs on the same queries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

TAILS = (0.025, 0.975)
"""Quantiles that an interval of 95 % lies between."""
_CHUNK = 256


class Interval(NamedTuple):
    """A score and its confidence interval, as fractions."""

    value: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """Difference of two runs, second minus first."""

    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided, of the hypothesis that the runs are exchangeable query by query."""


def bootstrap_interval(scores: ArrayLike, *, samples: int = 2000, seed: int = 0) -> Interval:
    """Mean of the queries' scores with its percentile bootstrap interval, at a level of 95 %.

    The interval says how the score would move with other queries of the same kind; it does not hold the spread between
    trainings.

    Args:
        scores: (Q,) a score of every query with a match, such as its average precision.
        samples: number of resamples.
        seed: of numpy's generator; the same seed gives the same interval.

    Raises:
        ValueError: no query.
    """
    values = np.asarray(scores, dtype=np.float64)
    low, high = np.quantile(_resampled_means(values, samples, seed), TAILS)
    return Interval(float(values.mean()), float(low), float(high))


def paired_test(first: ArrayLike, second: ArrayLike, *, samples: int = 10_000, seed: int = 0) -> PairedTest:
    """Tests whether two runs differ on the same queries.

    The p-value is that of a paired permutation test (the signs of the per-query differences flipped at random), the
    interval a paired percentile bootstrap of the difference.

    Args:
        first: (Q,) a score of every query by one run.
        second: (Q,) of the same queries by the other; the difference is second minus first.
        samples: number of resamples; the smallest p-value is 1 / (samples + 1).
        seed: of numpy's generator.

    Raises:
        ValueError: another number of queries, or none.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"a paired test needs the same queries: {len(before)} and {len(after)} were given")
    differences = after - before
    low, high = np.quantile(_resampled_means(differences, samples, seed), TAILS)
    return PairedTest(float(differences.mean()), float(low), float(high), _sign_flip(differences, samples, seed))


def _sign_flip(differences: np.ndarray, samples: int, seed: int) -> float:
    generator, total = np.random.default_rng([seed, 1]), abs(differences.sum())
    changed = differences[differences != 0]
    as_extreme = 0
    for start in range(0, samples, _CHUNK):
        signs = 2 * generator.integers(0, 2, (min(_CHUNK, samples - start), len(changed)), dtype=np.int8) - 1
        as_extreme += int((np.abs(signs @ changed) >= total - 1e-12).sum())
    return (1 + as_extreme) / (1 + samples)


def _resampled_means(values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """(samples,) means of (n,) values drawn n times with replacement."""
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
