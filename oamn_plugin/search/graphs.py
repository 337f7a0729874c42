"""What leaves for other runtimes: two modules from pixels to descriptors, normalisation and strips inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES, strip
from oamn_plugin.retrieval.weighting import describe_ways, gallery_parts, query_parts, type_weights
from oamn_plugin.search.encoder import ImageEncoder


class _Graph(nn.Module):
    mean: Tensor
    std: Tensor
    visible: Tensor

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.model, self.options = encoder.model.eval(), encoder.options
        self.register_buffer("mean", torch.tensor(encoder.pixel_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(encoder.pixel_std).view(1, 3, 1, 1))
        height, width = encoder.input_size
        visible = torch.ones(len(OCCLUSION_TYPES), 1, height, width)
        for index, name in enumerate(OCCLUSION_TYPES):
            top, left, rows, columns = strip(name, height, width)
            visible[index, :, top : top + rows, left : left + columns] = 0
        self.register_buffer("visible", visible)
        self.eval()

    def _mix(self, own: Tensor, plain: Tensor) -> Tensor:
        """Own and plain descriptors joined, as the plain distance's share asks."""
        share = self.options.plain_share
        return torch.cat([(1 - share) ** 0.5 * own, share**0.5 * plain], dim=1) if share else own

    def _describe_ways(self, images: Tensor, clean: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Descriptors (N, 9, D) of pixels occluded in each of the nine ways; ``clean``: features and mask, if known."""

        def occluded(name: str) -> tuple[Tensor, Tensor]:
            if clean is not None and name == NONE:
                return clean
            features = self.model.encode((images * self.visible[OCCLUSION_TYPES.index(name)] - self.mean) / self.std)
            return features, self.model.attend(features)[0]

        return describe_ways(self.model, occluded)

    def _describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.encode(images)
        mask, logits = self.model.attend(features)
        return self.model.describe(self.model.apply_mask(features, mask)), logits


class QueryGraph(_Graph):
    """Query pixels to descriptor and scorer logits.

    Shapes:
        images (N, 3, H, W) float RGB in 0..255 to descriptors (N, D) and logits (N, 4), order left, right, bottom, top.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        clean = (images - self.mean) / self.std
        if self.options.weighted:
            features = self.model.encode(clean)
            mask, logits = self.model.attend(features)
            weights = type_weights(mask, self.options.weight_temperature, self.options.plain_share)
            return query_parts(self._describe_ways(images, (features, mask)), weights), logits
        own, logits = self._describe(clean)
        return self._mix(own, own), logits


class GalleryGraph(_Graph):
    """Gallery pixels and occlusion types to descriptors.

    Shapes:
        images (N, 3, H, W) float RGB in 0..255, types (N,) int64, index in ``OCCLUSION_TYPES``, to descriptors (N, D).
    """

    def forward(self, images: Tensor, types: Tensor) -> Tensor:
        """See the class."""
        if self.options.weighted:  # one descriptor serves every type; the sum keeps the graph's second input
            return gallery_parts(self._describe_ways(images)) + 0 * types[:, None]
        clean = (images - self.mean) / self.std
        covered = (images * self.visible[types] - self.mean) / self.std
        features = self.model.encode(covered)
        mask, _ = self.model.attend(features)
        if self.options.gallery_features == "clean":
            features = self.model.encode(clean)
        own = self.model.describe(self.model.apply_mask(features, mask))
        return self._mix(own, self._describe(clean)[0] if self.options.plain_share else own)
