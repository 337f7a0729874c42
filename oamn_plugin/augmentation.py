"""Occlusion augmentation: one background patch pasted on each side of a training image, on whatever device it lies.

Works on a batch: an image is decoded once and all its views are made where the network runs. Random numbers are drawn
from a CPU generator, so that the same seed gives the same views on a CPU and on a GPU. Source: OAMN (ICCV 2021),
section 3.1, and the released code where the paper is silent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES, TYPE_INDEX, Strip, strip

AREA_RANGE = (0.02, 0.2)
"""Share of the donor image that a patch covers."""
ASPECT_RANGE = (0.3, 3.3)
"""Height over width of a patch."""
ATTEMPTS = 10
"""Draws of a patch that does not fit before the last one is cut to the image."""
AXES = (("left", "right"), ("bottom", "top"))


class Views(NamedTuple):
    """The views of a batch of training images.

    Attributes:
        images: (B, V, 3, H, W), dtype of the input; view 0 is the clean image.
        types: (B, V) long, indices into :data:`oamn_plugin.occlusion.OCCLUSION_TYPES`.
    """

    images: Tensor
    types: Tensor


class OcclusionAugmentation:
    """Pastes a patch of a donor image over a half or a quarter of each image, at each of its sides.

    One patch and one area (half or quarter, probability 0.5 each) serve all views of an image. The donor is a random
    other image of the batch, which for a shuffled batch is a random training image.

    Args:
        axes: 2 for clean and all four sides (V = 5); 1 for clean and one opposing pair, drawn per image (V = 3).
        patch_source: ``corner`` crops the patch at one of the donor's corners, where images show background;
            ``anywhere`` crops it wherever it fits, people and objects included.
        probability: only for :meth:`single`: how often an image is occluded.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> images = torch.arange(2 * 3 * 8 * 4, dtype=torch.float32).reshape(2, 3, 8, 4)
        >>> views = OcclusionAugmentation()(images, generator=torch.Generator().manual_seed(0))
        >>> tuple(views.images.shape), views.types.shape[1]
        ((2, 5, 3, 8, 4), 5)
    """

    def __init__(self, axes: int = 2, patch_source: str = "corner", probability: float = 0.5) -> None:
        if axes not in (1, 2):
            raise ValueError(f"axes must be 1 or 2, got {axes}")
        if patch_source not in ("corner", "anywhere"):
            raise ValueError(f"patch_source must be 'corner' or 'anywhere', got {patch_source!r}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}")
        self.axes, self.patch_source, self.probability = axes, patch_source, probability

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(axes={self.axes}, patch_source={self.patch_source!r}, "
            f"probability={self.probability})"
        )

    @property
    def num_views(self) -> int:
        """Views per image that a call makes: 5 or 3."""
        return 1 + 2 * self.axes

    def __call__(self, images: Tensor, donors: Tensor | None = None, generator: torch.Generator | None = None) -> Views:
        """Makes every view of every image.

        Args:
            images: (B, 3, H, W) uint8 or float, on any device.
            donors: (M, 3, H, W) images that patches are cut from; ``images`` itself by default. As many donors as
                images are taken for the same people: an image then never meets itself.
            generator: CPU generator of the random numbers; torch's default one if absent.

        Raises:
            ValueError: ``images`` is not a batch of images of at least 4 x 4 pixels.
        """
        _check_batch(images)
        halves = torch.rand(len(images), generator=generator) < 0.5
        axis = torch.randint(2, (len(images),), generator=generator)
        patches = self._patches(images, donors, generator)
        views = images.unsqueeze(1).repeat(1, self.num_views, 1, 1, 1)
        types = torch.zeros(len(images), self.num_views, dtype=torch.long)
        for i, (half, first, patch) in enumerate(zip(halves.tolist(), axis.tolist(), patches, strict=True)):
            sides = SIDES if self.axes == 2 else AXES[first]
            for v, side in enumerate(sides, start=1):
                name = f"{side}_{'half' if half else 'quarter'}"
                _paste(views[i, v], patch, strip(name, *images.shape[-2:]))
                types[i, v] = TYPE_INDEX[name]
        return Views(views, types.to(images.device))

    def single(
        self, images: Tensor, donors: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Occludes each image with :attr:`probability`, at one random side: the augmentation alone, for any method.

        Returns:
            ``(images, types)``: a new (B, 3, H, W) batch and its (B,) long type indices, 0 where left clean.
        """
        _check_batch(images)
        chosen = torch.rand(len(images), generator=generator) < self.probability
        types = torch.randint(1, len(OCCLUSION_TYPES), (len(images),), generator=generator) * chosen
        patches = self._patches(images, donors, generator)
        out = images.clone()
        for i, index in enumerate(types.tolist()):
            if index:
                _paste(out[i], patches[i], strip(OCCLUSION_TYPES[index], *images.shape[-2:]))
        return out, types.to(images.device)

    def _patches(self, images: Tensor, donors: Tensor | None, generator: torch.Generator | None) -> list[Tensor]:
        pool = images if donors is None else donors
        picks = torch.randint(len(pool), (len(images),), generator=generator)
        if len(pool) == len(images) > 1:  # any image but oneself
            picks = (torch.arange(len(images)) + 1 + picks % (len(images) - 1)) % len(images)
        height, width = pool.shape[-2:]
        patches = []
        for pick in picks.tolist():
            top, left, rows, columns = draw_patch(height, width, self.patch_source, generator)
            patches.append(pool[pick, :, top : top + rows, left : left + columns])
        return patches


class RandomOcclusion(torch.nn.Module):
    """The augmentation as an ordinary torchvision transform: one image in, one occluded image and its label out.

    Patches come from the images seen before (a ring of ``memory`` of them), so it needs no access to the data set; the
    first image meets itself as donor.

    Args:
        probability: how often an image is occluded.
        memory: number of earlier images kept as donors.
        return_type: True returns ``(image, type index)``, False the image alone.
    """

    def __init__(self, probability: float = 0.5, memory: int = 16, return_type: bool = True) -> None:
        super().__init__()
        self.augmentation = OcclusionAugmentation(probability=probability)
        self.memory, self.return_type = memory, return_type
        self._donors: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, int]:
        """Occludes one image.

        Args:
            image: (3, H, W) tensor, uint8 or float.
        """
        donors = [donor for donor in self._donors if donor.shape == image.shape] or [image]
        pick = int(torch.randint(len(donors), ()))
        out, types = self.augmentation.single(image[None], donors[pick][None])
        self._donors = [*self._donors, image][-self.memory :]
        return (out[0], int(types[0])) if self.return_type else out[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(probability={self.augmentation.probability}, memory={self.memory})"


def draw_patch(height: int, width: int, source: str = "corner", generator: torch.Generator | None = None) -> Strip:
    """Draws the rectangle that is cut from a donor image.

    Area share ~ U(0.02, 0.2), aspect ratio h / w ~ U(0.3, 3.3), drawn again until it fits, at most 10 times; what still
    does not fit is cut to the image. At least one pixel each way.

    Args:
        height: donor height in pixels.
        width: donor width in pixels.
        source: ``corner``: the rectangle touches one of the four corners, each as likely; ``anywhere``: any position.
        generator: CPU generator of the random numbers.
    """
    rows = columns = 1
    for _ in range(ATTEMPTS):
        draws = torch.rand(2, generator=generator).tolist()
        area = height * width * (AREA_RANGE[0] + draws[0] * (AREA_RANGE[1] - AREA_RANGE[0]))
        aspect = ASPECT_RANGE[0] + draws[1] * (ASPECT_RANGE[1] - ASPECT_RANGE[0])
        rows, columns = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        if rows <= height and columns <= width:
            break
    rows, columns = min(rows, height), min(columns, width)
    spot = torch.rand(2, generator=generator).tolist()
    if source == "corner":
        spot = [float(spot[0] >= 0.5), float(spot[1] >= 0.5)]
    return Strip(round(spot[0] * (height - rows)), round(spot[1] * (width - columns)), rows, columns)


def _paste(view: Tensor, patch: Tensor, box: Strip) -> None:
    """Stretches the patch (bilinear, aspect ignored) over the box of a (3, H, W) view, in place."""
    filled = F.interpolate(patch[None].float(), size=(box.height, box.width), mode="bilinear", align_corners=False)[0]
    if not view.dtype.is_floating_point:
        filled = filled.round_()
    view[:, box.top : box.top + box.height, box.left : box.left + box.width] = filled.to(view.dtype)


def _check_batch(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[-2:]) < 4:
        raise ValueError(
            f"expected a batch of images (B, 3, H, W) with H and W at least 4, got shape {tuple(images.shape)}"
        )
