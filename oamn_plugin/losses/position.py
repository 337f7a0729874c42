"""Position loss: tells the mask where the pasted strip lies. Not part of the published method."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oamn_plugin.losses.common import check_views, full_precision
from oamn_plugin.occlusion import OCCLUSION_TYPES, strip

_FINE = 4  # a quarter of any extent is whole on a grid four times as fine
_EPS = 1e-6


class PositionLoss(nn.Module):
    """Binary cross-entropy between the mask at each position and the share of it that no strip covers.

    The augmentation knows which pixels it covered; the method does not use it. Meant for aligned views: where flips or
    crops come after the strips, these no longer lie where their type says.

    Shapes:
        masks (B, V, 1, h, w) in [0, 1] and types (B, V) to a scalar.

    >>> masks = torch.tensor([[0.0, 1.0]]).view(1, 1, 1, 1, 2).expand(1, 3, 1, 4, 2)
    >>> types = torch.tensor([[1, 1, 1]])
    >>> PositionLoss()(masks, types) < 1e-5
    tensor(True)
    """

    def forward(self, masks: Tensor, types: Tensor, covered: Tensor | None = None) -> Tensor:
        """Returns the mean over views and positions of masks (B, V, 1, h, w) for types (B, V).

        ``covered`` (B, V, H, W), bool: the pixels that are hidden, where these are not the strips of the types.
        """
        check_views(types, masks=masks)
        # probabilities, not logits, arrive here; the clamp keeps both logarithms finite
        masks = full_precision(masks)[:, :, 0].clamp(_EPS, 1 - _EPS)
        size = masks.shape[-2:]
        hidden = (
            coverage(*size).to(masks)[types]
            if covered is None
            else F.adaptive_avg_pool2d(covered.to(masks), (size[0], size[1]))
        )
        visible = 1 - hidden
        return -(visible * masks.log() + (1 - visible) * (1 - masks).log()).mean()


def coverage(height: int, width: int) -> Tensor:
    """Share of each position that each occlusion type's strip covers.

    Args:
        height: positions from top to bottom.
        width: positions from left to right.

    Returns:
        (9, height, width) float32 in [0, 1], in the order of ``OCCLUSION_TYPES``; fractions where a strip's edge
        crosses a position.

    >>> coverage(2, 3)[1]
    tensor([[1.0000, 0.5000, 0.0000],
            [1.0000, 0.5000, 0.0000]])
    """
    fine = torch.zeros(len(OCCLUSION_TYPES), height * _FINE, width * _FINE)
    for index, name in enumerate(OCCLUSION_TYPES):
        top, left, rows, columns = strip(name, *fine.shape[1:])
        fine[index, top : top + rows, left : left + columns] = 1
    return F.avg_pool2d(fine[:, None], _FINE)[:, 0]
