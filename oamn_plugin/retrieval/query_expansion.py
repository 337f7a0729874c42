"""Query expansion: a descriptor joined with those it finds.

Chum et al., ICCV 2007; the exponent alpha: Radenović et al., TPAMI 2019.
"""

from __future__ import annotations

import numpy as np

from oamn_plugin.retrieval.distances import Descriptors
from oamn_plugin.retrieval.neighbours import nearest, stacked


def expand_queries(
    query: Descriptors, gallery: Descriptors, *, k: int = 10, alpha: float = 3.0, chunk_size: int | None = None
) -> np.ndarray:
    """Replaces each query by the weighted mean of itself and its k - 1 nearest gallery images.

    The weights are ``max(cosine similarity, 0) ** alpha``: 1 for the query itself; ``alpha=0`` is average query
    expansion. For occlusion unification pass the queries of one type and the gallery of that type.

    Args:
        query: (Q, D).
        gallery: (G, D).
        k: images joined, the query counted.
        alpha: exponent, not negative.
        chunk_size: queries whose distances are in memory at once.

    Returns:
        (Q, D) float32 unit descriptors.

    Raises:
        ValueError: k under 1 or a negative alpha.

    >>> expand_queries(np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [0.0, 1.0]]), k=2, alpha=0).round(3)
    array([[0.894, 0.447]], dtype=float32)
    """
    _check(k, alpha)
    own = _unit(stacked(query, gallery[:0]))
    if k == 1:
        return own
    near = nearest(query, gallery, k - 1, metric="cosine", chunk_size=chunk_size)
    weights = np.maximum(1 - near.distances, 0) ** alpha
    for row, (columns, weight) in enumerate(zip(near.indices, weights, strict=True)):
        own[row] += weight @ _unit(stacked(gallery[columns], gallery[:0]))
    return _unit(own)


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

    An image is its own nearest. This is what fastreid's ``TEST.AQE`` does, but that similarities below 0 weigh nothing.

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
    _check(k, alpha)
    images = stacked(query, gallery)
    for _ in range(times):
        near = nearest(images, images, k, metric="cosine", chunk_size=chunk_size)
        weights = np.maximum(1 - near.distances, 0) ** alpha
        images = _unit(np.stack([w @ images[c] for c, w in zip(near.indices, weights, strict=True)]))
    return images[: len(query)], images[len(query) :]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _check(k: int, alpha: float) -> None:
    if k < 1 or alpha < 0:
        raise ValueError(f"query expansion needs k >= 1 and alpha >= 0, got k = {k} and alpha = {alpha}")
