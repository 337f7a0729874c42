"""Query expansion: a descriptor joined with those it finds.

Chum et al., ICCV 2007; the exponent alpha: Radenović et al., TPAMI 2019.
"""

from __future__ import annotations

import numpy as np

from oamn_plugin.retrieval.distances import Descriptors
from oamn_plugin.retrieval.neighbours import nearest, stacked


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
        images = _unit(np.stack([w @ images[c] for c, w in zip(near.indices, weights, strict=True)]))
    return images[: len(query)], images[len(query) :]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
