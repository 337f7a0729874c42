"""Exact evaluation of a retrieval run: CMC, both average precisions, mINP, never holding the whole distance matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval import metrics
from oamn_plugin.retrieval.counting import IdentityIndex, positive_ranks
from oamn_plugin.retrieval.distances import QUERY_TILE, Descriptors, distance_blocks
from oamn_plugin.retrieval.metrics import IntArray
from oamn_plugin.retrieval.result import RankingResult

Labels = Sequence[int] | np.ndarray | Tensor
LazyDescriptors = Descriptors | Callable[[], Descriptors]


def evaluate_ranking(
    query: Descriptors,
    gallery: Descriptors | Mapping[str, LazyDescriptors],
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels,
    gallery_camids: Labels,
    *,
    query_types: Sequence[str] | np.ndarray | Tensor | None = None,
    chunk_size: int | None = None,
    max_rank: int = 50,
    metric: str = "sqeuclidean",
) -> RankingResult:
    """Scores queries against a gallery: CMC, mAP, trapezoidal mAP, mINP, and the same per query.

    Gallery images with the query's identity and camera do not count for it (protocol of Market-1501). Equal to
    ``evaluate_rank`` of fastreid and torchreid, where theirs are defined: their sort leaves the order of equal
    distances open; here the image that stands earlier in the gallery comes first. The exact rank of every positive is
    found by counting nearer images, so that a block of distances (256 MB by default) is all the memory it takes. The
    scores do not depend on ``chunk_size``, to the bit (see :mod:`oamn_plugin.retrieval.distances`).

    Args:
        query: (Q, D) descriptors; numpy array, memory-mapped array or torch tensor (on a GPU, the GPU does the work).
        gallery: (G, D) descriptors; or, for occlusion unification, a mapping from occlusion type to the (G, D)
            descriptors of that type or to a function that returns them. Only types that a query has are read, one at a
            time.
        query_pids: (Q,) identities.
        gallery_pids: (G,) identities.
        query_camids: (Q,) cameras.
        gallery_camids: (G,) cameras.
        query_types: (Q,) occlusion types, names or indices in ``OCCLUSION_TYPES``; needed when ``gallery`` is a
            mapping. With a plain gallery they are only counted.
        chunk_size: queries whose distances are in memory at once; None: about 256 MB.
        max_rank: length of the CMC curve (shorter when the gallery is smaller).
        metric: ``sqeuclidean`` or ``cosine``.

    Raises:
        ValueError: lengths that do not fit, a query type that the gallery lacks, a descriptor that is not finite, or no
            query with a match.

    >>> gallery = np.eye(3, dtype=np.float32)
    >>> result = evaluate_ranking(gallery[:1], gallery, [7], [7, 8, 7], [0], [0, 1, 1])
    >>> result.rank(1), result.mAP  # the query's own image is dropped; the tie goes to the earlier image
    (0.0, 0.5)
    """
    q_pids, q_camids = _labels(query_pids, len(query), "query_pids"), _labels(query_camids, len(query), "query_camids")
    g_pids = _labels(gallery_pids, None, "gallery_pids")
    g_camids = _labels(gallery_camids, len(g_pids), "gallery_camids")
    types = None if query_types is None else _type_names(query_types, len(query))
    scores = _Scores(q_pids, q_camids, IdentityIndex(g_pids, g_camids))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for rows, source in _groups(gallery, types, len(query)):
            descriptors = source() if callable(source) else source
            if len(descriptors) != len(g_pids):
                raise ValueError(f"{len(descriptors)} gallery descriptors but {len(g_pids)} gallery_pids")
            group = query if rows is None else _take(query, rows)
            for start, block in distance_blocks(group, descriptors, metric=metric, chunk_size=chunk_size):
                first = np.arange(start, start + len(block))
                scores.add(first if rows is None else rows[first], block, pool)
    return scores.result(max_rank, len(g_pids), types)


def evaluate_distances(
    distances: np.ndarray | Tensor | Iterable[np.ndarray | Tensor],
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels,
    gallery_camids: Labels,
    *,
    query_types: Sequence[str] | np.ndarray | Tensor | None = None,
    max_rank: int = 50,
) -> RankingResult:
    """The scores of :func:`evaluate_ranking` from distances made elsewhere (re-ranking, another metric).

    Args:
        distances: (Q, G), or an iterable of consecutive blocks of its rows, of any sizes.
        query_pids: (Q,) identities.
        gallery_pids: (G,) identities.
        query_camids: (Q,) cameras.
        gallery_camids: (G,) cameras.
        query_types: (Q,) occlusion types, only counted.
        max_rank: length of the CMC curve.

    Raises:
        ValueError: lengths that do not fit, a distance that is NaN, or no query with a match.

    >>> evaluate_distances(np.array([[0.5, 0.1]]), [1], [1, 2], [0], [1, 1]).mAP_trapezoid
    0.25
    """
    q_pids = _labels(query_pids, None, "query_pids")
    q_camids = _labels(query_camids, len(q_pids), "query_camids")
    g_pids = _labels(gallery_pids, None, "gallery_pids")
    g_camids = _labels(gallery_camids, len(g_pids), "gallery_camids")
    types = None if query_types is None else _type_names(query_types, len(q_pids))
    scores = _Scores(q_pids, q_camids, IdentityIndex(g_pids, g_camids))
    blocks = [distances] if isinstance(distances, np.ndarray | Tensor) else distances
    start = 0
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for raw in blocks:
            block = torch.as_tensor(raw)
            if block.ndim != 2 or block.shape[1] != len(g_pids) or start + len(block) > len(q_pids):
                raise ValueError(
                    f"distances of shape {tuple(block.shape)} from query {start} on do not fit {len(q_pids)} queries "
                    f"and {len(g_pids)} gallery images"
                )
            if block.isnan().any():
                raise ValueError(f"the distances of queries {start} to {start + len(block) - 1} contain NaN")
            scores.add(np.arange(start, start + len(block)), block, pool)
            start += len(block)
    if start != len(q_pids):
        raise ValueError(f"distances for {start} queries but {len(q_pids)} query_pids")
    return scores.result(max_rank, len(g_pids), types)


class _Scores:
    """Per-query scores, filled block by block in any order of the queries."""

    def __init__(self, pids: IntArray, camids: IntArray, index: IdentityIndex) -> None:
        self._pids, self._camids, self._index = pids, camids, index
        self._ap, self._trapezoid, self._inp = (np.zeros(len(pids)) for _ in range(3))
        self._first = np.zeros(len(pids), dtype=np.int64)

    def add(self, rows: IntArray, block: Tensor, pool: Executor) -> None:
        pairs = zip(self._pids[rows].tolist(), self._camids[rows].tolist(), strict=True)
        members = [self._index.members(pid, camid) for pid, camid in pairs]
        found = positive_ranks(block, members, pool, torch.get_num_threads())
        # a few queries at a time, so that one with very many positives does not widen the padding of all
        for part in range(0, len(rows), QUERY_TILE):
            ranks, where = _padded(found[part : part + QUERY_TILE]), rows[part : part + QUERY_TILE]
            self._ap[where] = metrics.average_precision(ranks)
            self._trapezoid[where] = metrics.average_precision_trapezoid(ranks)
            self._inp[where] = metrics.inverse_negative_penalty(ranks)
            self._first[where] = metrics.first_ranks(ranks)

    def result(self, max_rank: int, num_gallery: int, types: np.ndarray | None) -> RankingResult:
        if not self._first.any():
            raise ValueError(
                f"none of the {len(self._pids)} queries has a match: no query identity is in the gallery under another "
                "camera. Check that query and gallery are of the same data set and that camera numbers differ"
            )
        curve = metrics.cmc(self._first, min(max_rank, num_gallery))
        counts = {} if types is None else Counter(types.tolist())
        ordered = {name: counts[name] for name in OCCLUSION_TYPES if name in counts}
        return RankingResult(curve, self._ap, self._trapezoid, self._inp, self._first, num_gallery, ordered)


def _groups(
    gallery: Descriptors | Mapping[str, LazyDescriptors], types: np.ndarray | None, num_query: int
) -> Iterable[tuple[IntArray | None, LazyDescriptors]]:
    """Queries (None: all of them) and the gallery that each group of them meets."""
    if not isinstance(gallery, Mapping):
        return [(None, gallery)]
    if types is None:
        raise ValueError("gallery is a mapping from occlusion type to descriptors, so query_types must be given")
    present = [name for name in OCCLUSION_TYPES if (types == name).any()]
    missing = [name for name in present if name not in gallery]
    if missing:
        raise ValueError(f"queries of type {', '.join(missing)} but the gallery only has {', '.join(gallery)}")
    return [(np.flatnonzero(types == name), gallery[name]) for name in present]


def _take(query: Descriptors, rows: IntArray) -> Descriptors:
    return query[torch.from_numpy(rows).to(query.device)] if isinstance(query, Tensor) else query[rows]


def _labels(values: Labels, length: int | None, name: str) -> IntArray:
    array = np.asarray(values.cpu() if isinstance(values, Tensor) else values).astype(np.int64)
    if array.ndim != 1 or (length is not None and len(array) != length):
        wanted = "one dimension" if length is None else f"shape ({length},)"
        raise ValueError(f"{name} must have {wanted}, got shape {array.shape}")
    return array


def _type_names(types: Sequence[str] | np.ndarray | Tensor, length: int) -> np.ndarray:
    array = np.asarray(types.cpu() if isinstance(types, Tensor) else types)
    if array.shape != (length,):
        raise ValueError(f"query_types must have shape ({length},), got {array.shape}")
    if array.dtype.kind in "iu":
        array = np.array(OCCLUSION_TYPES)[array]
    unknown = sorted(set(array.tolist()) - set(OCCLUSION_TYPES))
    if unknown:
        raise ValueError(
            f"unknown occlusion types {', '.join(map(str, unknown))}: choose of {', '.join(OCCLUSION_TYPES)}"
        )
    return array


def _padded(ranks: list[IntArray]) -> IntArray:
    padded = np.zeros((len(ranks), max((len(r) for r in ranks), default=0)), dtype=np.int64)
    for row, values in enumerate(ranks):
        padded[row, : len(values)] = values
    return padded
