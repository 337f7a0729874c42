"""What leaves for other runtimes: two modules from pixels to descriptors, normalisation and strips inside.

Strips are blanked on the image, whatever the encoder does, since a graph has no hooks to stop it at stride 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oamn_plugin.modeling.embedding import WholeModel
from oamn_plugin.occlusion import OCCLUSION_TYPES, strip
from oamn_plugin.search.encoder import ImageEncoder


class _Graph(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.model = encoder.model.eval()
        self.register_buffer("mean", torch.tensor(encoder.pixel_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(encoder.pixel_std).view(1, 3, 1, 1))
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels in 0..255 as the network takes them."""
        return (images - self.mean) / self.std


class QueryGraph(_Graph):
    """Query pixels to descriptor and scorer logits.

    Shapes:
        images (N, 3, H, W) float RGB in 0..255 to descriptors (N, D) and logits (N, 4), order left, right, bottom, top;
        the logits are 0 without a scorer.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__(encoder)
        self.scored = encoder.has_scorer

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        if not self.scored:
            descriptors = whole(self.model, self.normalise(images))
            return descriptors, descriptors.new_zeros(len(images), 4)
        features = self.model.encode(self.normalise(images))
        mask, logits = self.model.attend(features)
        return self.model.describe(self.model.apply_mask(features, mask)), logits


class GalleryGraph(_Graph):
    """Gallery pixels and occlusion types to descriptors.

    Shapes:
        images (N, 3, H, W) float RGB in 0..255, types (N,) int64, index in ``OCCLUSION_TYPES``, to descriptors (N, D).
    """

    visible: Tensor
    colour: Tensor

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__(encoder)
        self.clean_features = encoder.unification.kind == "typed" and encoder.unification.clean_features
        height, width = encoder.input_size
        visible = torch.ones(len(OCCLUSION_TYPES), 1, height, width)
        for index, name in enumerate(OCCLUSION_TYPES):
            top, left, rows, columns = strip(name, height, width)
            visible[index, :, top : top + rows, left : left + columns] = 0
        self.register_buffer("visible", visible)
        self.register_buffer("colour", encoder.colour.view(1, 3, 1, 1))

    def forward(self, images: Tensor, types: Tensor) -> Tensor:
        """See the class."""
        clean, visible = self.normalise(images), self.visible[types]
        covered = clean * visible + self.colour * (1 - visible)
        if not self.clean_features:
            return whole(self.model, covered)
        mask, _ = self.model.attend(self.model.encode(covered))
        return self.model.describe(self.model.apply_mask(self.model.encode(clean), mask))


def whole(model: nn.Module, images: Tensor) -> Tensor:
    """Unit descriptors of images in one go: a split model would stop and resume by hooks, which no graph holds."""
    return WholeModel.embed(model, images) if isinstance(model, WholeModel) else model.embed(model.encode(images))
