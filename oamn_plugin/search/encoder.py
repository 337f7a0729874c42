"""From image files to descriptors: a network together with everything about its input that must not be forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from oamn_plugin.datasets.images import read_image
from oamn_plugin.errors import ExpectedError
from oamn_plugin.modeling.embedding import embedding_model
from oamn_plugin.modeling.packaged import ASSETS, NAME, load_packaged, read_card
from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.retrieval.strips import IMAGENET_MEAN, IMAGENET_STD, cover_strip, fill_colour
from oamn_plugin.retrieval.unification import (
    TYPE_SETS,
    QueryDescriptors,
    Unification,
    describe_gallery,
    describe_queries,
    has_scorer,
    unification_of,
)

DESCRIBING = ("place", "fill", "clean_features")
"""Attributes of a unification that a gallery descriptor depends on; the others may change without encoding anew."""
OPTIONS = ("mask_module", "mask_floor", "pooling", "head")
"""The same of an OAMN's options."""
LAYER = ("kernel_size", "stride", "padding", "dilation", "groups", "ceil_mode", "output_size", "eps", "p")
"""Attributes of layers that weights do not tell."""
RESAMPLING = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
PIXEL_MEAN, PIXEL_STD = tuple(255 * v for v in IMAGENET_MEAN), tuple(255 * v for v in IMAGENET_STD)
BATCH = 32
"""Images a batch. Fixed, so that a gallery's descriptors do not depend on where an encoding was interrupted."""


class InputError(ExpectedError, ValueError):
    """Images that no network can take; the message says what is wrong."""


class DeviceError(ExpectedError, ValueError):
    """A device that is not there, or that a network cannot be moved to."""


class ModelIdentity(NamedTuple):
    """What descriptors can be compared by: the network's weights and the settings they were used with."""

    weights: str
    """SHA-256 of the weights, the classifier's left out."""
    settings: Mapping[str, Any]
    """Input size, normalisation, resampling, layers and how strips are blanked; plain JSON values."""


class ImageEncoder:
    """A network in evaluation mode, with the size, resampling and normalisation of its input.

    Args:
        model: an :class:`oamn_plugin.modeling.EmbeddingModel` such as :class:`oamn_plugin.modeling.OAMN`, or any
            network that gives descriptors (N, D) of images (N, 3, H, W); it is cut at stride 16 where it can be.
        input_size: image (height, width) in pixels.
        pixel_mean: mean of the three channels, in 0..255.
        pixel_std: their standard deviation, in 0..255.
        resample: ``bilinear`` or ``bicubic``.
        prepare: PIL image to (3, H, W) pixels in 0..255, where a toolbox has its own way; None: resize, aspect ignored.
        unification: how queries and gallery are unified; None: an OAMN's own reading, any other model is matched.
        name: shown to people, such as the weight file's path.

    Attributes:
        source: how to load the model again, plain JSON values for :func:`oamn_plugin.hosts.encoder.load_model`, which
            sets it; None: unknown. An index keeps it.

    Raises:
        InputError: unknown resampling, or pixel means and deviations that are none.
    """

    def __init__(
        self,
        model: Any,
        *,
        input_size: tuple[int, int],
        pixel_mean: Sequence[float] = PIXEL_MEAN,
        pixel_std: Sequence[float] = PIXEL_STD,
        resample: str = "bilinear",
        prepare: Callable[[Image.Image], Tensor] | None = None,
        unification: Unification | None = None,
        name: str = "",
    ) -> None:
        if resample not in RESAMPLING:
            raise InputError(f"resample must be one of {', '.join(RESAMPLING)}, got {resample!r}")
        self.input_size, self.resample, self.name = (int(input_size[0]), int(input_size[1])), resample, name
        self.pixel_mean, self.pixel_std = [float(v) for v in pixel_mean], [float(v) for v in pixel_std]
        numbers = [*self.pixel_mean, *self.pixel_std]
        if len(self.pixel_mean) != 3 or len(numbers) != 6 or min(self.pixel_std) <= 0 or not np.isfinite(numbers).all():
            raise InputError(f"pixel means and deviations must be three numbers each, these above 0, got {numbers}")
        model = model.eval()
        self.model: Any = model if hasattr(model, "embed") else embedding_model(model, self.input_size).eval()
        self.unification = unification or unification_of(self.model)
        if self.unification.place == "features" and not self.model.blanks_features:
            self.unification = replace(self.unification, place="image")
        self._prepare = prepare or self._resize
        self.source: dict[str, Any] | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        parameter = next(self.model.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def to(self, device: str | torch.device) -> ImageEncoder:
        """Moves the network to a device.

        Raises:
            DeviceError: no such device here, or a network file, which its own runtime places.
        """
        try:
            wanted = torch.device(device)
        except RuntimeError as error:
            raise DeviceError(f"unknown device {str(device)!r}: cpu, cuda, cuda:1 or mps") from error
        there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        if (wanted.index or 0) >= there.get(wanted.type, 0):
            raise DeviceError(f"there is no device {wanted} here: take cpu (`oamn doctor` lists devices)")
        if next(self.model.parameters(), None) is None and wanted.type != "cpu":
            raise DeviceError(f"{self.name} is a network file, which runs on the CPU: leave out the device")
        self.model.to(wanted)
        return self

    @cached_property
    def dim(self) -> int:
        """Numbers in a descriptor, found by describing one black image."""
        return self.gallery(torch.zeros(1, 3, *self.input_size), [NONE])[NONE].shape[1]

    @property
    def has_scorer(self) -> bool:
        """Whether the network judges by itself how an image is occluded, and has a mask to show."""
        return has_scorer(self.model)

    @property
    def colour(self) -> Tensor:
        """(3,) colour of strips on the image, as the network sees it."""
        return fill_colour(self.unification.fill, self.pixel_mean, self.pixel_std, 255)

    @property
    def types(self) -> tuple[str, ...]:
        """The occlusion types a gallery may be described for."""
        if self.unification.kind == "matched":
            return TYPE_SETS[self.unification.types]
        return OCCLUSION_TYPES if self.unification.kind == "typed" else (NONE,)

    def identity(self) -> ModelIdentity:
        """What an index that this encoder fills can be compared by."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            if not name.startswith("classifier."):
                digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        settings = {
            "input_size": list(self.input_size),
            "pixel_mean": self.pixel_mean,
            "pixel_std": self.pixel_std,
            "resample": self.resample,
            "layers": _layers(self.model),
            **{name: getattr(self.unification, name) for name in DESCRIBING},
        }
        if hasattr(self.model, "options"):
            options = asdict(self.model.options)
            settings.update({name: options[name] for name in OPTIONS if name in options})
        return ModelIdentity(digest.hexdigest(), settings)

    def prepare(self, image: Image.Image) -> Tensor:
        """(3, H, W) pixels in 0..255 of a PIL image, of the network's input size."""
        return self._prepare(image)

    def read(self, path: str) -> Tensor:
        """(3, H, W) pixels in 0..255 of an image file.

        Raises:
            BadImageError: it cannot be read.
        """
        return self.prepare(read_image(path))

    def normalise(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) pixels in 0..255 to what the network takes, on its device."""
        mean = torch.tensor(self.pixel_mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(self.pixel_std, device=self.device).view(1, 3, 1, 1)
        images = (pixels.to(self.device).float() - mean) / std
        return images.contiguous(memory_format=torch.channels_last)

    def queries(self, batches: Iterable[Tensor]) -> QueryDescriptors:
        """Descriptors and, with a scorer, occlusion types of queries.

        Args:
            batches: (N, 3, H, W) pixels in 0..255 each.
        """
        return describe_queries(self.model, (self.normalise(pixels) for pixels in batches), self.unification)

    def gallery(self, pixels: Tensor, type_names: Sequence[str]) -> dict[str, Tensor]:
        """Gallery descriptors (N, D) by occlusion type, of (N, 3, H, W) pixels in 0..255."""
        return describe_gallery(self.model, self.normalise(pixels), type_names, self.unification, self.colour)

    def masks(self, pixels: Tensor, type_names: Sequence[str]) -> Tensor:
        """(N, h, w) masks of an OAMN, of (N, 3, H, W) pixels, each image occluded by its own of N types first."""
        images = self.normalise(pixels)
        covered = [cover_strip(image[None], name, self.colour) for image, name in zip(images, type_names, strict=True)]
        with torch.inference_mode():
            mask, _ = self.model.attend(self.model.encode(torch.cat(covered)))
        return mask[:, 0].float().cpu()

    def _resize(self, image: Image.Image) -> Tensor:
        resized = TF.resize(image, list(self.input_size), interpolation=RESAMPLING[self.resample])  # type: ignore[arg-type]
        return TF.pil_to_tensor(resized)  # type: ignore[arg-type]


def _layers(model: nn.Module) -> str:
    """SHA-256 of what a network's layers are set to and its weights do not tell, such as strides and padding."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        own = {key: str(getattr(module, key)) for key in LAYER if hasattr(module, key)}
        if own and not name.startswith("classifier"):
            digest.update(f"{name} {type(module).__name__} {own}\n".encode())
    return digest.hexdigest()[:16]


def in_batches(items: Sequence[Any], size: int = BATCH) -> Iterable[Sequence[Any]]:
    """Consecutive parts of a sequence.

    >>> [list(part) for part in in_batches([1, 2, 3], 2)]
    [[1, 2], [3]]
    """
    return (items[start : start + size] for start in range(0, len(items), size))


def packaged_encoder(folder: Path = ASSETS) -> ImageEncoder:
    """The small network that ships with the package; needs no toolbox and no network connection.

    Raises:
        PackagedModelError: missing or damaged.
    """
    card = read_card(folder)
    return ImageEncoder(
        load_packaged(folder),
        input_size=card.input_size,
        pixel_mean=card.pixel_mean,
        pixel_std=card.pixel_std,
        resample=card.resample,
        unification=Unification(**card.unification) if card.unification else None,
        name=f"packaged {NAME}",
    )
