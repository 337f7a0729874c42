"""A calibrated scorer: temperature and thresholds that fit what is known of how images are occluded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from oamn_plugin.occlusion import NONE, SIDES, TYPE_INDEX, split_type
from oamn_plugin.retrieval.strips import occlusion_types

EXTENTS = (NONE, "quarter", "half")
_TEMPERATURES = 2.0 ** np.linspace(-6, 6, 481)


class ScorerFit(NamedTuple):
    """Options of an OAMN by which its scorer names occlusion types."""

    quarter_threshold: float = 0.5
    half_threshold: float = 0.75
    score_temperature: float = 0.0


def fit_scorer(logits: Tensor, truth: Sequence[str]) -> ScorerFit:
    """The temperature under which the scorer's probabilities are right, and the thresholds that tell most types.

    The temperature makes the true sides of occluded images most likely. The thresholds make :func:`types_right`
    largest.

    Args:
        logits: (N, 4), order left, right, bottom, top.
        truth: N occlusion types by name.

    Raises:
        ValueError: there are no images whole, with a quarter or with a half hidden.
    """
    extents = _extents(truth)
    if missing := [extent for extent in EXTENTS if extent not in extents]:
        raise ValueError(f"a scorer cannot be calibrated without images of extent {', '.join(missing)}")
    sides = torch.tensor([(TYPE_INDEX[name] - 1) % len(SIDES) for name in truth])  # 3 for none: never read
    hidden = torch.from_numpy(extents != NONE)
    losses = [float(F.cross_entropy(logits[hidden].double() / one, sides[hidden])) for one in _TEMPERATURES]
    temperature = float(_TEMPERATURES[np.argmin(losses)])
    confidence, named = (logits / temperature).softmax(1).max(1)
    values, right = confidence.double().numpy(), (named == sides).numpy()
    ends = np.unique([0.25, 1.0, *values])
    steps = (ends[1:] + ends[:-1]) / 2

    def below(extent: str) -> np.ndarray:
        """Share of an extent's images under each step; of occluded ones only those whose side is right can count."""
        own = extents == extent
        return np.searchsorted(np.sort(values[own & (right | (extent == NONE))]), steps) / own.sum()

    whole, quarter, half = map(below, EXTENTS)
    gains = whole - quarter  # by the lower threshold; quarter - half is that by the upper one
    upper = int(np.argmax(np.maximum.accumulate(gains) + quarter - half))
    return ScorerFit(float(steps[np.argmax(gains[: upper + 1])]), float(steps[upper]), temperature)


def types_right(logits: Tensor, truth: Sequence[str], fit: ScorerFit) -> float:
    """How often the type is right, as a share: the mean over images whole, with a quarter and with a half hidden."""
    types = occlusion_types(logits, *fit)[0].numpy()
    right, extents = types == [TYPE_INDEX[name] for name in truth], _extents(truth)
    return float(np.mean([right[extents == extent].mean() for extent in EXTENTS]))


def _extents(truth: Sequence[str]) -> np.ndarray:
    return np.array([NONE if name == NONE else split_type(name)[1] for name in truth])
