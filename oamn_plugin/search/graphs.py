"""What leaves for other runtimes: two modules from images to descriptors, and what must be known of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from oamn_plugin.modeling.embedding import WholeModel
from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES
from oamn_plugin.retrieval.strips import blank_strip, cover_strip
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search.encoder import ImageEncoder


class _Graph(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: ImageEncoder, takes: str = "pixels") -> None:
        super().__init__()
        self.model: Any = encoder.model.eval()
        self.takes = takes
        self.register_buffer("mean", torch.tensor(encoder.pixel_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(encoder.pixel_std).view(1, 3, 1, 1))
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """Images as the network takes them."""
        return images if self.takes == "normalised" else (images - self.mean) / self.std


class QueryGraph(_Graph):
    """Query images to descriptor and, of a model with a scorer, its logits.

    Shapes:
        images (N, 3, H, W) float RGB, in 0..255 or normalised, to descriptors (N, D) and logits (N, 4), order left,
        right, bottom, top.

    Args:
        encoder: the model.
        takes: ``pixels`` in 0..255, or ``normalised`` by the caller.
        scored: False leaves the logits out, as they are where there is no scorer.
    """

    def __init__(self, encoder: ImageEncoder, takes: str = "pixels", scored: bool = True) -> None:
        super().__init__(encoder, takes)
        self.has_mask, self.scored = encoder.has_scorer, scored and encoder.has_scorer

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        if not self.has_mask:
            return whole(self.model, self.normalise(images))
        features = self.model.encode(self.normalise(images))
        mask, logits = self.model.attend(features)
        descriptors = self.model.describe(self.model.apply_mask(features, mask))
        return (descriptors, logits) if self.scored else descriptors


class GalleryGraph(_Graph):
    """Gallery images and occlusion types to descriptors; strips lie where :func:`exported_unification` says.

    Shapes:
        images (N, 3, H, W) float RGB, in 0..255 or normalised, types (N,) int64, index in ``OCCLUSION_TYPES``, to
        descriptors (N, D).

    Args:
        encoder: the model.
        takes: ``pixels`` in 0..255, or ``normalised`` by the caller.
    """

    visible: Tensor
    colour: Tensor

    def __init__(self, encoder: ImageEncoder, takes: str = "pixels") -> None:
        super().__init__(encoder, takes)
        how = exported_unification(encoder)
        self.clean_features = how.kind == "typed" and how.clean_features
        self.on_features = how.place == "features"
        seen = torch.ones(1, 3, *encoder.input_size)
        black = torch.zeros(3)
        if self.on_features:
            with torch.inference_mode():
                size = self.model.encode(encoder.normalise(seen)).shape[-2:]
            rows = [blank_strip(torch.ones(1, 1, *size), name, encoder.input_size) for name in OCCLUSION_TYPES]
        else:
            rows = [cover_strip(seen, name, black)[:, :1] for name in OCCLUSION_TYPES]
        self.register_buffer("visible", torch.cat(rows))
        self.register_buffer("colour", encoder.colour.view(1, 3, 1, 1))

    def forward(self, images: Tensor, types: Tensor) -> Tensor:
        """See the class."""
        clean, visible = self.normalise(images), self.visible[types]
        if isinstance(self.model, WholeModel):
            return whole(self.model, clean * visible + self.colour * (1 - visible))
        if self.on_features or self.clean_features:
            features = self.model.encode(clean)
        if self.on_features:
            occluded = features * visible
        else:
            occluded = self.model.encode(clean * visible + self.colour * (1 - visible))
        if not self.clean_features:
            return self.model.embed(occluded)
        mask, _ = self.model.attend(occluded)
        return self.model.describe(self.model.apply_mask(features, mask))


def whole(model: Any, images: Tensor) -> Tensor:
    """Unit descriptors of images in one go: a split model would stop and resume by hooks, which no graph holds."""
    return WholeModel.embed(model, images) if isinstance(model, WholeModel) else model.embed(model.encode(images))


def exported_unification(encoder: ImageEncoder) -> Unification:
    """The unification that graphs compute: an encoder's own, but strips on the image where hooks would stop it."""
    by_hooks = isinstance(encoder.model, WholeModel)
    return replace(encoder.unification, place="image") if by_hooks else encoder.unification


def describe_graphs(encoder: ImageEncoder, suffix: str, takes: str, scored: bool) -> dict[str, Any]:
    """What whoever uses the graphs has to know, as plain values.

    Args:
        encoder: the model.
        suffix: ending of the files.
        takes: ``pixels`` in 0..255, or ``normalised`` by the caller.
        scored: whether the query graph gives the scorer's logits.
    """
    how = exported_unification(encoder)
    images: dict[str, Any] = {"shape": ["N", 3, *encoder.input_size], "type": "float32", "order": "RGB",
                              "resize": encoder.resample, "input": takes}  # fmt: skip
    if takes == "pixels":
        images["range"] = [0, 255]
    else:
        images["normalisation"] = {"mean": encoder.pixel_mean, "std": encoder.pixel_std, "range": [0, 255]}
    outputs = ["descriptors", "logits"] if scored else ["descriptors"]
    card: dict[str, Any] = {
        "model": encoder.name,
        "query": {"file": f"query.{suffix}", "inputs": ["images"], "outputs": outputs},
        "gallery": {"file": f"gallery.{suffix}", "inputs": ["images", "types"], "outputs": ["descriptors"]},
        "images": images,
        "types": list(OCCLUSION_TYPES),
        "unification": asdict(how),
        "dim": encoder.dim,
        "weights": encoder.identity().weights,
    }
    if how.kind == "matched":
        matching = how.matching()
        card["matching"] = {
            "types": list(matching.types),
            "prior": [round(share, 8) for share in matching.prior.tolist()],
            "temperature": matching.temperature,
            "distance": "-temperature * log(sum over types of prior * exp(-|query - gallery|^2 / temperature))",
        }
    if scored:
        card["logits"] = list(SIDES)
        card["thresholds"] = {"quarter": how.quarter_threshold, "half": how.half_threshold}
        card["temperature"] = how.score_temperature or 1.0
    return card
