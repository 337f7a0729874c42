"""The occlusion scorer: which side of the image is occluded, and how surely."""

from __future__ import annotations

from torch import Tensor, nn

from oamn_plugin.occlusion import SIDES


class OcclusionScorer(nn.Module):
    """``Linear(BatchNorm1d(mean over positions of f * m))``: one logit per side.

    Both inputs are detached: the score loss teaches this batch norm and this linear layer and nothing below them.
    OAMN (ICCV 2021), section 3.3.

    Args:
        channels: channels C of the features.

    Shapes:
        features (N, C, h, w) and mask (N, 1, h, w) to logits (N, 4), order left, right, bottom, top.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)
        self.fc = nn.Linear(channels, len(SIDES))
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Returns the logits (N, 4) of masked features."""
        return self.fc(self.bn((features.detach() * mask.detach()).mean((2, 3))))
