"""TPR at FPR against scikit-learn's curve over the list of all pairs, read as fastreid reads it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from oamn_plugin.retrieval.roc import tpr_at_fpr

FPRS = (1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.99)


def straight(distances, q_pids, g_pids, q_camids, g_camids):
    same = q_pids[:, None] == g_pids
    counts = ~(same & (q_camids[:, None] == g_camids))
    fpr, tpr, _ = roc_curve((~same)[counts], distances[counts])
    return {wanted: tpr[np.abs(fpr - wanted).argmin()] for wanted in FPRS}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), levels=st.integers(1, 40), identities=st.integers(2, 5))
def test_equals_the_curve_over_all_pairs(seed, levels, identities):
    rng = np.random.default_rng(seed)
    query, gallery = (rng.integers(0, levels + 1, (n, 2)).astype(np.float32) for n in (12, 40))
    pids = rng.integers(0, identities, 12), rng.integers(0, identities, 40)
    camids = np.zeros(12, dtype=int), rng.integers(0, 3, 40)
    distances = ((query[:, None] - gallery[None]) ** 2).sum(-1)
    same = pids[0][:, None] == pids[1]
    if same.all() or not (same & (camids[1] != 0)).any():
        return
    expected = straight(distances, *pids, *camids)
    assert tpr_at_fpr(query, gallery, *pids, *camids, fprs=FPRS, metric="sqeuclidean") == pytest.approx(expected)


def test_more_pairs_than_the_thresholds_looked_at():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 8))
    pids = rng.integers(0, 20, 60), rng.integers(0, 20, 500)
    query, gallery = ((centres[p] + rng.standard_normal((len(p), 8))).astype(np.float32) for p in pids)
    camids = np.zeros(60, dtype=int), np.ones(500, dtype=int)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
    expected = straight(1 - unit[0] @ unit[1].T, *pids, *camids)
    assert tpr_at_fpr(query, gallery, *pids, *camids, fprs=FPRS) == pytest.approx(expected, abs=1e-4)


def test_no_genuine_pair():
    with pytest.raises(ValueError, match="no genuine pair"):
        tpr_at_fpr(np.ones((1, 2)), np.ones((1, 2)), [1], [2], [0], [1])
