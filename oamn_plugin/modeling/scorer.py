"""The occlusion scorer: which side of the image is occluded, and how surely."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oamn_plugin.occlusion import SIDES


class OcclusionScorer(nn.Module):
    """``Linear(BatchNorm1d(mean over positions of f * m))``: one logit per side.

    Both inputs are detached: the score loss teaches this batch norm and this linear layer and nothing below them.
    OAMN (ICCV 2021), section 3.3.

    Args:
        channels: channels C of the features.
        positions: h * w to read the mask's own values too, which say where it found an occluder; 0, the published
            scorer, reads the masked features alone.

    Shapes:
        features (N, C, h, w) and mask (N, 1, h, w) to logits (N, 4), order left, right, bottom, top.
    """

    def __init__(self, channels: int, positions: int = 0) -> None:
        super().__init__()
        self.positions = positions
        self.bn = nn.BatchNorm1d(channels + positions)
        self.fc = nn.Linear(channels + positions, len(SIDES))
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Returns the logits (N, 4) of masked features."""
        mask = mask.detach()
        evidence = (features.detach() * mask).mean((2, 3))
        if self.positions:
            evidence = torch.cat([evidence, mask.flatten(1)], 1)
        return self.fc(self.bn(evidence))
