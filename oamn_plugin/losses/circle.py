"""Circle softmax: an identity loss on cosines whose pull weakens where a cosine is already good."""

from __future__ import annotations

import torch
from torch import Tensor

from oamn_plugin.losses.common import full_precision


def circle_logits(logits: Tensor, pids: Tensor, scale: float = 64.0, margin: float = 0.35) -> Tensor:
    """Logits for cross-entropy that make it the circle loss with class weights (Sun et al., CVPR 2020, eq. 6 to 9).

    With s the cosine of an embedding and a class weight, ``scale * a * (s - d)``: at the true class
    ``a = max(0, 1 + margin - s)``, ``d = 1 - margin``; at the others ``a = max(0, s + margin)``, ``d = margin``. The
    factors a are weights, not functions to learn from: no gradient passes through them. Not part of the published OAMN.

    Args:
        logits: (N, C), ``scale`` times the cosines.
        pids: (N,) long, class indices.
        scale: what the cosines were multiplied by.
        margin: how far from 1 and 0 the cosines may stay.

    Returns:
        (N, C) float32, or float64 where the logits are.

    Raises:
        ValueError: scale is not above 0, or the margin does not lie in [0, 1).

    >>> circle_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), scale=1.0, margin=0.25)
    tensor([[ 0.0625, -0.0625]])
    """
    if scale <= 0 or not 0 <= margin < 1:
        raise ValueError(f"scale must be above 0 and margin lie in [0, 1), got {scale} and {margin}")
    cosines = full_precision(logits) / scale
    own = torch.zeros_like(cosines, dtype=torch.bool).scatter_(1, pids[:, None], True)
    factors = torch.where(own, 1 + margin - cosines, cosines + margin).detach().clamp_min(0)
    return scale * factors * (cosines - torch.where(own, 1 - margin, margin))
