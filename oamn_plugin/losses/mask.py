"""Mask consistency: what the mask keeps of an occluded view must be what the clean view shows there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oamn_plugin.losses.common import check_views, full_precision, groups_of, is_half, side_scale

OPPOSING_GROUPS = ((1, 2), (3, 4))
"""Groups of the two opposing pairs: left and right, bottom and top."""


class MaskConsistencyLoss(nn.Module):
    """The two mask losses of OAMN (ICCV 2021), section 3.2, with features detached: they teach the mask module alone.

    - mask 1: sum over the four sides v of the mean over all elements of ``((f_0 - f_v) * m_v)^2``: keep only what the
      occlusion left as it was.
    - mask 2: mean over images and elements of ``(g_left + g_right - g_0)^2 + (g_bottom + g_top - g_0)^2`` with
      ``g = f * (floor + m)``: two halves make a whole. Quarters do not, so only images of area half have this loss.

    The paper leaves its divisor n open; means over elements, as in the released code, keep the weights' meaning. With
    three views per image (one opposing pair) the pair counts twice, so that the expectation is that of five views.

    Args:
        mask2_over_half_only: True: mean over the images of area half (paper). False: over all images, those of area
            quarter counting as zeros (released code).
        floor: constant added to the mask in g; it enters mask 2 only.

    Shapes:
        features (B, V, C, h, w), masks (B, V, 1, h, w), types (B, V) to two scalars. View 0 is the clean one.

    Raises:
        ValueError: shapes that do not fit together, or a negative floor.

    >>> import torch
    >>> types = torch.tensor([[0, 1, 2, 3, 4]])
    >>> mask1, mask2 = MaskConsistencyLoss()(torch.ones(1, 5, 2, 4, 2), torch.full((1, 5, 1, 4, 2), 0.5), types)
    >>> mask1.item(), mask2.item()
    (0.0, 0.5)
    """

    def __init__(self, mask2_over_half_only: bool = True, floor: float = 0.0) -> None:
        super().__init__()
        if floor < 0:
            raise ValueError(f"floor must not be negative, got {floor}")
        self.mask2_over_half_only = mask2_over_half_only
        self.floor = floor

    def forward(self, features: Tensor, masks: Tensor, types: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (mask 1, mask 2) of features (B, V, C, h, w), masks (B, V, 1, h, w) and types (B, V)."""
        check_views(types, features=features, masks=masks)
        features, masks = full_precision(features.detach()), full_precision(masks)
        scale = side_scale(types.shape[1])
        return scale * self._mask1(features, masks), scale * self._mask2(features, masks, types)

    def _mask1(self, features: Tensor, masks: Tensor) -> Tensor:
        # the mask has one channel, so the mean over channels can be taken before it: no gradient, little memory
        change = (features[:, :1] - features[:, 1:]).square().mean(2, keepdim=True)
        return (change * masks[:, 1:].square()).sum(1).mean()

    def _mask2(self, features: Tensor, masks: Tensor, types: Tensor) -> Tensor:
        groups, half = groups_of(types), is_half(types)
        products = _channel_products(features)
        kept = (self.floor + masks).flatten(2).transpose(1, 2)  # (B, n, V), g = f * kept
        total = kept.new_zeros(len(types))
        for pair in OPPOSING_GROUPS:
            members = ((groups == pair[0]) | (groups == pair[1])) & half
            signs = members.to(kept.dtype)
            signs[:, 0] = -1.0
            weights = (signs[:, None] * kept)[..., None]
            residual = (weights * (products @ weights)).sum((2, 3))  # (B, n): its square, summed over channels
            total = total + members.any(1) * residual.mean(1) / features.shape[2]
        images = half.any(1).sum().clamp_min(1) if self.mask2_over_half_only else len(types)
        return total.sum() / images

    def extra_repr(self) -> str:
        """Returns the arguments for ``print(module)``."""
        return f"mask2_over_half_only={self.mask2_over_half_only}, floor={self.floor}"


@torch.no_grad()
def _channel_products(features: Tensor) -> Tensor:
    """Products over channels of each pair of an image's views, by position: (B, V, C, h, w) to (B, n, V, V).

    The mask has one channel and the features have no gradient, so a squared sum of masked views is a quadratic form in
    the masks: features are read once, and nothing of their size is kept for the backward pass.
    """
    points = features.flatten(3).permute(0, 3, 1, 2)
    with torch.autocast(points.device.type, enabled=False):
        return points @ points.transpose(2, 3)
