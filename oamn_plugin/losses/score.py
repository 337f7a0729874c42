"""The occlusion score loss: teaches the scorer which side is occluded and how much of the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oamn_plugin.losses.common import NUM_SIDES, check_views, full_precision, groups_of, is_half, side_scale

TARGETS = ("paper", "official")
_VIEWS = 1 + NUM_SIDES


class OcclusionScoreLoss(nn.Module):
    """Squared error between the softmax of the scorer's logits and the occlusion of the view.

    - ``paper``: mean over views of ``norm2(softmax(s) - target)^2``. Target: twice the occluded area (1 or 0.5) at the
      occluded side; the other 0.5 of a quarter spread evenly over the other sides; 1/4 everywhere for a clean view, the
      softmax's point of no evidence. OAMN (ICCV 2021), section 3.3; its n is read as the number of images.
    - ``official`` (released code): ``mean((max softmax(s_0) - 1/4)^2)`` plus, for each side v,
      ``mean((softmax(s_v)[v] - t)^2)``; t = 1 for a half, 0.5 for a quarter at bottom or top, 0 at left or right.

    With three views per image the sides count twice, so that the expectation is that of five views; with one, every
    image counts alike.

    Args:
        targets: ``paper`` or ``official``.

    Shapes:
        logits (B, V, 4), order left, right, bottom, top, and types (B, V) to a scalar. View 0 is the clean one.

    Raises:
        ValueError: unknown targets, or shapes that do not fit together.

    >>> OcclusionScoreLoss()(torch.zeros(1, 5, 4), torch.tensor([[0, 1, 2, 3, 4]]))
    tensor(0.6000)
    """

    def __init__(self, targets: str = "paper") -> None:
        super().__init__()
        if targets not in TARGETS:
            raise ValueError(f"targets must be one of {', '.join(TARGETS)}, got {targets!r}")
        self.targets = targets

    def forward(self, logits: Tensor, types: Tensor, covered: Tensor | None = None) -> Tensor:
        """Returns the loss of logits (B, V, 4) for types (B, V).

        ``covered`` (B, V, H, W), bool: the pixels that are hidden; their share of the image then takes the place of the
        type's half or quarter in ``paper`` targets.
        """
        check_views(types, logits=logits)
        scores = torch.softmax(full_precision(logits), -1)
        if self.targets == "paper":
            share = None if covered is None else covered.float().mean((-2, -1))
            errors = (scores - score_targets(types, share).to(scores.dtype)).square().sum(-1) / _VIEWS
        else:
            errors = self._official_errors(scores, types)
        if types.shape[1] == 1:  # one view an image, of any type: the mean over views of five, by another count
            return _VIEWS * errors.mean()
        per_view = errors.mean(0)
        return per_view[0] + side_scale(types.shape[1]) * per_view[1:].sum()

    def _official_errors(self, scores: Tensor, types: Tensor) -> Tensor:
        sides = (groups_of(types) - 1).clamp_min(0)
        own = scores.gather(-1, sides[..., None])[..., 0]
        quarter = torch.where(sides >= 2, 0.5, 0.0).to(scores.dtype)
        target = torch.where(is_half(types), 1.0, quarter)
        clean = types == 0
        return torch.where(clean, scores.amax(-1) - 1 / NUM_SIDES, own - target).square()

    def extra_repr(self) -> str:
        """Returns the arguments for ``print(module)``."""
        return f"targets={self.targets!r}"


def score_targets(types: Tensor, share: Tensor | None = None) -> Tensor:
    """Target of the softmax for each view in the reading of the paper: (..., 4) float32.

    At the occluded side twice the share (...) of the image that is hidden, at most 1; None: that of the type.

    >>> score_targets(torch.tensor([0, 1]))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500],
            [1.0000, 0.0000, 0.0000, 0.0000]])
    """
    sides = (groups_of(types) - 1)[..., None]
    own = torch.arange(NUM_SIDES, device=types.device) == sides
    share = torch.where(is_half(types), 0.5, 0.25) if share is None else share
    peak = (2 * share).clamp(1 / NUM_SIDES, 1)[..., None]
    spread = torch.where(own, peak, (1 - peak) / (NUM_SIDES - 1))
    return torch.where((types == 0)[..., None], 1 / NUM_SIDES, spread)
