"""Intervals and tests against straight loops, and against what is known of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from oamn_plugin.retrieval import bootstrap_interval, paired_test


def test_interval_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    ap = rng.beta(2, 3, 800)
    interval = bootstrap_interval(ap, samples=4000)
    margin = 1.96 * ap.std() / np.sqrt(len(ap))
    assert interval.value == pytest.approx(ap.mean())
    assert (interval.value - interval.low, interval.high - interval.value) == pytest.approx((margin, margin), rel=0.08)
    assert interval == bootstrap_interval(ap, samples=4000), "the same seed gives the same interval"
    assert interval != bootstrap_interval(ap, samples=4000, seed=1)


def test_p_value_is_that_of_all_sign_flips():
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 9))
    differences = second - first
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=9)]
    exact = np.mean([s >= abs(differences.sum()) - 1e-12 for s in sums])
    test = paired_test(first, second, samples=20_000)
    assert test.p_value == pytest.approx(exact, abs=0.015)
    assert test.difference == pytest.approx(differences.mean())
    assert test.low < test.difference < test.high


def test_equal_runs_do_not_differ_and_unequal_ones_do():
    rng = np.random.default_rng(2)
    ap = rng.random(300) * 0.9
    same = paired_test(ap, ap)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    better = paired_test(ap, ap + rng.normal(0.05, 0.1, 300))
    assert better.p_value < 1e-3
    assert better.low > 0
    first = rng.integers(1, 4, 300)
    assert paired_test(first == 1, np.ones(300)).difference == (first > 1).mean()


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(3)
    p_values = [paired_test(rng.random(30), rng.random(30), samples=200, seed=s).p_value for s in range(200)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.1


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="needs the same queries: 2 and 1 were given"):
        paired_test([1, 1], [1])
    for call in (lambda: bootstrap_interval([]), lambda: paired_test([], [])):
        with pytest.raises(ValueError, match="no query with a match"):
            call()
