"""The mask module: the spatial half of Relation-Aware Global Attention, returning the weights alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REDUCTION = 8
"""How much narrower every embedding is than its input."""
NARROWEST = 8
"""Channels that no embedding of a wide mask falls below."""
VISIBLE_SHARE = 0.8
"""Where the mask of a wide module begins: about the share of training images that no occluder covers."""


def embedding(channels_in: int, channels_out: int, slope: float = 0.0) -> nn.Sequential:
    """Returns a 1x1 convolution without bias, batch norm and (leaky) ReLU: the ``emb`` of the formulas."""
    activation: nn.Module = nn.LeakyReLU(slope, True) if slope else nn.ReLU(True)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=1, bias=False), nn.BatchNorm2d(channels_out), activation
    )


class SpatialRelationMask(nn.Module):
    """RGA-S: one weight in (0, 1) per position, from the position's relations to all positions.

    With ``A[i, k] = theta_i . phi_k`` (no scaling, no softmax), the relation vector of position i is
    ``[A[i, :], A[:, i]]``. It is embedded, joined behind the channel mean of ``gx`` and reduced to one channel; the
    mask is its sigmoid. Zhang et al., Relation-Aware Global Attention, CVPR 2020; OAMN (ICCV 2021), section 3.2.

    Args:
        channels: channels C of the features.
        size: height and width (h, w) of the features. The number of positions n = h * w fixes the layers' shapes.
        wide: a variant for few positions, not the published one. At 128x64 the published one has 4 relation channels
            and one hidden ReLU unit, most of whose values are 0. Here no embedding has fewer than 8 channels, all
            channels of ``gx`` are joined instead of their mean, hidden units are leaky, and a bias in place of the last
            batch norm begins at the visible share.

    Shapes:
        features (N, C, h, w) to mask (N, 1, h, w).

    Raises:
        ValueError: ``forward`` got features of another size than the module was built for.

    >>> SpatialRelationMask(16, (4, 3))(torch.rand(2, 16, 4, 3)).shape
    torch.Size([2, 1, 4, 3])
    """

    def __init__(self, channels: int, size: tuple[int, int], wide: bool = False) -> None:
        super().__init__()
        self.wide = wide
        self.size = (int(size[0]), int(size[1]))
        positions = self.size[0] * self.size[1]
        # narrow inputs (few positions, few channels) keep one channel, so that any input size builds
        least = NARROWEST if wide else 1
        inner, related = max(channels // REDUCTION, least), max(positions // REDUCTION, least)
        joined = related + (inner if wide else 1)
        hidden = max(joined // REDUCTION, least)
        self.theta = embedding(channels, inner)
        self.phi = embedding(channels, inner)
        self.gx = embedding(channels, inner)
        self.relation = embedding(2 * positions, related)
        embed = embedding(joined, hidden, 0.1 if wide else 0.0)  # before the last layer: the order draws its weights
        last = nn.Conv2d(hidden, 1, kernel_size=1, bias=wide)
        if wide:
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, math.log(VISIBLE_SHARE / (1 - VISIBLE_SHARE)))  # type: ignore[arg-type]
        self.weigh = nn.Sequential(*embed, last)
        if not wide:
            self.weigh.append(nn.BatchNorm2d(1))

    def forward(self, features: Tensor) -> Tensor:
        """Returns the mask (N, 1, h, w) of features (N, C, h, w)."""
        if tuple(features.shape[-2:]) != self.size:
            raise ValueError(
                f"the mask module was built for features of {self.size[0]} x {self.size[1]} positions, got "
                f"{features.shape[-2]} x {features.shape[-1]}: build the model with the input_size of its images"
            )
        context = self.gx(features)
        context = context if self.wide else context.mean(1, keepdim=True)
        return torch.sigmoid(self.weigh(torch.cat([context, self.relation(self._relations(features))], 1)))

    def _relations(self, features: Tensor) -> Tensor:
        """Returns [A[i, :], A[:, i]] as the 2n channels of position i: (N, 2n, h, w)."""
        theta, phi = self.theta(features).flatten(2), self.phi(features).flatten(2)
        affinity = theta.transpose(1, 2) @ phi
        return torch.cat([affinity.transpose(1, 2), affinity], 1).unflatten(2, self.size)

    def extra_repr(self) -> str:
        """Returns the size for ``print(module)``."""
        return f"size={self.size}, wide={self.wide}"
