"""One ranking code for every toolbox: a model describes queries and gallery, the core ranks and scores them.

A toolbox hands over batches of normalised images with their labels; whatever it trained, its scores are computed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from oamn_plugin.datasets.embedded import load_truth
from oamn_plugin.datasets.records import Record
from oamn_plugin.modeling import OAMN
from oamn_plugin.presets import Options
from oamn_plugin.retrieval import RankingResult, Reranking, evaluate_ranking
from oamn_plugin.retrieval.occlusion_scores import mask_scores, type_scores
from oamn_plugin.retrieval.protocol import Protocol
from oamn_plugin.retrieval.unification import QueryDescriptors, unify


class Batch(NamedTuple):
    """Normalised images (N, 3, H, W) and their N records."""

    images: Tensor
    records: list[Record]


class PlainModel(nn.Module):
    """Any model behind the four words that the core's retrieval speaks; its mask is 1 everywhere.

    Args:
        model: normalised images (N, 3, H, W) to descriptors (N, D), in eval mode.
        normalised: unit descriptors; False keeps their length.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], normalised: bool = False) -> None:
        super().__init__()
        self.model, self.normalised = model, normalised

    def encode(self, images: Tensor) -> Tensor:
        """Descriptors (N, D) of images."""
        return self.model(images)

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """No mask and no opinion on occlusion."""
        return features.new_ones(1), features.new_zeros(len(features), 4)

    def apply_mask(self, features: Tensor, mask: Tensor) -> Tensor:
        """The features themselves."""
        return features

    def describe(self, features: Tensor) -> Tensor:
        """The features, of unit length where that was asked for."""
        return nn.functional.normalize(features) if self.normalised else features


@dataclass
class Evaluation:
    """One data set, evaluated.

    Attributes:
        result: scores as fractions, and of every query.
        queries: descriptors, occlusion types and confidence of the queries.
        query, gallery: their records, in order.
        scores: the entry of ``results.json``, in percent.
        distances: (Q, G), only where they were asked for.
    """

    result: RankingResult
    queries: QueryDescriptors
    query: list[Record]
    gallery: list[Record]
    scores: dict[str, Any]
    distances: Tensor | None = field(default=None, repr=False)


def evaluate(
    model: Any,
    query: Iterable[Batch],
    gallery: Iterable[Batch],
    options: Options,
    *,
    black: Tensor | None = None,
    fast: bool = False,
    metric: str = "sqeuclidean",
    rerank: Reranking | None = None,
    chunk_size: int | None = None,
    channels_last: bool = True,
    keep_distances: bool = False,
) -> Evaluation:
    """Scores a model on one data set; OAMN with occlusion unification, any other model plainly.

    Args:
        model: :class:`oamn_plugin.modeling.OAMN`, or anything with its four words (:class:`PlainModel`), in eval mode.
        query: batches of queries.
        gallery: batches of the gallery; iterated once.
        options: the method's options; without a mask module, or for any other model, nothing is unified.
        black: normalised black (3,); None: ImageNet's.
        fast: approximate unification, see :func:`oamn_plugin.retrieval.describe_gallery_fast`.
        metric: ``sqeuclidean`` or ``cosine``.
        rerank: settings of k-reciprocal re-ranking; None: none.
        chunk_size: queries whose distances are in memory at once.
        channels_last: memory layout of the batches.
        keep_distances: return the whole distance matrix too, for pictures.

    Raises:
        ValueError: no query, or no query with a match.
    """
    options = _effective(model, options)
    records: tuple[list[Record], list[Record]] = ([], [])
    clock = _Clock()
    images = _images(query, records[0]), clock.between(_images(gallery, records[1]))
    unified = unify(model, *images, options, black=black, fast=fast, channels_last=channels_last)
    with unified.store:
        pids, camids = ([[getattr(r, name) for r in part] for part in records] for name in ("pid", "camid"))
        labels = (pids[0], pids[1], camids[0], camids[1])
        types, sides = unified.queries.type_names, (unified.queries.descriptors, unified.gallery)
        result = evaluate_ranking(
            *sides, *labels, query_types=types, chunk_size=chunk_size, metric=metric, rerank=rerank
        )
        distances = _distances(Protocol(*labels, types), *sides, metric) if keep_distances else None
    scores = result.to_percent()
    scores["seconds_per_1000_gallery"] = 1000 * clock.seconds / max(1, len(records[1]))
    return Evaluation(result, unified.queries, *records, scores, distances)


def truth_scores(model: Any, found: Evaluation, query: Iterable[Batch]) -> dict[str, float]:
    """Mask and scorer against what really covers the person; empty where the truth is unknown.

    Args:
        model: OAMN, in eval mode.
        found: its evaluation.
        query: the same batches of queries again.

    Returns:
        ``mask_auc``, ``mask_iou``, ``type_accuracy``, ``side_accuracy`` in percent.
    """
    folder = Path(found.query[0].path).parent.parent
    if not isinstance(model, OAMN) or not (folder / "visibility.npz").exists():
        return {}
    truth = load_truth(folder)
    if any(Path(record.path).name not in truth for record in found.query):
        return {}
    known = [truth[Path(record.path).name] for record in found.query]
    scores = type_scores(found.queries.types.numpy(), [one.type_name for one in known])
    if model.mask is not None:
        device = next(model.parameters()).device
        with torch.inference_mode():
            masks = [model.attend(model.encode(batch.images.to(device)))[0].cpu() for batch in query]
        scores.update(mask_scores(masks, [one.visible for one in known], [one.occluder_mask for one in known]))
    return scores


class _Clock:
    """Seconds between the first and the last item that somebody takes from an iterator, its own work included."""

    seconds = 0.0

    def between(self, items: Iterable[Tensor]) -> Iterator[Tensor]:
        start = time.perf_counter()
        for item in items:
            yield item
            self.seconds = time.perf_counter() - start


def _effective(model: Any, options: Options) -> Options:
    """Nothing to unify without a scorer, and no second descriptor to mix in without unification."""
    if not isinstance(model, OAMN):
        return replace(options, unify=False, plain_share=0.0)
    return replace(options, unify=options.unify and options.mask_module)


def _images(batches: Iterable[Batch], records: list[Record]) -> Iterator[Tensor]:
    for batch in batches:
        records += batch.records
        yield batch.images


def _distances(protocol: Protocol, query: Tensor, gallery: Any, metric: str) -> Tensor:
    distances = torch.empty(protocol.num_query, protocol.num_gallery)
    for rows, block in protocol.blocks(query, gallery, metric, None):
        distances[torch.from_numpy(rows)] = block.cpu()
    return distances


def without_match(query: Sequence[Record], gallery: Sequence[Record]) -> list[Record]:
    """Queries whose identity is not in the gallery under another camera: no method can find them."""
    cameras: dict[int, set[int]] = {}
    for record in gallery:
        cameras.setdefault(record.pid, set()).add(record.camid)
    return [record for record in query if not cameras.get(record.pid, set()) - {record.camid}]
