"""A calibrated scorer against a naive search over temperatures and pairs of thresholds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES, SIDES
from oamn_plugin.retrieval.scorer_fit import ScorerFit, fit_scorer, types_right
from oamn_plugin.retrieval.strips import occlusion_types


def drawn(count: int, seed: int, weak: float = 0.6) -> tuple[torch.Tensor, list[str]]:
    """Logits of a scorer that is right more often than not, and too unsure of it."""
    rng = np.random.default_rng(seed)
    truth = [OCCLUSION_TYPES[index] for index in rng.integers(0, len(OCCLUSION_TYPES), count)]
    logits = rng.normal(0, 0.3, (count, 4))
    for row, name in enumerate(truth):
        if name != NONE:
            side, area = name.split("_")
            logits[row, SIDES.index(side)] += weak * (1.5 if area == "half" else 0.8)
    return torch.tensor(logits, dtype=torch.float32), truth


def shares(logits: torch.Tensor, truth: list[str], thresholds: tuple[float, float], temperature: float) -> float:
    right: dict[str, list[bool]] = {"none": [], "quarter": [], "half": []}
    for row, name in zip(logits, truth, strict=True):
        probabilities = [float(value) for value in (row.double() / temperature).softmax(0)]
        confidence = max(probabilities)
        side = SIDES[probabilities.index(confidence)]
        area = "half" if confidence > thresholds[1] else "quarter"
        found = f"{side}_{area}" if confidence > thresholds[0] else NONE
        right[name.split("_")[-1]].append(found == name)
    return sum(sum(rows) / len(rows) for rows in right.values()) / 3


@pytest.mark.parametrize("seed", range(4))
def test_no_other_thresholds_tell_more_types_and_no_other_temperature_is_likelier(seed: int) -> None:
    logits, truth = drawn(60, seed)
    fit = fit_scorer(logits, truth)

    def loss(temperature: float) -> float:
        rows = [
            float((row.double() / temperature).log_softmax(0)[SIDES.index(name.split("_")[0])])
            for row, name in zip(logits, truth, strict=True)
            if name != NONE
        ]
        return -sum(rows) / len(rows)

    assert loss(fit.score_temperature) <= min(map(loss, np.geomspace(0.02, 50, 150))) + 1e-4
    confidence = sorted({0.25, *(logits.double() / fit.score_temperature).softmax(1).max(1).values.tolist()})
    between = [(a + b) / 2 for a, b in itertools.pairwise(confidence)] + [1.0]
    pairs = [(low, high) for low in between for high in between if low <= high]
    best = max(shares(logits, truth, pair, fit.score_temperature) for pair in pairs)
    assert types_right(logits, truth, fit) == pytest.approx(best)
    assert types_right(logits, truth, fit) == pytest.approx(shares(logits, truth, fit[:2], fit.score_temperature))


def test_a_scorer_that_never_reached_the_published_thresholds_names_types_once_calibrated() -> None:
    logits, truth = drawn(400, 9)
    named = [OCCLUSION_TYPES[index] for index in occlusion_types(logits)[0].tolist()]
    assert named.count(NONE) > 300
    other, known = drawn(400, 10)
    assert types_right(other, known, fit_scorer(logits, truth)) > types_right(other, known, ScorerFit()) + 0.1


def test_without_a_fit_types_are_the_published_ones_to_the_bit() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    types, confidence = occlusion_types(logits, *ScorerFit())
    assert torch.equal(confidence, logits.softmax(1).max(1).values)
    assert torch.equal(types, occlusion_types(logits)[0])


def test_extents_that_nobody_shows_are_named() -> None:
    with pytest.raises(ValueError, match="without images of extent none, half"):
        fit_scorer(torch.zeros(2, 4), ["left_quarter", "top_quarter"])
