"""k-reciprocal re-ranking on the CPU with sparse matrices. Zhong et al., CVPR 2017.

Two images that are among each other's nearest are likely to show the same person. Every image (query and gallery alike)
becomes a vector of weights over its k-reciprocal neighbours; the Jaccard distance of two such vectors joins the
original distance. The dense form of these vectors is a square matrix over all images; here they are stored sparsely (a
few hundred numbers an image) and distances exist a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from oamn_plugin.retrieval.distances import Descriptors, check_some, distance_blocks
from oamn_plugin.retrieval.neighbours import Neighbours, nearest, stacked

PAIR_CHUNK = 1 << 15


@dataclass(frozen=True)
class Reranking:
    """Settings of the re-ranking; the defaults are the paper's for Market-1501.

    Args:
        k1: neighbours among which reciprocity is looked for, the image itself not counted.
        k2: images whose vectors are averaged (local query expansion), the image itself counted; 1 turns it off.
        share: lambda, the share of the original distance in the final one.

    Raises:
        ValueError: a value out of range.
    """

    k1: int = 20
    k2: int = 6
    share: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.share <= 1:
            raise ValueError(f"re-ranking needs k1 >= 1, k2 >= 1 and share in [0, 1], got {self}")


def reranked_blocks(
    query: Descriptors,
    gallery: Descriptors,
    settings: Reranking,
    *,
    metric: str = "sqeuclidean",
    chunk_size: int | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yields ``(first query, re-ranked distances (R, G))``, as ``distance_blocks`` yields the original ones.

    Takes time of (Q + G)^2 distances and memory of one copy of the descriptors, one block and a few hundred numbers an
    image. For occlusion unification pass the queries of one type and the gallery of that type.

    Args:
        query: (Q, D).
        gallery: (G, D).
        settings: of the re-ranking.
        metric: ``sqeuclidean`` or ``cosine``; the original distance.
        chunk_size: queries per block.
    """
    check_some(gallery)
    images = stacked(query, gallery)
    near = nearest(images, images, max(settings.k1 + 1, settings.k2), metric=metric, chunk_size=chunk_size)
    weights = _weights(images, near, settings, metric)
    by_column = sparse.csc_matrix(weights[len(query) :])
    largest = torch.from_numpy(near.farthest[: len(query)])
    del images
    for start, original in distance_blocks(query, gallery, metric=metric, chunk_size=chunk_size):
        rows = range(start, start + len(original))
        jaccard = np.stack([_jaccard(weights, by_column, row) for row in rows])
        scaled = original.cpu() / _nonzero(largest[start : start + len(original), None])
        yield start, (1 - settings.share) * torch.from_numpy(jaccard) + settings.share * scaled


def _weights(images: np.ndarray, near: Neighbours, settings: Reranking, metric: str) -> sparse.csr_matrix:
    """(N, N) sparse: each row the weights of an image's expanded k-reciprocal neighbours, averaged over k2 images."""
    wide = _reciprocal(near.indices[:, : settings.k1 + 1])
    narrow = _reciprocal(near.indices[:, : round(settings.k1 / 2) + 1])
    # candidates of which more than two thirds of the narrow neighbours are wide neighbours here bring theirs along.
    # The paper prints >=; its code, and everyone's since, has >
    shared = wide.multiply(wide @ narrow.T).tocoo()
    sizes = np.asarray(narrow.sum(axis=1)).ravel()
    welcome = shared.data > 2 / 3 * sizes[shared.col]
    candidates = sparse.csr_matrix(
        (shared.data[welcome] * 0 + 1, (shared.row[welcome], shared.col[welcome])), wide.shape
    )
    pairs = (wide + candidates @ narrow).tocoo()
    scaled = (
        _pair_distances(images, pairs.row, pairs.col, metric)
        / _nonzero(torch.from_numpy(near.farthest)).numpy()[pairs.row]
    )
    weights = sparse.csr_matrix((np.exp(-scaled), (pairs.row, pairs.col)), wide.shape)
    weights = sparse.diags(1 / np.asarray(weights.sum(axis=1)).ravel()) @ weights
    if settings.k2 > 1:
        weights = _membership(near.indices[:, : settings.k2]) @ weights / min(settings.k2, len(images))
    return sparse.csr_matrix(weights, dtype=np.float32)


def _reciprocal(indices: np.ndarray) -> sparse.csr_matrix:
    """(N, N) of ones where two images are among each other's neighbours (N, k)."""
    among = _membership(indices)
    return among.multiply(among.T).tocsr()


def _membership(indices: np.ndarray) -> sparse.csr_matrix:
    count, k = indices.shape
    return sparse.csr_matrix(
        (np.ones(count * k, dtype=np.float32), indices.ravel(), np.arange(0, count * k + 1, k)), (count, count)
    )


def _pair_distances(images: np.ndarray, rows: np.ndarray, columns: np.ndarray, metric: str) -> np.ndarray:
    out = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), PAIR_CHUNK):
        part = slice(start, start + PAIR_CHUNK)
        left, right = images[rows[part]], images[columns[part]]
        if metric == "cosine":
            lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
            out[part] = 1 - np.einsum("nd,nd->n", left, right) / np.maximum(lengths, 1e-12)
        else:
            out[part] = np.square(left - right).sum(axis=1)
    return out


def _jaccard(weights: sparse.csr_matrix, by_column: sparse.csc_matrix, row: int) -> np.ndarray:
    """Jaccard distances (G,) of one image to the gallery, through the columns that the image has weights in."""
    first, last = weights.indptr[row : row + 2]
    columns, own = weights.indices[first:last], weights.data[first:last]
    starts, ends = by_column.indptr[columns], by_column.indptr[columns + 1]
    sizes = ends - starts
    places = np.arange(sizes.sum()) + np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    smaller = np.minimum(by_column.data[places], np.repeat(own, sizes))
    # every row of weights sums to 1, so the sum of the larger ones is 2 minus that of the smaller ones
    common = np.bincount(by_column.indices[places], smaller, minlength=by_column.shape[0])
    return (1 - common / (2 - common)).astype(np.float32)


def _nonzero(values: Tensor) -> Tensor:
    return values.clamp_min(1e-12)
