"""Nearest neighbours by exact search, a block of distances in memory at a time."""

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
