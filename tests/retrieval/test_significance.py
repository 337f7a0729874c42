"""Intervals and tests against straight loops, and against what is known of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from oamn_plugin.retrieval import bootstrap_intervals, paired_test
from oamn_plugin.retrieval.significance import query_scores


def run(ap, first=None):
    ap = np.asarray(ap, dtype=float)
    first = np.ones(len(ap), dtype=int) if first is None else np.asarray(first)
    return {"ap": ap, "ap_trapezoid": ap / 2, "inp": ap, "first_rank": first, "valid": first > 0}


def test_scores_are_means_over_matched_queries():
    scores = query_scores(run([0.5, 0.0, 1.0], [2, 0, 1]))
    ranks = {"Rank-1": 0.5, "Rank-3": 1, "Rank-5": 1, "Rank-10": 1, "Rank-20": 1}
    expected = {**ranks, "mAP": 0.75, "mAP_trapezoid": 0.375, "mINP": 0.75}
    assert {name: values.mean() for name, values in scores.items()} == expected


def test_interval_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    ap = rng.beta(2, 3, 800)
    interval = bootstrap_intervals(run(ap), samples=4000)["mAP"]
    margin = 1.96 * ap.std() / np.sqrt(len(ap))
    assert interval.value == pytest.approx(ap.mean())
    assert (interval.value - interval.low, interval.high - interval.value) == pytest.approx((margin, margin), rel=0.08)
    assert interval == bootstrap_intervals(run(ap), samples=4000)["mAP"], "the same seed gives the same interval"
    assert interval != bootstrap_intervals(run(ap), samples=4000, seed=1)["mAP"]


def test_p_value_is_that_of_all_sign_flips():
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 9))
    differences = second - first
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=9)]
    exact = np.mean([s >= abs(differences.sum()) - 1e-12 for s in sums])
    test = paired_test(run(first), run(second), samples=20_000)
    assert test.p_value == pytest.approx(exact, abs=0.015)
    assert test.difference == pytest.approx(differences.mean())
    assert test.low < test.difference < test.high


def test_equal_runs_do_not_differ_and_unequal_ones_do():
    rng = np.random.default_rng(2)
    ap = rng.random(300) * 0.9
    same = paired_test(run(ap), run(ap))
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    better = paired_test(run(ap), run(ap + rng.normal(0.05, 0.1, 300)))
    assert better.p_value < 1e-3
    assert better.low > 0
    first = rng.integers(1, 4, 300)
    assert paired_test(run(ap, first), run(ap, np.ones(300, dtype=int)), "Rank-1").difference == (first > 1).mean()


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(3)
    p_values = [paired_test(run(rng.random(30)), run(rng.random(30)), samples=200, seed=s).p_value for s in range(200)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.1


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="not on the same queries: their 'valid' differ"):
        paired_test(run([1, 1], [1, 1]), run([1, 1], [1, 0]))
    with pytest.raises(ValueError, match="unknown score 'map'"):
        paired_test(run([1]), run([1]), "map")
    with pytest.raises(ValueError, match="no query with a match"):
        bootstrap_intervals(run([0], [0]))
