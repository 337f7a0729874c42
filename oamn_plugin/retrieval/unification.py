"""Occlusion unification: gallery images are occluded the way a query is, before the two are compared.

A query is encoded once. A gallery image is described once for every occlusion type that may be needed, with the strip
of that type blanked. Which of these descriptors a query meets is decided in one of two ways:

- ``typed``, the published method (OAMN, ICCV 2021, section 3.4): the scorer names the query's type, and the query is
  compared with that type alone. Needs an OAMN.
- ``matched``: the match decides. All types are compared, and the distance is a soft minimum over them, see
  :mod:`oamn_plugin.retrieval.matching`. Works for any model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from oamn_plugin.modeling.split import evaluating
from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.presets import UNIFICATIONS, Options
from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.retrieval.strips import FILLS, blank_strip, cover_strip, fill_colour, occlusion_types

PLACES = ("image", "features")
"""Where strips are blanked."""
TYPE_SETS = {"nine": OCCLUSION_TYPES, "five": OCCLUSION_TYPES[:5]}
"""The types that matched unification compares: all, or ``none`` and the halves."""


@dataclass(frozen=True)
class Unification:
    """How queries and gallery are unified.

    Attributes:
        kind: ``none`` (plain matching), ``typed`` or ``matched``.
        place: strips are blanked on the ``image``, which is encoded once a type, or on the ``features`` at stride 16,
            which costs one E1 an image.
        fill: colour of a strip on the image: ``mean`` for models that never saw black strips, or ``black``.
        types: of matched unification: ``nine`` or ``five``, see :data:`TYPE_SETS`.
        temperature: of matched unification, in squared distances of unit descriptors; small values take the nearest
            type.
        none_prior: share of the prior that matched unification gives to ``none``; the others have equal parts of the
            rest. 1/9 with nine types is a uniform prior; more protects queries of whole people.
        quarter_threshold, half_threshold: confidence above which the scorer's side counts.
        score_temperature: of the scorer's softmax where it was calibrated, else 0.
        clean_features: typed unification of the released code: clean features under the occluded image's mask.

    Raises:
        ValueError: an unknown word or a number out of range.
    """

    kind: str = "none"
    place: str = "image"
    fill: str = "mean"
    types: str = "nine"
    temperature: float = 0.05
    none_prior: float = 0.8
    quarter_threshold: float = 0.5
    half_threshold: float = 0.75
    score_temperature: float = 0.0
    clean_features: bool = False

    def __post_init__(self) -> None:
        choices = {"kind": UNIFICATIONS, "place": PLACES, "fill": tuple(FILLS), "types": tuple(TYPE_SETS)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} of a unification must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.kind == "matched":
            self.matching()

    @classmethod
    def of(cls, options: Options, kind: str = "", place: str = "", fill: str = "", **settings: Any) -> Unification:
        """The unification of a reading of the method; empty words mean the reading's own.

        Args:
            options: of the model.
            kind: None of the words: ``options.unification``.
            place: typed unification blanks the image, matched unification the features; plain matching, which blanks
                nothing, keeps what the reading's own kind does, for who unifies later.
            fill: typed unification fills with black, matched unification with the mean colour.
            **settings: further attributes.
        """
        kind = kind or options.unification
        matched = (options.unification if kind == "none" else kind) == "matched"
        return cls(
            kind=kind,
            place=place or ("features" if matched else "image"),
            fill=fill or ("mean" if matched else "black"),
            quarter_threshold=options.quarter_threshold,
            half_threshold=options.half_threshold,
            score_temperature=options.score_temperature,
            clean_features=options.gallery_features == "clean",
            **settings,
        )

    @property
    def scoring(self) -> tuple[float, float, float]:
        """What :func:`occlusion_types` reads types off logits by: both thresholds and the temperature."""
        return self.quarter_threshold, self.half_threshold, self.score_temperature

    def matching(self) -> Matching:
        """Prior and temperature of matched unification.

        Raises:
            ValueError: a number out of range.
        """
        names = TYPE_SETS[self.types]
        if not 0 <= self.none_prior <= 1:
            raise ValueError(f"none_prior must lie in [0, 1], got {self.none_prior}")
        rest = (1 - self.none_prior) / (len(names) - 1)
        return Matching(names, torch.tensor([self.none_prior] + [rest] * (len(names) - 1)), self.temperature)


class QueryDescriptors(NamedTuple):
    """Queries, encoded once, on the CPU."""

    descriptors: Tensor
    """(Q, D) float32 unit descriptors, an OAMN's images each under its own mask."""
    types: Tensor
    """(Q,) long, index in ``OCCLUSION_TYPES``, as the scorer says; 0 without a scorer."""
    confidence: Tensor
    """(Q,) largest probability of the scorer; 0.25, no evidence, without one."""
    logits: Tensor
    """(Q, 4) scorer logits, order left, right, bottom, top; 0 without a scorer."""

    @property
    def type_names(self) -> list[str]:
        """The Q occlusion types by name."""
        return [OCCLUSION_TYPES[index] for index in self.types.tolist()]


def needed_types(queries: QueryDescriptors, unification: Unification) -> tuple[str, ...]:
    """The occlusion types that a gallery must be described for: all that may be compared, and no other."""
    if unification.kind == "matched":
        return TYPE_SETS[unification.types]
    if unification.kind == "none":
        return (NONE,)
    present = set(queries.types.tolist())
    return tuple(name for index, name in enumerate(OCCLUSION_TYPES) if index in present)


def describe_queries(model: Any, batches: Iterable[Tensor], unification: Unification | None = None) -> QueryDescriptors:
    """Encodes every query once and, where the model has a scorer, reads its occlusion type off it.

    Args:
        model: an :class:`oamn_plugin.modeling.EmbeddingModel`. A module in training mode is put in evaluation mode for
            the time.
        batches: float batches (N, 3, H, W) as the model takes them; moved to its device.
        unification: its thresholds are used; None: the default ones.

    Raises:
        ValueError: no image at all.
    """
    settings = unification or Unification()
    with evaluation_mode(model):
        parts = [
            tuple(column.cpu() for column in _describe_query(model, images, settings))
            for images in on_device(model, batches)
        ]
    if not parts:
        raise ValueError("there is no query image to describe")
    return QueryDescriptors(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _describe_query(model: Any, images: Tensor, settings: Unification) -> tuple[Tensor, ...]:
    """The fields of :class:`QueryDescriptors` for one batch."""
    features = model.encode(images)
    if not has_scorer(model):
        descriptors = model.embed(features).float()
        logits = descriptors.new_zeros(len(images), 4)
    else:
        mask, logits = model.attend(features)
        descriptors, logits = model.describe(model.apply_mask(features, mask)).float(), logits.float()
    return descriptors, *occlusion_types(logits, *settings.scoring), logits


def describe_gallery(
    model: Any,
    images: Tensor,
    type_names: Sequence[str],
    unification: Unification | None = None,
    colour: Tensor | None = None,
) -> dict[str, Tensor]:
    """Descriptors of one batch of gallery images for each of the given occlusion types.

    Args:
        model: an embedding model in evaluation mode.
        images: (N, 3, H, W) float as the model takes them, on its device.
        type_names: the types wanted, of ``OCCLUSION_TYPES``.
        unification: where and how strips are blanked; None: the model's own reading if it is an OAMN.
        colour: (3,) of strips on the image in the images' units; None: ``unification.fill`` under ImageNet's
            normalisation.

    Returns:
        (N, D) float32 unit descriptors by type name.

    Raises:
        ValueError: strips on the features of a model that cannot be cut.
    """
    settings = unification or unification_of(model)
    on_features = settings.place == "features"
    if on_features and not model.blanks_features:
        raise ValueError(f"a {type(model).__name__} cannot be cut at stride 16: blank strips on the image")
    value = fill_colour(settings.fill) if colour is None else colour
    clean_mask_only = settings.kind == "typed" and settings.clean_features
    with torch.inference_mode():
        clean = model.encode(images) if NONE in type_names or on_features or clean_mask_only else None
        found = {}
        for name in type_names:
            if name == NONE:
                features = clean
            elif on_features:
                features = blank_strip(clean, name, images.shape[-2:])  # type: ignore[arg-type]
            else:
                features = model.encode(cover_strip(images, name, value))
            if clean_mask_only:
                found[name] = model.describe(model.apply_mask(clean, model.attend(features)[0])).float()
            else:
                found[name] = model.embed(features).float()
        return found


def unification_of(model: Any, kind: str = "") -> Unification:
    """The unification of a model's own reading: an OAMN's preset says it, any other model is matched."""
    options = getattr(model, "options", None)
    if isinstance(options, Options) and has_scorer(model):
        return Unification.of(options, kind)
    place = "features" if model.blanks_features else "image"
    return Unification(kind or "matched", place)


def has_scorer(model: Any) -> bool:
    """Whether a model judges by itself how an image is occluded."""
    return getattr(model, "scorer", None) is not None


def on_device(model: Any, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches where the model is, in the memory layout that about halves the time of convolutions on a CPU.

    Raises:
        ValueError: a batch that is none of float images.
    """
    parameter = next(model.parameters(), None) if hasattr(model, "parameters") else None
    device = torch.device("cpu") if parameter is None else parameter.device
    for images in batches:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            shape, kind = tuple(images.shape), images.dtype
            raise ValueError(f"image batches must be normalised float tensors (N, 3, H, W), got {shape} of {kind}")
        yield images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Inference and evaluation mode; every part of a module is back in its own mode afterwards."""
    with evaluating(model) if isinstance(model, nn.Module) else nullcontext(), torch.inference_mode():
        yield
