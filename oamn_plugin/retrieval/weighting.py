"""Weighted unification: both images occluded in all nine ways, each way weighted by the query's mask.

The published unification trusts one reading of the scorer. Here no reading is final: the distance is
``sum_t w_t(q) |q_t - g_t|^2`` over the nine occlusion types, q_t and g_t being the descriptors of query and gallery
image with the strip of t black in both, and w_t the share of t in the likelihood of the query's mask. As an inner
product of two vectors of nine parts it is plain matching to ranking, index and export. Not part of the published
method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from oamn_plugin.losses.common import without_autocast
from oamn_plugin.losses.position import coverage
from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES

_EPS = 1e-3  # a mask of exactly 0 or 1 is no proof


def type_likelihoods(mask: Tensor) -> Tensor:
    """How well each occlusion type explains a mask: log-likelihoods (N, 9) in the order of ``OCCLUSION_TYPES``.

    Every position of the mask is taken for the probability that the position shows a body; under a type, the positions
    off its strip are visible and those on it are not. The mean over positions, not the sum: neighbouring positions are
    far from independent, and the size of the input must not decide how sharp the weights are.

    Args:
        mask: (N, 1, h, w) in [0, 1].

    >>> mask = torch.tensor([[1.0, 1.0], [0.1, 0.1]]).view(1, 1, 2, 2)
    >>> OCCLUSION_TYPES[type_likelihoods(mask).argmax()]
    'bottom_half'
    """
    mask = mask.float().clamp(_EPS, 1 - _EPS)
    covered = coverage(*mask.shape[-2:]).to(mask).flatten(1)
    with without_autocast(mask):
        summed = torch.log(mask).flatten(1) @ (1 - covered).T + torch.log(1 - mask).flatten(1) @ covered.T
    return summed / covered.shape[1]


def type_weights(mask: Tensor, temperature: float, plain_share: float = 0.0) -> Tensor:
    """Weights (N, 9) of the types, which sum to 1.

    Args:
        mask: (N, 1, h, w) in [0, 1].
        temperature: divides the log-likelihoods.
        plain_share: weight that goes to ``none`` in any case.
    """
    weights = (1 - plain_share) * torch.softmax(type_likelihoods(mask) / temperature, 1)
    weights[:, OCCLUSION_TYPES.index(NONE)] += plain_share
    return weights


def query_parts(parts: Tensor, weights: Tensor) -> Tensor:
    """Unit query vectors (N, 9 D) of unit descriptors (N, 9, D) and weights (N, 9)."""
    return F.normalize((weights[..., None] * parts).flatten(1))


def gallery_parts(parts: Tensor) -> Tensor:
    """Unit gallery vectors (N, 9 D) of unit descriptors (N, 9, D)."""
    return parts.flatten(1) / parts.shape[1] ** 0.5


def describe_ways(model: Any, occluded: Callable[[str], tuple[Tensor, Tensor]]) -> Tensor:
    """Unit descriptors (N, 9, D) of images occluded in each of the nine ways.

    Args:
        model: anything with ``apply_mask`` and ``describe``.
        occluded: features and mask of the images under a type.
    """
    ways = (model.describe(model.apply_mask(*occluded(name))).float() for name in OCCLUSION_TYPES)
    return torch.stack(list(ways), 1)
