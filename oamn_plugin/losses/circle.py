"""Circle softmax: an identity loss on cosines whose pull weakens where a cosine is already good."""

from __future__ import annotations

import torch
from torch import Tensor

from oamn_plugin.losses.common import full_precision

SCALE = 64.0
"""What the cosines are multiplied by, as in the circle loss with class weights (Sun et al., CVPR 2020)."""
MARGIN = 0.35
"""How far from 1 and 0 the cosines may stay."""


def circle_logits(logits: Tensor, pids: Tensor) -> Tensor:
    """Logits for cross-entropy that make it the circle loss with class weights (Sun et al., CVPR 2020, eq. 6 to 9).

    With s the cosine of an embedding and a class weight, ``SCALE * a * (s - d)``: at the true class
    ``a = max(0, 1 + MARGIN - s)``, ``d = 1 - MARGIN``; at the others ``a = max(0, s + MARGIN)``, ``d = MARGIN``. The
    factors a are weights, not functions to learn from: no gradient passes through them. Not part of the published OAMN.

    Args:
        logits: (N, C), ``SCALE`` times the cosines.
        pids: (N,) long, class indices.

    Returns:
        (N, C) float32, or float64 where the logits are.

    >>> circle_logits(torch.tensor([[64.0, 0.0]]), torch.tensor([0]))
    tensor([[ 7.8400, -7.8400]])
    """
    cosines = full_precision(logits) / SCALE
    own = torch.zeros_like(cosines, dtype=torch.bool).scatter_(1, pids[:, None], True)
    factors = torch.where(own, 1 + MARGIN - cosines, cosines + MARGIN).detach().clamp_min(0)
    return SCALE * factors * (cosines - torch.where(own, 1 - MARGIN, MARGIN))
