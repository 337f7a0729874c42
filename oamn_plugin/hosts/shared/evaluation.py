"""One evaluation for every toolbox: a model describes queries and gallery, the core ranks and scores them.

A toolbox hands over images with their labels; whatever it trained, its scores are computed here. Several processes
share the work: each describes and ranks its own part of the gallery, and the scores equal those of one process to the
bit.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from oamn_plugin.datasets.records import Record
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.shared.distributed import gather_arrays, gather_objects, rank, world_size
from oamn_plugin.hosts.shared.galleries import DescribedGallery, described_gallery
from oamn_plugin.modeling.embedding import Forward, WholeModel, embedding_model
from oamn_plugin.modeling.oamn import OAMN
from oamn_plugin.occlusion import NONE
from oamn_plugin.retrieval import Reranking, evaluate_ranking, expand_all, tpr_at_fpr
from oamn_plugin.retrieval.counting import WHOLE, Shard
from oamn_plugin.retrieval.distances import GALLERY_TILE
from oamn_plugin.retrieval.result import RankingResult
from oamn_plugin.retrieval.store import DescriptorStore
from oamn_plugin.retrieval.unification import (
    QueryDescriptors,
    Unification,
    describe_gallery,
    describe_queries,
    evaluation_mode,
    needed_types,
    on_device,
)
from oamn_plugin.search.encoder import ImageEncoder


class EvaluationError(ExpectedError, ValueError):
    """A data set that cannot be scored: none of its images can be read."""


class Batch(NamedTuple):
    """Images (N, 3, H, W) as the model takes them, and their N places in the list of records; images may be missing."""

    indices: Sequence[int]
    images: Tensor | None
    reasons: Sequence[str] = ()
    """Why the images that are missing cannot be read."""


@dataclass(frozen=True)
class ImageSet:
    """Queries or gallery.

    Attributes:
        records: all of them, in order.
        load: ``load(start, stop)`` gives the batches of the records in between.
        batch_size: images a batch; ``start`` is a multiple of it, so that a batch is the same in every process.
    """

    records: Sequence[Record]
    load: Callable[[int, int], Iterable[Batch]]
    batch_size: int


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is evaluated.

    Attributes:
        unification: how queries and gallery are unified.
        colour: (3,) of strips on the image, in the units of the batches; None: of ImageNet's normalisation.
        metric: ``sqeuclidean`` or ``cosine``.
        rerank: settings of k-reciprocal re-ranking; None: none.
        expansion: ``k``, ``alpha`` and ``times`` of query expansion; None: none.
        rates: report the true positive rate at three false positive rates.
        chunk_size: queries whose distances are in memory at once; None: about 256 MB.
        precision: context that describing happens in; ranking is always in float32.
    """

    unification: Unification = field(default_factory=Unification)
    colour: Tensor | None = None
    metric: str = "sqeuclidean"
    rerank: Reranking | None = None
    expansion: dict[str, Any] | None = None
    rates: bool = False
    chunk_size: int | None = None
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext

    def problems(self) -> list[str]:
        """A line for each combination of settings that is impossible; empty if there is none."""
        kind = self.unification.kind
        found = []
        if kind == "matched" and self.rerank is not None:
            found.append(
                "re-ranking compares gallery images with each other, which matched unification does not define"
            )
        if kind == "matched" and self.expansion is not None:
            found.append("query expansion joins descriptors of one type, but matched unification compares all types")
        if kind == "matched" and self.metric != "sqeuclidean":
            found.append("matched unification compares unit descriptors by their squared Euclidean distance")
        return found


@dataclass
class Evaluation:
    """One data set, evaluated.

    Attributes:
        result: scores as fractions, and of every query.
        queries: descriptors, occlusion types and confidence of the queries that could be read.
        query, gallery: their records, in order.
        scores: the entry of ``results.json``, in percent.
        skipped: why images could not be read.
    """

    result: RankingResult
    queries: QueryDescriptors
    query: list[Record]
    gallery: list[Record]
    scores: dict[str, Any]
    skipped: list[str]


def host_encoder(
    model: nn.Module,
    unification: Unification,
    forward: Forward | None = None,
    normalised: bool = False,
    **images: Any,
) -> ImageEncoder:
    """A host's own model as an encoder, which puts it in evaluation mode; an OAMN as it is.

    Any other is cut at stride 16 only if strips are to be blanked on its features and a dry run shows that it can be;
    where it cannot, they are blanked on the image.

    Args:
        model: of the host.
        unification: what is asked for.
        forward: how the model describes images; None: by calling it.
        normalised: unit descriptors for plain matching too.
        **images: ``input_size`` and what else :class:`oamn_plugin.search.encoder.ImageEncoder` wants to know of them.
    """
    if not isinstance(model, OAMN):
        matched = unification.kind == "matched"
        cut = matched and unification.place == "features"
        whole = WholeModel(model, forward, normalised or matched)
        model = embedding_model(model, images["input_size"], forward) if cut else whole
    return ImageEncoder(model, unification=unification, **images)


def evaluate(model: Any, query: ImageSet, gallery: ImageSet, settings: EvaluationSettings | None = None) -> Evaluation:
    """Scores a model on one data set.

    Args:
        model: an :class:`oamn_plugin.modeling.EmbeddingModel`; it is put in evaluation mode for the time.
        query: the queries.
        gallery: the gallery.
        settings: None: plain matching.

    Returns:
        The same on every process.

    Raises:
        EvaluationError: no query or no gallery image can be read.
        ValueError: no query has a match, or the settings do not go together.
    """
    settings = settings or EvaluationSettings()
    if problems := settings.problems():
        raise ValueError("; ".join(problems))
    skipped: list[str] = []
    kept, queries = _describe_queries(model, query, settings, skipped)
    names = needed_types(queries, settings.unification)
    alone = settings.rerank is not None or settings.expansion is not None or settings.rates
    bounds = [0, len(gallery.records)] if alone else shard_bounds(len(gallery.records), world_size())
    number = 0 if alone else rank()
    shard = WHOLE if alone or world_size() == 1 else Shard(bounds[number], gather_arrays)
    part = (bounds[number], bounds[number + 1])
    colour = None if settings.colour is None else tuple(settings.colour.tolist())
    with described_gallery(
        gallery.records,
        (part, names, settings.unification, colour),
        lambda: _describe_gallery(model, gallery, *part, names, settings, queries.descriptors.shape[1]),
    ) as described:
        skipped += described.skipped
        present = described.present
        present = np.concatenate(gather_objects(present)) if shard is not WHOLE else present
        if not present.any():
            raise EvaluationError(f"none of {len(present)} gallery images can be read: {skipped[-1]}")
        result, rates = _rank(
            settings, queries, [query.records[i] for i in kept], described.store, names, gallery.records, present, shard
        )
    kept_gallery = [record for record, there in zip(gallery.records, present.tolist(), strict=True) if there]
    scores = {**result.to_percent(), **rates}
    scores["seconds_per_1000_gallery"] = 1000 * described.seconds / max(1, len(kept_gallery))
    skipped = list(dict.fromkeys(reason for part in gather_objects(skipped) for reason in part))
    if skipped:
        scores["skipped_images"] = len(skipped)
    return Evaluation(result, queries, [query.records[i] for i in kept], kept_gallery, scores, skipped)


def _describe_queries(
    model: Any, query: ImageSet, settings: EvaluationSettings, skipped: list[str]
) -> tuple[list[int], QueryDescriptors]:
    """Places and descriptors of all queries that can be read, on every process."""
    kept: list[int] = []
    size, world = query.batch_size, world_size()
    batches = -(-len(query.records) // size)
    first, last = (batches * (rank() + step) // world * size for step in (0, 1))
    images = _images(query.load(first, min(last, len(query.records))), kept, skipped) if first < last else iter(())
    start = next(images, None)  # None: no share, or nothing in it can be read
    own = None
    if start is not None:
        with settings.precision():
            own = describe_queries(model, itertools.chain([start], images), settings.unification)
    everywhere = gather_objects((kept, None if own is None else tuple(own)))
    parts = [(places, described) for places, described in everywhere if described is not None]
    if not parts:
        reasons = [reason for part in gather_objects(skipped) for reason in part]
        raise EvaluationError(f"none of {len(query.records)} query images can be read: {reasons[0] if reasons else ''}")
    joined = QueryDescriptors(*(torch.cat([part[1][column] for part in parts]) for column in range(4)))
    return [place for places, _ in parts for place in places], joined


def _describe_gallery(
    model: Any,
    gallery: ImageSet,
    start: int,
    stop: int,
    names: Sequence[str],
    settings: EvaluationSettings,
    dim: int,
) -> DescribedGallery:
    """The images ``start`` to ``stop``; those that cannot be read keep their place."""
    started, skipped = time.perf_counter(), list[str]()
    present = np.zeros(stop - start, dtype=bool)
    size = gallery.batch_size
    batches = gallery.load(start // size * size, min(len(gallery.records), -(-stop // size) * size))
    stored = start  # images before it are in the store

    with ExitStack() as on_error, evaluation_mode(model):
        store = on_error.enter_context(DescriptorStore())
        for batch in batches:
            skipped += batch.reasons
            own = [row for row, place in enumerate(batch.indices) if start <= place < stop]
            if batch.images is None or not own:
                continue
            with settings.precision():
                images = next(on_device(model, [batch.images]))
                found = describe_gallery(model, images, names, settings.unification, settings.colour)
            places = [batch.indices[row] for row in own]
            present[np.array(places) - start] = True
            store.append(
                _in_place({name: rows[own].cpu() for name, rows in found.items()}, places, stored, places[-1] + 1)
            )
            stored = places[-1] + 1
        if stored < stop or start == stop:
            store.append(_in_place({name: torch.zeros(0, dim) for name in names}, [], stored, stop))
        store.finish()
        on_error.pop_all()
    return DescribedGallery(store, present, skipped, time.perf_counter() - started)


def _in_place(found: dict[str, Tensor], places: Sequence[int], start: int, stop: int) -> dict[str, Tensor]:
    """Descriptors of the images ``start`` to ``stop``; a unit vector where an image could not be read."""
    blocks = {}
    for name, rows in found.items():
        blocks[name] = torch.zeros(stop - start, rows.shape[1])
        blocks[name][:, 0] = 1
        blocks[name][[place - start for place in places]] = rows.float()
    return blocks


def _rank(
    settings: EvaluationSettings,
    queries: QueryDescriptors,
    query: Sequence[Record],
    store: DescriptorStore,
    names: Sequence[str],
    gallery: Sequence[Record],
    present: np.ndarray,
    shard: Shard,
) -> tuple[RankingResult, dict[str, float]]:
    labels = (column(query, "pid"), column(gallery, "pid"), column(query, "camid"), column(gallery, "camid"))
    described, by_type = queries.descriptors, {name: store[name] for name in names}
    if settings.expansion is not None:
        described, by_type = _expanded(settings.expansion, queries, by_type)
    matched = settings.unification.kind == "matched"
    side: Any = by_type[NONE] if set(by_type) == {NONE} and not matched else by_type
    common: dict[str, Any] = {"query_types": queries.type_names, "chunk_size": settings.chunk_size}
    matching = settings.unification.matching() if matched else None
    result = evaluate_ranking(
        *(described, side, *labels), **common, metric=settings.metric, rerank=settings.rerank, matching=matching,
        absent=~present, shard=shard,
    )  # fmt: skip
    if not settings.rates:
        return result, {}
    rates = tpr_at_fpr(described, side, *labels, **common, metric=settings.metric, matching=matching, absent=~present)
    return result, {f"TPR@FPR={fpr:.0e}": 100 * rate for fpr, rate in rates.items()}


def _expanded(
    expansion: dict[str, Any], queries: QueryDescriptors, by_type: dict[str, np.ndarray]
) -> tuple[Any, dict[str, Any]]:
    """Queries and, by type, gallery, expanded by their neighbours of the same type."""
    described, types = queries.descriptors.numpy().copy(), np.array(queries.type_names)
    sides: dict[str, Any] = {}
    for name, gallery in by_type.items():
        rows = np.flatnonzero(types == name) if len(by_type) > 1 else np.arange(len(types))
        described[rows], sides[name] = expand_all(described[rows], gallery, **expansion)
    return described, sides


def shard_bounds(count: int, parts: int) -> list[int]:
    """Where each part of a gallery begins, and its end; whole tiles of the distance computation.

    >>> shard_bounds(5000, 2)
    [0, 2048, 5000]
    """
    tiles = -(-count // GALLERY_TILE)
    return [min(count, tiles * part // parts * GALLERY_TILE) for part in range(parts)] + [count]


def column(records: Sequence[Record], name: str) -> np.ndarray:
    """A label of every record."""
    return np.array([getattr(record, name) for record in records])


def _images(batches: Iterable[Batch], kept: list[int], skipped: list[str]) -> Iterator[Tensor]:
    for batch in batches:
        skipped += batch.reasons
        if batch.images is not None:
            kept += batch.indices
            yield batch.images


def without_match(query: Sequence[Record], gallery: Sequence[Record]) -> list[Record]:
    """Queries whose identity is not in the gallery under another camera: no method can find them."""
    cameras: dict[int, set[int]] = {}
    for record in gallery:
        cameras.setdefault(record.pid, set()).add(record.camid)
    return [record for record in query if not cameras.get(record.pid, set()) - {record.camid}]
