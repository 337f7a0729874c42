"""Global pooling: maximum, average, and the generalised mean between the two. Pure torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeneralizedMean(nn.Module):
    """Generalised mean over positions, ``(mean of x^p)^(1/p)``, with a learned exponent; negative values count as 0.

    p = 1 is the average, large p the maximum. Radenovic et al., Fine-tuning CNN Image Retrieval with No Human
    Annotation, TPAMI 2019.

    Args:
        exponent: p at the start.
        eps: smallest value, so that the gradient exists.

    Shapes:
        (N, C, h, w) to (N, C, 1, 1), float32 also under autocast.

    >>> round(GeneralizedMean(2.0)(torch.tensor([[[[3.0, 4.0]]]])).item() ** 2, 3)
    12.5
    """

    def __init__(self, exponent: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(exponent)]))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Returns the pooled features (N, C, 1, 1)."""
        # in half precision a third power overflows and a root loses its digits
        with torch.autocast(features.device.type, enabled=False):
            half = features.dtype in (torch.float16, torch.bfloat16)
            powers = (features.float() if half else features).clamp_min(self.eps).pow(self.p)
            return powers.mean((2, 3), keepdim=True).pow(1 / self.p)

    def extra_repr(self) -> str:
        """Returns the settings for ``print(module)``."""
        return f"p={self.p.item():g}"


def build_pooling(name: str) -> nn.Module:
    """The pooling of a name: ``max``, ``avg`` or ``gem``."""
    if name == "gem":
        return GeneralizedMean()
    return nn.AdaptiveMaxPool2d(1) if name == "max" else nn.AdaptiveAvgPool2d(1)
