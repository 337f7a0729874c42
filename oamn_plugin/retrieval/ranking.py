"""Exact evaluation of a retrieval run: CMC, both average precisions, mINP, never holding the whole distance matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import cast

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.retrieval import metrics
from oamn_plugin.retrieval.counting import WHOLE, Shard, images_before, padded, ranks_of
from oamn_plugin.retrieval.distances import Descriptors
from oamn_plugin.retrieval.matching import Explanation, Matching
from oamn_plugin.retrieval.metrics import IntArray
from oamn_plugin.retrieval.protocol import Gallery, Labels, Protocol, Types, type_counts
from oamn_plugin.retrieval.rerank import Reranking, reranked_blocks
from oamn_plugin.retrieval.result import RankingResult

SCORED_TOGETHER = 64
MAX_RANK = 50
"""Length of a CMC curve; shorter where the gallery is smaller."""
Counted = tuple[IntArray, list[int], IntArray]


def evaluate_ranking(
    query: Descriptors,
    gallery: Gallery,
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels,
    gallery_camids: Labels,
    *,
    query_types: Types | None = None,
    chunk_size: int | None = None,
    metric: str = "sqeuclidean",
    rerank: Reranking | None = None,
    matching: Matching | None = None,
    absent: np.ndarray | None = None,
    shard: Shard = WHOLE,
) -> RankingResult:
    """Scores queries against a gallery: CMC, mAP, trapezoidal mAP, mINP, and the same per query.

    Gallery images with the query's identity and camera do not count for it (protocol of Market-1501). Equal to
    ``evaluate_rank`` of fastreid and torchreid, where theirs are defined: their sort leaves the order of equal
    distances open; here the image that stands earlier in the gallery comes first. The exact rank of every positive is
    found by counting nearer images, so that a block of distances (256 MB by default) is all the memory it takes. The
    scores depend neither on ``chunk_size`` nor on the number of shards, to the bit (see
    :mod:`oamn_plugin.retrieval.distances`).

    Args:
        query: (Q, D) descriptors; numpy array, memory-mapped array or torch tensor (on a GPU, the GPU does the work).
        gallery: (G, D) descriptors; or, for occlusion unification, a mapping from occlusion type to the (G, D)
            descriptors of that type or to a function that returns them. Only types that are compared are read.
        query_pids, gallery_pids: (Q,) and (G,) identities.
        query_camids, gallery_camids: (Q,) and (G,) cameras.
        query_types: (Q,) occlusion types, names or indices in ``OCCLUSION_TYPES``; needed when ``gallery`` is a
            mapping and ``matching`` is not given. Else they are only counted.
        chunk_size: queries whose distances are in memory at once; None: about 256 MB.
        metric: ``sqeuclidean`` or ``cosine``.
        rerank: settings of k-reciprocal re-ranking; with a mapping, the queries of each type are re-ranked with the
            gallery of that type. None: none.
        matching: matched unification: every query meets all types of the mapping.
        absent: (G,) bool, gallery images without a descriptor of their own, whose rows count nowhere.
        shard: the part of the gallery that this process holds; ``gallery`` then has its rows alone, while labels and
            ``absent`` are those of the whole gallery. It starts at a multiple of
            :data:`~oamn_plugin.retrieval.distances.GALLERY_TILE`.

    Raises:
        ValueError: lengths that do not fit, a query type that the gallery lacks, a descriptor that is not finite, no
            query with a match, or re-ranking of matched or sharded distances.

    >>> gallery = np.eye(3, dtype=np.float32)
    >>> result = evaluate_ranking(gallery[:1], gallery, [7], [7, 8, 7], [0], [0, 1, 1])
    >>> result.rank(1), result.mAP  # the query's own image is dropped; the tie goes to the earlier image
    (0.0, 0.5)
    """
    protocol = Protocol(query_pids, gallery_pids, query_camids, gallery_camids, query_types, absent)
    make = None
    if rerank is not None:
        if matching is not None or shard is not WHOLE or protocol.absent is not None:
            raise ValueError("re-ranking compares all gallery images with each other: one type, one process, no gaps")
        make = partial(reranked_blocks, settings=rerank, metric=metric, chunk_size=chunk_size)
    blocks = protocol.blocks(query, gallery, metric, chunk_size, make, shard, matching)
    if matching is None:
        return _score(protocol, blocks, shard)
    explanation = Explanation(query, cast(Mapping[str, Descriptors], gallery), matching)
    result = _score(protocol, explanation.watch(blocks), shard)
    posterior = explanation.mean(shard)
    return replace(result, posterior=posterior, query_types=type_counts(posterior.argmax(1)))


def evaluate_distances(
    distances: np.ndarray | Tensor | Iterable[np.ndarray | Tensor],
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels,
    gallery_camids: Labels,
) -> RankingResult:
    """The scores of :func:`evaluate_ranking` from distances made elsewhere.

    Args:
        distances: (Q, G), or an iterable of consecutive blocks of its rows, of any sizes.
        query_pids, gallery_pids: (Q,) and (G,) identities.
        query_camids, gallery_camids: (Q,) and (G,) cameras.

    Raises:
        ValueError: lengths that do not fit, a distance that is NaN, or no query with a match.

    >>> evaluate_distances(np.array([[0.5, 0.1]]), [1], [1, 2], [0], [1, 1]).mAP_trapezoid
    0.25
    """
    protocol = Protocol(query_pids, gallery_pids, query_camids, gallery_camids)
    blocks = [distances] if isinstance(distances, np.ndarray | Tensor) else distances
    return _score(protocol, _checked(blocks, protocol))


def _score(protocol: Protocol, blocks: Iterable[tuple[IntArray, Tensor]], shard: Shard = WHOLE) -> RankingResult:
    ap, trapezoid, inp = (np.zeros(protocol.num_query) for _ in range(3))
    first = np.zeros(protocol.num_query, dtype=np.int64)
    for queries, sizes, before in _summed(_counted(protocol, blocks, shard), shard):
        found = ranks_of(before, sizes)
        # a few queries at a time, so that one with very many positives does not widen the padding of all
        for part in range(0, len(queries), SCORED_TOGETHER):
            ranks, where = padded(found[part : part + SCORED_TOGETHER], 0), queries[part : part + SCORED_TOGETHER]
            ap[where] = metrics.average_precision(ranks)
            trapezoid[where] = metrics.average_precision_trapezoid(ranks)
            inp[where] = metrics.inverse_negative_penalty(ranks)
            first[where] = ranks[:, 0] if ranks.shape[1] else 0
    protocol.require_match(bool(first.any()))
    curve = metrics.cmc(first, min(MAX_RANK, protocol.num_gallery))
    return RankingResult(curve, ap, trapezoid, inp, first, protocol.num_gallery, protocol.type_counts())


def _counted(protocol: Protocol, blocks: Iterable[tuple[IntArray, Tensor]], shard: Shard) -> Iterator[Counted]:
    """For every block its queries, how many positives each has, and the images of the shard before each positive."""
    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers) as pool:
        for rows, block in blocks:
            members = protocol.members(rows)
            before = images_before(block, members, pool, workers, shard)
            yield rows, [len(one.positives) for one in members], before


def _summed(counted: Iterator[Counted], shard: Shard) -> Iterator[Counted]:
    """The same over all shards: of one block after the other, or of all at once, where processes share the gallery."""
    if shard is WHOLE:
        yield from counted
    elif parts := list(counted):  # processes that wait for each other at every block's end wait long
        queries, sizes, before = zip(*parts, strict=True)
        yield np.concatenate(queries), list(chain(*sizes)), shard.total(np.concatenate(before))


def _checked(blocks: Iterable[np.ndarray | Tensor], protocol: Protocol) -> Iterator[tuple[IntArray, Tensor]]:
    """Numbers the rows of blocks from elsewhere and refuses what does not fit."""
    start = 0
    for raw in blocks:
        block = torch.as_tensor(raw)
        end = start + len(block)
        if block.ndim != 2 or block.shape[1] != protocol.num_columns or end > protocol.num_query:
            raise ValueError(
                f"distances of shape {tuple(block.shape)} from query {start} on do not fit "
                f"{protocol.num_query} queries and {protocol.num_columns} gallery images"
            )
        if block.isnan().any():
            raise ValueError(f"the distances of queries {start} to {end - 1} contain NaN")
        yield np.arange(start, end), block
        start = end
    if start != protocol.num_query:
        raise ValueError(f"distances for {start} queries but {protocol.num_query} query_pids")
