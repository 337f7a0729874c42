"""Identity classifiers: a linear layer, or scaled cosines."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from oamn_plugin.losses.circle import SCALE


class CosineClassifier(nn.Linear):
    """Logits that are the circle loss's ``SCALE`` times the cosine of an embedding and a class weight; no bias.

    Args:
        in_features: size of an embedding.
        num_classes: identities.

    Shapes:
        (N, in_features) to (N, num_classes).
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the scaled cosines (N, num_classes)."""
        return SCALE * F.linear(F.normalize(input), F.normalize(self.weight))


def build_classifier(name: str, in_features: int, num_classes: int, bias: bool) -> nn.Linear:
    """The classifier of a name, ``linear`` or ``circle``; weight ~ N(0, 0.001), bias 0."""
    circle = name == "circle"
    made = CosineClassifier(in_features, num_classes) if circle else nn.Linear(in_features, num_classes, bias)
    nn.init.normal_(made.weight, std=0.001)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made
