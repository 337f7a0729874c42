"""The mask module: the spatial half of Relation-Aware Global Attention, returning the weights alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

REDUCTION = 8
"""How much narrower every embedding is than its input."""


def embedding(channels_in: int, channels_out: int) -> nn.Sequential:
    """Returns a 1x1 convolution without bias, batch norm and ReLU: the ``emb`` of the formulas."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(True)
    )


class SpatialRelationMask(nn.Module):
    """RGA-S: one weight in (0, 1) per position, from the position's relations to all positions.

    With ``A[i, k] = theta_i . phi_k`` (no scaling, no softmax), the relation vector of position i is
    ``[A[i, :], A[:, i]]``. It is embedded, joined behind the channel mean of ``gx`` and reduced to one channel; the
    mask is its sigmoid. Zhang et al., Relation-Aware Global Attention, CVPR 2020; OAMN (ICCV 2021), section 3.2.

    Args:
        channels: channels C of the features.
        size: height and width (h, w) of the features. The number of positions n = h * w fixes the layers' shapes.

    Shapes:
        features (N, C, h, w) to mask (N, 1, h, w).

    Raises:
        ValueError: ``forward`` got features of another size than the module was built for.

    >>> SpatialRelationMask(16, (4, 3))(torch.rand(2, 16, 4, 3)).shape
    torch.Size([2, 1, 4, 3])
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        positions = self.size[0] * self.size[1]
        # narrow inputs (few positions, few channels) keep one channel, so that any input size builds
        inner, related = max(channels // REDUCTION, 1), max(positions // REDUCTION, 1)
        hidden = max((1 + related) // REDUCTION, 1)
        self.theta = embedding(channels, inner)
        self.phi = embedding(channels, inner)
        self.gx = embedding(channels, inner)
        self.relation = embedding(2 * positions, related)
        self.weigh = nn.Sequential(
            *embedding(1 + related, hidden), nn.Conv2d(hidden, 1, kernel_size=1, bias=False), nn.BatchNorm2d(1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Returns the mask (N, 1, h, w) of features (N, C, h, w)."""
        if tuple(features.shape[-2:]) != self.size:
            raise ValueError(
                f"the mask module was built for features of {self.size[0]} x {self.size[1]} positions, got "
                f"{features.shape[-2]} x {features.shape[-1]}: build the model with the input_size of its images"
            )
        context = self.gx(features).mean(1, keepdim=True)
        return torch.sigmoid(self.weigh(torch.cat([context, self.relation(self._relations(features))], 1)))

    def _relations(self, features: Tensor) -> Tensor:
        """Returns [A[i, :], A[:, i]] as the 2n channels of position i: (N, 2n, h, w)."""
        theta, phi = self.theta(features).flatten(2), self.phi(features).flatten(2)
        affinity = theta.transpose(1, 2) @ phi
        return torch.cat([affinity.transpose(1, 2), affinity], 1).unflatten(2, self.size)

    def extra_repr(self) -> str:
        """Returns the size for ``print(module)``."""
        return f"size={self.size}"
