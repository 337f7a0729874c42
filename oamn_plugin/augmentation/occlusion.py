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

from oamn_plugin.augmentation.geometry import ATTEMPTS, CACHED, in_dtype
from oamn_plugin.augmentation.objects import CutOuts, paste
from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES, TYPE_INDEX, Strip, rest, split_type, strip
from oamn_plugin.presets import PATCH_SOURCES, Options

AREA_RANGE = (0.02, 0.2)
"""Share of the donor image that a patch covers."""
ASPECT_RANGE = (0.3, 3.3)
"""Height over width of a patch."""
AXES = (("left", "right"), ("bottom", "top"))
LARGEST_STRETCH = 4.0
"""How far a ``native`` patch is stretched at most."""
OBJECT_SHARE = 0.5
"""How often an occluder is an object where there are some, and no strip."""
_NEARER_HALF = 0.375  # a larger share of the image is nearer to a half than to a quarter


class Views(NamedTuple):
    """The views of a batch of training images.

    Attributes:
        images: (B, V, 3, H, W), dtype of the input; view 0 is the clean image where there are several.
        types: (B, V) long, indices into :data:`oamn_plugin.occlusion.OCCLUSION_TYPES`; of an object, the nearest type.
        covered: (B, V, H, W) bool, the pixels that an occluder hides; None where the types say it all.
    """

    images: Tensor
    types: Tensor
    covered: Tensor | None = None


class Patches(NamedTuple):
    """The donor image (an index into ``pool``) and the rectangle on it of each of B images."""

    pool: Tensor
    picks: Tensor
    """(B,) long."""
    boxes: Tensor
    """(B, 4) long: top, left, height, width in pixels of the donor."""
    black: Tensor
    """(B,) bool: black instead of the donor's pixels."""


class OcclusionAugmentation:
    """Pastes a patch of a donor image over a half or a quarter of each image, at each of its sides.

    One patch and one area (half or quarter, probability 0.5 each) serve all views of an image. The donor is a random
    other image of the batch, which for a shuffled batch is a random training image.

    Args:
        axes: 2 for clean and all four sides (V = 5); 1 for clean and one opposing pair, drawn per image (V = 3); 0 for
            one view an image (V = 1), clean or occluded at one side.
        patch_source: ``corner`` crops the patch at one of the donor's corners, where images show background;
            ``anywhere`` crops it wherever it fits, people and objects included; ``native``, with one view an image,
            crops it anywhere at the strip's own size, half of the time smaller and stretched up to four times, so that
            sharpness does not give the strip away.
        probability: only with one view an image: how often it is occluded.
        black_share: how often the strip is black instead of a donor's patch.
        cut_share: only with one view an image: how often the strip of an occluded image is cut away and the rest
            stretched over the whole image. Such a view is of type ``none``: nothing is covered.
        objects: only with one view an image: half of the occluded images have one of these instead of a strip.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> images = torch.arange(2 * 3 * 8 * 4, dtype=torch.float32).reshape(2, 3, 8, 4)
        >>> views = OcclusionAugmentation()(images, generator=torch.Generator().manual_seed(0))
        >>> tuple(views.images.shape), views.types.shape[1]
        ((2, 5, 3, 8, 4), 5)
    """

    def __init__(
        self,
        axes: int = 2,
        patch_source: str = "corner",
        probability: float = 0.5,
        black_share: float = 0.0,
        cut_share: float = 0.0,
        objects: CutOuts | None = None,
    ) -> None:
        if axes not in (0, 1, 2):
            raise ValueError(f"axes must be 0, 1 or 2, got {axes}")
        if patch_source not in PATCH_SOURCES:
            raise ValueError(f"patch_source must be one of {', '.join(PATCH_SOURCES)}, got {patch_source!r}")
        for name, share in (("probability", probability), ("black_share", black_share), ("cut_share", cut_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {share}")
        if axes and (patch_source == "native" or objects is not None):
            raise ValueError("native patches and objects are for one view an image: axes must be 0")
        self.axes, self.patch_source, self.objects = axes, patch_source, objects
        self.probability, self.black_share, self.cut_share = probability, black_share, cut_share

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(axes={self.axes}, patch_source={self.patch_source!r}, "
            f"probability={self.probability}, black_share={self.black_share}, cut_share={self.cut_share}, "
            f"objects={self.objects})"
        )

    @property
    def num_views(self) -> int:
        """Views per image that a call makes: 5, 3 or 1."""
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
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[-2:]) < 4:
            shape = tuple(images.shape)
            raise ValueError(f"expected a batch of images (B, 3, H, W) with H and W at least 4, got shape {shape}")
        types = self._types(len(images), generator)
        patches = self._patches(images, donors, types, generator)
        views = images.unsqueeze(1).repeat(1, self.num_views, 1, 1, 1)
        if self.cut_share and not self.axes:
            cut = (torch.rand(len(images), 1, generator=generator) < self.cut_share) & (types > 0)
            for i in cut.flatten().nonzero().flatten().tolist():
                views[i, 0] = _cut_away(images[i], OCCLUSION_TYPES[int(types[i, 0])])
            types = types * ~cut
        strips = torch.tensor([strip(name, *images.shape[-2:]) for name in OCCLUSION_TYPES])
        if self.objects is None:
            _paste(views, strips[types], patches)
            return Views(views, types.to(images.device))
        layers = self._layers(types, images.shape[-2:], generator)
        alone = types.clone()  # those with a strip
        alone[list(layers)] = 0
        _paste(views, strips[alone], patches)
        covered = _covered(strips[alone], images.shape[-2:])
        for i, layer in layers.items():
            views[i, 0], covered[i, 0] = paste(images[i], layer), layer[3] >= 0.5
            half = float(covered[i, 0].float().mean()) > _NEARER_HALF
            side = split_type(OCCLUSION_TYPES[int(types[i, 0])])[0]
            types[i, 0] = TYPE_INDEX[f"{side}_{'half' if half else 'quarter'}"]
        return Views(views, types.to(images.device), covered.to(images.device))

    def _layers(self, types: Tensor, size: torch.Size, generator: torch.Generator | None) -> dict[int, Tensor]:
        """By image, the objects that stand where a type's strip would."""
        chosen = (torch.rand(len(types), generator=generator) < OBJECT_SHARE) & (types[:, 0] > 0)
        assert self.objects is not None
        drawn = {
            i: self.objects.draw(split_type(OCCLUSION_TYPES[int(types[i, 0])])[0], size[0], size[1], generator)
            for i in chosen.nonzero().flatten().tolist()
        }
        return {i: layer for i, layer in drawn.items() if layer is not None}

    def _types(self, count: int, generator: torch.Generator | None) -> Tensor:
        """(B, V) long, the types of all views."""
        if self.axes == 0:
            chosen = torch.rand(count, generator=generator) < self.probability
            return (torch.randint(1, len(OCCLUSION_TYPES), (count,), generator=generator) * chosen).unsqueeze(1)
        halves = torch.rand(count, generator=generator) < 0.5
        axis = torch.randint(2, (count,), generator=generator)
        types = torch.zeros(count, self.num_views, dtype=torch.long)
        for i, (half, first) in enumerate(zip(halves.tolist(), axis.tolist(), strict=True)):
            sides = SIDES if self.axes == 2 else AXES[first]
            types[i, 1:] = torch.tensor([TYPE_INDEX[f"{side}_{'half' if half else 'quarter'}"] for side in sides])
        return types

    def _patches(
        self, images: Tensor, donors: Tensor | None, types: Tensor, generator: torch.Generator | None
    ) -> Patches:
        pool = images if donors is None else donors
        picks = torch.randint(len(pool), (len(images),), generator=generator)
        if len(pool) == len(images) > 1:  # any image but oneself
            picks = (torch.arange(len(images)) + 1 + picks % (len(images) - 1)) % len(images)
        height, width = pool.shape[-2:]
        if self.patch_source == "native":
            sizes = [strip(OCCLUSION_TYPES[index], *images.shape[-2:])[2:] for index in types[:, 0].tolist()]
            boxes = [draw_native_patch(height, width, size, generator) for size in sizes]
        else:
            boxes = [draw_patch(height, width, self.patch_source, generator) for _ in picks]
        black = torch.zeros(len(picks), dtype=torch.bool)
        if self.black_share:
            black = torch.rand(len(picks), generator=generator) < self.black_share
        return Patches(pool, picks, torch.tensor(boxes), black)


def augmentation_of(options: Options, objects: CutOuts | None = None) -> OcclusionAugmentation:
    """The augmentation that a reading of the method trains with, and objects beside its strips."""
    return OcclusionAugmentation(
        options.axes, options.patch_source, options.occluded_share, options.black_share, options.cut_share, objects
    )


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


def draw_native_patch(
    height: int, width: int, size: tuple[int, int], generator: torch.Generator | None = None
) -> Strip:
    """Draws the rectangle of a donor for a strip of ``size`` (height, width): of its size, half of the time smaller."""
    draws = torch.rand(3, generator=generator).tolist()
    stretch = 1 + max(0.0, 2 * draws[0] - 1) * (LARGEST_STRETCH - 1)
    rows, columns = (min(max(1, round(own / stretch)), most) for own, most in zip(size, (height, width), strict=True))
    return Strip(round(draws[1] * (height - rows)), round(draws[2] * (width - columns)), rows, columns)


def _covered(boxes: Tensor, size: torch.Size) -> Tensor:
    """(B, V, H, W) bool: the pixels inside (B, V, 4) boxes."""
    out = torch.zeros(*boxes.shape[:2], *size, dtype=torch.bool)
    for i, row in enumerate(boxes.tolist()):
        for v, (top, left, rows, columns) in enumerate(row):
            out[i, v, top : top + rows, left : left + columns] = True
    return out


def _cut_away(image: Tensor, type_name: str) -> Tensor:
    """What the strip of a type leaves of a (3, H, W) image, stretched to its size: bilinear."""
    top, left, rows, columns = rest(type_name, *image.shape[-2:])
    kept = image[None, :, top : top + rows, left : left + columns].float()
    out = F.interpolate(kept, image.shape[-2:], mode="bilinear", align_corners=False)[0]
    return in_dtype(out, image.dtype)


def _paste(views: Tensor, boxes: Tensor, patches: Patches) -> None:
    """Stretches the patch of each image over the boxes of its (B, V, 3, H, W) views, in place; boxes (B, V, 4)."""
    step = len(views) if views.is_cuda else CACHED
    for start in range(0, len(views), step):
        part = slice(start, start + step)
        _paste_part(views[part], boxes[part], Patches(patches.pool, *(one[part] for one in patches[1:])))


def _paste_part(views: Tensor, boxes: Tensor, patches: Patches) -> None:
    places: dict[tuple[int, int], list[tuple[int, int, Strip]]] = {}
    for i, row in enumerate(boxes.tolist()):
        for v, box in enumerate(row):
            if box[2]:
                places.setdefault((box[2], box[3]), []).append((i, v, Strip(*box)))
    for size, members in places.items():  # opposite strips are of one size: an image's patch is stretched once for both
        chosen = sorted({i for i, _, _ in members})
        filled = dict(zip(chosen, _stretched(patches, chosen, size, views.dtype), strict=True))
        for i, v, box in members:
            views[i, v, :, box.top : box.top + box.height, box.left : box.left + box.width] = filled[i]


def _stretched(patches: Patches, chosen: list[int], size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Patches of the chosen images, stretched to (n, 3, height, width): bilinear, aspect ignored, the border held."""
    pool, picks, boxes = patches.pool, patches.picks[chosen], patches.boxes[chosen]
    grid = torch.empty(len(chosen), *size, 2)
    for axis in (0, 1):  # rows, then columns, of the donor; in grid_sample's terms y, then x
        places = (torch.arange(size[axis]) + 0.5) * (boxes[:, 2 + axis, None] / size[axis]) - 0.5
        places = torch.minimum(places.clamp_min(0), boxes[:, 2 + axis, None] - 1) + boxes[:, axis, None]
        places = (2 * places + 1) / pool.shape[2 + axis] - 1
        grid[..., 1 - axis] = places[:, :, None] if axis == 0 else places[:, None, :]
    donors = pool.index_select(0, picks.to(pool.device)).float()  # several times as fast as pool[picks]
    black = patches.black[chosen]
    if black.any():  # else a whole pass over the donors for nothing
        donors[black.to(pool.device)] = 0
    out = F.grid_sample(donors, grid.to(pool.device), mode="bilinear", padding_mode="border", align_corners=False)
    return in_dtype(out, dtype)
