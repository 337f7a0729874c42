"""Every score against a loop, and against scikit-learn where it defines the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from oamn_plugin.retrieval import metrics

rank_sets = st.lists(st.sets(st.integers(1, 40), max_size=10), min_size=1, max_size=5)


def padded(sets):
    ranks = np.zeros((len(sets), max(map(len, sets))), dtype=np.int64)
    for row, values in enumerate(sets):
        ranks[row, : len(values)] = sorted(values)
    return ranks


def walk(relevant, length=41):
    """Both average precisions by walking down the list, as the original evaluation codes do."""
    ap = area = old_recall = 0.0
    old_precision, hits = 1.0, 0
    for rank in range(1, length + 1):
        hits += rank in relevant
        recall, precision = hits / len(relevant), hits / rank
        ap += precision / len(relevant) if rank in relevant else 0
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return ap, area


@given(rank_sets)
def test_average_precisions_equal_a_walk(sets):
    expected = [walk(s) if s else (0, 0) for s in sets]
    np.testing.assert_allclose(metrics.average_precision(padded(sets)), [e[0] for e in expected], atol=1e-12)
    np.testing.assert_allclose(metrics.average_precision_trapezoid(padded(sets)), [e[1] for e in expected], atol=1e-12)


@given(st.sets(st.integers(1, 40), min_size=1))
def test_average_precision_is_sklearns(relevant):
    truth = [rank in relevant for rank in range(1, 42)]
    expected = average_precision_score(truth, -np.arange(41))
    assert metrics.average_precision(padded([relevant]))[0] == pytest.approx(expected, abs=1e-12)


def test_one_relevant_image_at_rank_two():
    ranks = np.array([[2]])
    assert metrics.average_precision(ranks).tolist() == [0.5]
    assert metrics.average_precision_trapezoid(ranks).tolist() == [0.25]


@given(rank_sets)
def test_inverse_negative_penalty_and_cmc(sets):
    ranks = padded(sets)
    expected = [len(s) / max(s) if s else 0 for s in sets]
    np.testing.assert_allclose(metrics.inverse_negative_penalty(ranks), expected)
    first = np.array([min(s, default=0) for s in sets])
    matched = [min(s) for s in sets if s]
    curve = [sum(f <= k for f in matched) / max(len(matched), 1) for k in range(1, 51)]
    np.testing.assert_allclose(metrics.cmc(first), curve, atol=1e-12)


def test_no_positive_at_all():
    empty = np.zeros((3, 0), dtype=np.int64)
    for function in (metrics.average_precision, metrics.average_precision_trapezoid, metrics.inverse_negative_penalty):
        assert function(empty).tolist() == [0, 0, 0]
    assert not metrics.cmc(np.zeros(len(empty), dtype=int)).any()
