"""Descriptors of people's crops in one call: from files, arrays, tensors, PIL images, or boxes in a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oamn_plugin.datasets.images import BadImageError, ImagePolicy, check_policy, read_image
from oamn_plugin.errors import ExpectedError
from oamn_plugin.modeling.precision import mixed_precision
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval.strips import occlusion_types
from oamn_plugin.search.encoder import BATCH, ImageEncoder


class CropError(ExpectedError, ValueError):
    """Something that is no image, or a box that is not in its frame; the message says which."""


@dataclass
class Crops:
    """What is known of N crops.

    Attributes:
        descriptors: (N, D) float32, unit length, on the CPU. Cosine and Euclidean distance rank alike.
        visible: (N,) float32 in [0, 1], the mean of the mask over the crop: with the preset ``plus``, whose mask is
            trained to be 1 on what is free and 0 on what an occluder covers, the visible share; with ``paper`` and
            ``official`` it only orders crops. None without a mask.
        types: N occlusion types by name, as the scorer says; None without a scorer.
        places: (N,) long, positions in what was given; not 0..N-1 where unreadable images were skipped.
        unreadable: the images that were skipped.
    """

    descriptors: Tensor
    visible: Tensor | None
    types: list[str] | None
    places: Tensor
    unreadable: list[BadImageError] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.descriptors)


class EncoderExtractor:
    """Describes crops with an encoder; :class:`oamn_plugin.Extractor` also takes a file or a name.

    Args:
        encoder: network and input.
        device: where it runs; None: where the network is.
        half: mixed precision: float16 on CUDA, bfloat16 on a CPU that computes in it. Descriptors keep three digits.
        batch_size: crops at a time.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        device: str | torch.device | None = None,
        half: bool = False,
        batch_size: int = BATCH,
    ) -> None:
        self.encoder, self.half, self.batch_size = encoder, half, batch_size
        if device is not None:
            encoder.to(device)

    def __call__(self, images: Any, bad_images: ImagePolicy = "fail") -> Crops:
        """Descriptors of one image or of several.

        Args:
            images: a path, a PIL image, an array (H, W, 3) RGB uint8, a tensor (3, H, W) or a batch (N, 3, H, W); or a
                list of these. Tensors of uint8 are RGB pixels of any size. Tensors of floats are taken as they are:
                normalised, and of the network's input size.
            bad_images: ``fail``, or ``skip`` files that cannot be read; :attr:`Crops.places` tells which are left.

        Raises:
            BadImageError: a file that cannot be read.
            CropError: no image, or a float tensor of another size.
        """
        return self._joined(list(self.stream(_listed(images), bad_images)))

    def stream(self, images: Iterable[Any], bad_images: ImagePolicy = "fail") -> Iterator[Crops]:
        """The same batch by batch, for more images than fit into memory; ``images`` may be a generator."""
        check_policy(bad_images)
        rest, start = iter(images), 0
        while batch := list(islice(rest, self.batch_size)):
            yield self._describe(batch, start, bad_images == "skip")
            start += len(batch)

    def crops(self, frame: Any, boxes: Any) -> Crops:
        """Descriptors of people in one frame.

        Args:
            frame: an image as in the call.
            boxes: (N, 4) left, top, right, bottom in pixels; rounded, and cut off at the frame's border.

        Raises:
            CropError: a box without area inside the frame.
        """
        picture = np.asarray(_picture(frame))
        return self([cut_box(picture, box) for box in np.asarray(boxes, dtype=np.float64).reshape(-1, 4)])

    def _describe(self, batch: Sequence[Any], start: int, skip: bool) -> Crops:
        inputs, places, unreadable = [], [], []
        for place, image in enumerate(batch, start):
            try:
                inputs.append(self._input(image))
                places.append(place)
            except BadImageError as error:
                if not skip:
                    raise
                unreadable.append(error)
        if not inputs:
            return self._empty(unreadable)
        model = self.encoder.model
        with torch.inference_mode(), mixed_precision(self.encoder.device, self.half):
            features = model.encode(torch.cat(inputs).contiguous(memory_format=torch.channels_last))
            mask, logits = model.attend(features) if self.encoder.has_scorer else (None, None)
            described = model.embed(features) if mask is None else model.describe(model.apply_mask(features, mask))
        descriptors = torch.nn.functional.normalize(described.float()).cpu()
        found = Crops(descriptors, None, None, torch.tensor(places), unreadable)
        if mask is not None and logits is not None:
            types, _ = occlusion_types(logits.float(), *self.encoder.unification.scoring)
            found.visible = mask.float().mean((1, 2, 3)).cpu()
            found.types = [OCCLUSION_TYPES[index] for index in types.tolist()]
        return found

    def _joined(self, parts: list[Crops]) -> Crops:
        """Batches in a row."""
        parts, scored = parts or [self._empty([])], self.encoder.has_scorer
        return Crops(
            torch.cat([part.descriptors for part in parts]),
            torch.cat([part.visible for part in parts if part.visible is not None]) if scored else None,
            [name for part in parts for name in part.types or ()] if scored else None,
            torch.cat([part.places for part in parts]),
            [error for part in parts for error in part.unreadable],
        )

    def _empty(self, unreadable: list[BadImageError]) -> Crops:
        none, scored = torch.zeros(0), self.encoder.has_scorer
        return Crops(
            torch.zeros(0, self.encoder.dim), none if scored else None, [] if scored else None, none.long(), unreadable
        )

    def _input(self, image: Any) -> Tensor:
        """(1, 3, H, W) as the network takes it, on its device."""
        if isinstance(image, Tensor) and image.is_floating_point():
            if tuple(image.shape) != (3, *self.encoder.input_size):
                height, width = self.encoder.input_size
                raise CropError(
                    f"a float tensor is taken as normalised and must be (3, {height}, {width}), got "
                    f"{tuple(image.shape)}; give pixels of any size as uint8"
                )
            return image[None].to(self.encoder.device, torch.float32)
        return self.encoder.normalise(self.encoder.prepare(_picture(image))[None])


def cut_box(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The pixels (h, w, 3) of a box (left, top, right, bottom), rounded and cut off at the border of a frame (H, W, 3).

    Raises:
        CropError: it has no area inside the frame.
    """
    height, width = frame.shape[:2]
    corners = np.clip(np.rint(np.nan_to_num(box, nan=-1)), 0, [width, height, width, height]).astype(int)
    left, top, right, bottom = corners.tolist()
    if right <= left or bottom <= top:
        raise CropError(f"the box {np.asarray(box).tolist()} has no area inside the frame of {width} x {height}")
    return frame[top:bottom, left:right]


def _listed(images: Any) -> Iterable[Any]:
    """One image as a list of it; batches of a list in a row."""
    if isinstance(images, (list, tuple)):
        return [one for image in images for one in _listed(image)]
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        return list(images)
    return [images]


def _picture(image: Any) -> Image.Image:
    """An image as PIL, mode RGB.

    Raises:
        BadImageError: a file that cannot be read.
        CropError: no image.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3:
        image = image.permute(1, 2, 0).cpu().numpy()
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise CropError(f"an array must be (H, W, 3) RGB of uint8, got {image.shape} of {image.dtype}")
        return Image.fromarray(np.ascontiguousarray(image))
    if hasattr(image, "__fspath__") or isinstance(image, str):
        return read_image(image)
    shape = f" {tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else ""
    raise CropError(
        f"an image is a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W), got {type(image).__name__}{shape}"
    )
