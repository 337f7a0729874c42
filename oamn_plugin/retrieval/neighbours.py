"""Nearest neighbours by exact search, a block of distances in memory at a time, and descriptors joined with theirs.

Query expansion: Chum et al., ICCV 2007; the exponent alpha: Radenović et al., TPAMI 2019.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.retrieval.distances import Descriptors, check_some, distance_blocks


class Neighbours(NamedTuple):
    """The k nearest of every image, nearest first."""

    indices: np.ndarray
    """(N, k) int64 rows of the database; equal distances in the database's order."""
    distances: np.ndarray
    """(N, k) float32."""
    farthest: np.ndarray
    """(N,) float32 largest distance of each image to any of the database."""


def nearest(
    images: Descriptors, database: Descriptors, k: int, *, metric: str = "sqeuclidean", chunk_size: int | None = None
) -> Neighbours:
    """Finds the ``min(k, number of database rows)`` nearest database rows of every image.

    Args:
        images: (N, D).
        database: (M, D).
        k: how many, at least 1.
        metric: ``sqeuclidean`` or ``cosine``.
        chunk_size: images whose distances are in memory at once.
    """
    check_some(database)
    k = min(k, len(database))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _, block in distance_blocks(images, database, metric=metric, chunk_size=chunk_size):
        values, indices = block.topk(k, dim=1, largest=False)
        # topk leaves the order of equal distances open: first by index, then stably by distance
        indices, order = indices.sort(dim=1)
        values, by_distance = values.gather(1, order).sort(dim=1, stable=True)
        found.append((indices.gather(1, by_distance).cpu(), values.cpu(), block.amax(dim=1).cpu()))
    return Neighbours(*(torch.cat(parts).numpy() for parts in zip(*found, strict=True)))


def stacked(query: Descriptors, gallery: Descriptors) -> np.ndarray:
    """Queries and gallery in one float32 array on the CPU: (Q + G, D)."""
    out = np.empty((len(query) + len(gallery), query.shape[1]), dtype=np.float32)
    out[: len(query)] = query.cpu().numpy() if isinstance(query, Tensor) else query
    out[len(query) :] = gallery.cpu().numpy() if isinstance(gallery, Tensor) else gallery
    return out


def expand_all(
    query: Descriptors,
    gallery: Descriptors,
    *,
    k: int = 10,
    alpha: float = 3.0,
    times: int = 1,
    chunk_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Replaces every image, query and gallery, by the weighted mean of its k nearest among all of them.

    The weights are ``max(cosine similarity, 0) ** alpha``; an image is its own nearest. This is what fastreid's
    ``TEST.AQE`` does, but that similarities below 0 weigh nothing.

    Args:
        query: (Q, D).
        gallery: (G, D).
        k: images joined, the image itself counted.
        alpha: exponent of the weights, not negative.
        times: how often to expand.
        chunk_size: images whose distances are in memory at once.

    Returns:
        (Q, D) and (G, D) float32 unit descriptors.

    Raises:
        ValueError: k under 1 or a negative alpha.
    """
    if k < 1 or alpha < 0:
        raise ValueError(f"query expansion needs k >= 1 and alpha >= 0, got k = {k} and alpha = {alpha}")
    images = stacked(query, gallery)
    for _ in range(times):
        near = nearest(images, images, k, metric="cosine", chunk_size=chunk_size)
        weights = np.maximum(1 - near.distances, 0) ** alpha
        joined = np.stack([w @ images[c] for c, w in zip(near.indices, weights, strict=True)])
        images = joined / np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-12)
    return images[: len(query)], images[len(query) :]
