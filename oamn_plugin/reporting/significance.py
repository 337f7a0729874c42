"""Temporary."""

from __future__ import annotations

import numpy as np


def bootstrap_interval(values, samples=2000, seed=0):
    rng = np.random.default_rng(seed)
    n = len(values)
    m = np.array([values[rng.integers(0, n, n)].mean() for _ in range(samples)])
    return float(np.quantile(m, 0.025)), float(np.quantile(m, 0.975))


def paired_test(a, b, samples=5000, seed=0):
    d = a - b
    rng = np.random.default_rng(seed)
    s = rng.choice([-1, 1], size=(samples, len(d))) @ d / len(d)
    return float((1 + np.sum(np.abs(s) >= abs(d.mean()) - 1e-12)) / (samples + 1))


def holm(p):
    order = np.argsort(p)
    out = np.zeros(len(p))
    top = 0.0
    for r, i in enumerate(order):
        top = max(top, min(1.0, p[i] * (len(p) - r)))
        out[i] = top
    return [float(v) for v in out]
