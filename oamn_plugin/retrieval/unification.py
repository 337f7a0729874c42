"""Occlusion unification: gallery images are occluded the way a query is, before the two are compared.

A query is encoded once; the scorer tells its occlusion type. A gallery image is described once for every type that some
query has: with the strip of that type blacked out, under the mask of the blacked-out image. The distance of a query to
a gallery image is that of the query's descriptor to the one of its type. Source: OAMN (ICCV 2021), section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.presets import Options
from oamn_plugin.retrieval.store import DescriptorStore
from oamn_plugin.retrieval.strips import black_out, black_pixel, cut_out, occlusion_types
from oamn_plugin.retrieval.weighting import describe_ways, gallery_parts, query_parts, type_weights

__all__ = [
    "QueryDescriptors",
    "Unified",
    "black_out",
    "black_pixel",
    "describe_gallery",
    "describe_gallery_fast",
    "describe_queries",
    "needed_types",
    "occlusion_types",
    "unify",
]

Describe = Callable[[Any, Tensor, Sequence[str], Options, "Tensor | None"], dict[str, Tensor]]


class QueryDescriptors(NamedTuple):
    """Queries, encoded once, on the CPU."""

    descriptors: Tensor
    """(Q, D) float32 unit descriptors, each image under its own mask; (Q, 2 D) when the plain distance has a share,
    (Q, 9 D) when unification is weighted."""
    types: Tensor
    """(Q,) long, index in ``OCCLUSION_TYPES``."""
    confidence: Tensor
    """(Q,) largest probability of the scorer; largest weight of a type when unification is weighted."""
    logits: Tensor
    """(Q, 4) scorer logits, order left, right, bottom, top."""

    @property
    def type_names(self) -> list[str]:
        """The Q occlusion types by name."""
        return [OCCLUSION_TYPES[index] for index in self.types.tolist()]


class Unified(NamedTuple):
    """Both sides of a unified evaluation, ready for :func:`oamn_plugin.retrieval.evaluate_ranking`."""

    queries: QueryDescriptors
    gallery: Mapping[str, np.ndarray] | np.ndarray
    """Descriptors by type; without unification the one (G, D) array that every query meets."""
    store: DescriptorStore
    """The files behind ``gallery``: close it when done."""


def needed_types(queries: QueryDescriptors, options: Options) -> tuple[str, ...]:
    """The occlusion types a gallery must be described for: those that some query has.

    ``none`` alone where one descriptor serves all: without unification, and when it is weighted.
    """
    if not options.by_type:
        return (NONE,)
    present = set(queries.types.tolist())
    return tuple(name for index, name in enumerate(OCCLUSION_TYPES) if index in present)


def describe_queries(
    model: Any,
    batches: Iterable[Tensor],
    options: Options | None = None,
    *,
    channels_last: bool = True,
    black: Tensor | None = None,
) -> QueryDescriptors:
    """Encodes every query once, under its own mask, and reads its occlusion type off the scorer.

    When unification is weighted, once more for each occlusion type; the type is then the one that the mask fits best.

    Args:
        model: anything with ``encode``, ``attend``, ``apply_mask`` and ``describe``
            (:class:`oamn_plugin.modeling.OAMN`). A module in training mode is put in evaluation mode for the time.
        batches: normalised float batches (N, 3, H, W); moved to the model's device.
        options: thresholds and share of the plain distance; None: the model's own.
        channels_last: memory layout of the batches; about halves the time of convolutions on a CPU.
        black: (3,) normalised black, for weighted unification; None: ImageNet's.

    Raises:
        ValueError: no image at all.
    """
    options = _options(model, options)
    parts: list[tuple[Tensor, ...]] = []
    with _evaluating(model):
        for images in _on_device(model, batches, channels_last):
            found = _describe_query(model, images, options, black)
            parts.append(tuple(one.cpu() for one in found))
    if not parts:
        raise ValueError("there is no query image to describe")
    return QueryDescriptors(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _describe_query(model: Any, images: Tensor, options: Options, black: Tensor | None) -> tuple[Tensor, ...]:
    """The fields of :class:`QueryDescriptors` for one batch."""
    features = model.encode(images)
    mask, logits = model.attend(features)
    logits = logits.float()
    if options.weighted:
        ways = describe_ways(model, _occluded(model, images, black, {NONE: (features, mask)}))
        confidence, types = type_weights(mask, options.weight_temperature).max(1)
        weights = type_weights(mask, options.weight_temperature, options.plain_share)
        return query_parts(ways, weights), types, confidence, logits
    descriptors = model.describe(model.apply_mask(features, mask)).float()
    types, confidence = occlusion_types(logits, options.quarter_threshold, options.half_threshold)
    return _mix(descriptors, descriptors, options.plain_share), types, confidence, logits


def _occluded(
    model: Any, images: Tensor, black: Tensor | None, known: Mapping[str, tuple[Tensor, Tensor]]
) -> Callable[[str], tuple[Tensor, Tensor]]:
    """Features and mask of images by the occlusion type they are given, encoded unless known."""

    def occluded(name: str) -> tuple[Tensor, Tensor]:
        if name in known:
            return known[name]
        features = model.encode(black_out(images, name, black))
        return features, model.attend(features)[0]

    return occluded


def describe_gallery(
    model: Any,
    images: Tensor,
    type_names: Sequence[str],
    options: Options | None = None,
    black: Tensor | None = None,
) -> dict[str, Tensor]:
    """Descriptors of one batch of gallery images for each of the given occlusion types.

    With f the features and m_t the mask of the image whose strip is black: ``desc(f_t * m_t)`` where
    ``options.gallery_features`` is ``occluded``, ``desc(f_clean * m_t)`` where it is ``clean``. The model must be
    in evaluation mode.

    Args:
        model: see :func:`describe_queries`.
        images: (N, 3, H, W) normalised float, on the model's device.
        type_names: the types wanted, of ``OCCLUSION_TYPES``.
        options: None: the model's own.
        black: (3,) normalised black; None: ImageNet's.

    Returns:
        (N, D) float32 unit descriptors by type name; (N, 2 D) when the plain distance has a share. When unification is
        weighted, ``none`` alone, with (N, 9 D).
    """
    options = _options(model, options)
    if options.weighted:
        with torch.inference_mode():
            return {NONE: gallery_parts(describe_ways(model, _occluded(model, images, black, {})))}

    def occluded(name: str, clean: Tensor | None) -> tuple[Tensor, Tensor]:
        features = model.encode(black_out(images, name, black))
        mask, _ = model.attend(features)
        return (features if options.gallery_features == "occluded" or clean is None else clean), mask

    return _describe_types(model, images, type_names, options, occluded, options.gallery_features == "clean")


def describe_gallery_fast(
    model: Any,
    images: Tensor,
    type_names: Sequence[str],
    options: Options | None = None,
    black: Tensor | None = None,
) -> dict[str, Tensor]:
    """An approximation of :func:`describe_gallery` that runs E1 once per image instead of once per type.

    The strip is set to zero on the features instead of black on the image, which leaves out what E1's receptive field
    carries across the strip's border. Same arguments and result; ``black`` is not used.
    """
    options = _options(model, options)

    def occluded(name: str, clean: Tensor | None) -> tuple[Tensor, Tensor]:
        assert clean is not None
        features = cut_out(clean, name, images.shape[-2:])
        mask, _ = model.attend(features)
        return (features if options.gallery_features == "occluded" else clean), mask

    if options.weighted:
        with torch.inference_mode():
            clean = model.encode(images)

            def cut(name: str) -> tuple[Tensor, Tensor]:
                features = clean if name == NONE else cut_out(clean, name, images.shape[-2:])
                return features, model.attend(features)[0]

            return {NONE: gallery_parts(describe_ways(model, cut))}
    return _describe_types(model, images, type_names, options, occluded, True)


def unify(
    model: Any,
    queries: Iterable[Tensor],
    gallery: Iterable[Tensor],
    options: Options | None = None,
    *,
    folder: str | Path | None = None,
    black: Tensor | None = None,
    fast: bool = False,
    channels_last: bool = True,
) -> Unified:
    """Describes queries and gallery for a unified evaluation; the gallery's descriptors go to disk type by type.

    Args:
        model: see :func:`describe_queries`.
        queries: normalised float batches (N, 3, H, W).
        gallery: the same; iterated once, each image encoded for the types that some query has and for no other.
        options: None: the model's own. ``unify`` False: plain matching, every image under its own mask.
        folder: where the gallery's descriptors are written; None: a temporary folder.
        black: (3,) normalised black; None: ImageNet's.
        fast: use :func:`describe_gallery_fast`.
        channels_last: memory layout of the batches.
    """
    options = _options(model, options)
    described = describe_queries(model, queries, options, channels_last=channels_last, black=black)
    names = needed_types(described, options)
    describe: Describe = describe_gallery_fast if fast else describe_gallery
    store = DescriptorStore(folder)
    with _evaluating(model):
        for images in _on_device(model, gallery, channels_last):
            store.append(describe(model, images, names, options, black))
    store.finish()
    return Unified(described, store if options.by_type else store[NONE], store)


def _describe_types(
    model: Any,
    images: Tensor,
    type_names: Sequence[str],
    options: Options,
    occluded: Callable[[str, Tensor | None], tuple[Tensor, Tensor]],
    needs_clean: bool,
) -> dict[str, Tensor]:
    """The loop over types that both ways share; ``occluded`` gives features and mask of a type other than none."""
    with torch.inference_mode():
        plain_needed = NONE in type_names or options.plain_share > 0
        clean = model.encode(images) if plain_needed or needs_clean else None
        plain: Tensor | None = None
        if plain_needed:
            plain = model.describe(model.apply_mask(clean, model.attend(clean)[0])).float()
        descriptors = {}
        for name in type_names:
            if name == NONE and plain is not None:
                own = plain
            else:
                features, mask = occluded(name, clean)
                own = model.describe(model.apply_mask(features, mask)).float()
            descriptors[name] = _mix(own, plain, options.plain_share)
        return descriptors


def _mix(unified: Tensor, plain: Tensor | None, share: float) -> Tensor:
    """Descriptors whose squared distance is (1 - share) * unified + share * plain squared distance."""
    if share == 0 or plain is None:
        return unified
    return torch.cat([(1 - share) ** 0.5 * unified, share**0.5 * plain], dim=1)


def _options(model: Any, options: Options | None) -> Options:
    return options if options is not None else getattr(model, "options", None) or Options()


def _on_device(model: Any, batches: Iterable[Tensor], channels_last: bool) -> Iterator[Tensor]:
    parameter = next(model.parameters(), None) if hasattr(model, "parameters") else None
    device = torch.device("cpu") if parameter is None else parameter.device
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for images in batches:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            shape, kind = tuple(images.shape), images.dtype
            raise ValueError(f"image batches must be normalised float tensors (N, 3, H, W), got {shape} of {kind}")
        yield images.to(device, non_blocking=True).contiguous(memory_format=layout)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Inference and evaluation mode; a module that was training is training again afterwards."""
    was_training = bool(getattr(model, "training", False))
    if was_training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()
