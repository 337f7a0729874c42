"""From a batch of decoded images to the batch the network sees: geometry, erasing and occlusion, on the device.

A worker only decodes and resizes; everything random happens here, in the main process, on whole batches, so that the
number of workers changes nothing and a GPU does the pixel work.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from oamn_plugin.augmentation.geometry import Geometry, erase
from oamn_plugin.augmentation.occlusion import OcclusionAugmentation, Views
from oamn_plugin.environment import one_thread


class TrainingTransform:
    """Everything random between the decoded batch and the network.

    Args:
        geometry: flip, crop and rotation; None leaves the pixels where they are.
        occlusion: makes the views of each image; None: one view, as it is.
        aligned: True draws the geometry once per image and shares it among its views; False draws it per view after
            pasting, left and right views never flipped (the released code).
        erasing: probability of random erasing, after everything else; for one view an image.
        erasing_value: (3,) fill colour in 0..255.

    Raises:
        ValueError: erasing of several views an image, which would no longer fit together.
    """

    def __init__(
        self,
        geometry: Geometry | None = None,
        occlusion: OcclusionAugmentation | None = None,
        aligned: bool = True,
        erasing: float = 0.0,
        erasing_value: tuple[float, float, float] = (123.675, 116.28, 103.53),
    ) -> None:
        self.geometry, self.occlusion, self.aligned = geometry, occlusion, aligned
        self.erasing, self.erasing_value = erasing, torch.tensor(erasing_value)
        if erasing and self.num_views > 1:
            raise ValueError(f"random erasing is for one view an image, not for {self.num_views}")

    @property
    def num_views(self) -> int:
        """Network inputs per decoded image."""
        return self.occlusion.num_views if self.occlusion else 1

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Views:
        """Transforms a batch.

        Args:
            images: (B, 3, H, W) uint8 or float in 0..255.
            generator: CPU generator of all random numbers.

        Returns:
            Views: images (B, V, 3, H, W) in 0..255 and their (B, V) types. Several aligned views keep the dtype of
            ``images``: uint8 stays a byte a pixel up to the network's normalisation. All others are float.
        """
        # on a CPU these many small operations take no less time with two threads, and twice the processors' time
        with contextlib.nullcontext() if images.is_cuda else one_thread():
            views = self._views(images, generator)
            if self.num_views > 1:
                return views
            pixels = views.images.float()
            if self.erasing:
                pixels = erase(pixels[:, 0], self.erasing, self.erasing_value, generator).unsqueeze(1)
            return views._replace(images=pixels)

    def _views(self, images: Tensor, generator: torch.Generator | None) -> Views:
        if self.occlusion and not self.aligned:
            return self._moved_apart(self.occlusion(images, generator=generator), generator)
        moved = self.geometry(images, generator) if self.geometry else images
        if self.occlusion is None:
            return Views(moved.unsqueeze(1), torch.zeros(len(moved), 1, dtype=torch.long, device=moved.device))
        # patches come from the unmoved images: a corner must show background, not the padding
        return self.occlusion(moved, donors=images, generator=generator)

    def _moved_apart(self, views: Views, generator: torch.Generator | None) -> Views:
        if self.geometry is None:
            return Views(views.images.float(), views.types)
        flat = views.images.flatten(0, 1).float()
        side = (views.types.flatten() - 1) % 4  # left, right, bottom, top
        may_flip = (views.types.flatten() == 0) | (side >= 2)
        return Views(self.geometry(flat, generator, may_flip).unflatten(0, views.types.shape), views.types)
