"""Query expansion against the straight dense version."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval.query_expansion import expand_all, expand_queries


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def descriptors():
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((7, 5))).astype(np.float32), unit(rng.standard_normal((30, 5))).astype(np.float32)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_queries_equal_straight_version(descriptors, k, alpha):
    query, gallery = descriptors
    expected = []
    for q in query:
        order = np.argsort(-(gallery @ q), kind="stable")[: k - 1]
        expected.append(unit(q + sum((max(float(gallery[j] @ q), 0.0) ** alpha * gallery[j] for j in order), 0 * q)))
    np.testing.assert_allclose(expand_queries(query, gallery, k=k, alpha=alpha), expected, atol=1e-5)
    tensors = torch.from_numpy(query), torch.from_numpy(gallery)
    np.testing.assert_allclose(expand_queries(*tensors, k=k, alpha=alpha), expected, atol=1e-5)


@pytest.mark.parametrize("times", [1, 2])
def test_all_images_equal_straight_version(descriptors, times):
    images = np.concatenate(descriptors)
    for _ in range(times):
        images = unit(images)
        similarities = images @ images.T
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :4]
        images = np.stack([(similarities[i, o] ** 3 * images[o].T).sum(1) for i, o in enumerate(order)])
    query, gallery = expand_all(*descriptors, k=4, times=times)
    np.testing.assert_allclose(np.concatenate([query, gallery]), unit(images), atol=1e-5)


def test_arguments_out_of_range(descriptors):
    with pytest.raises(ValueError, match="k >= 1"):
        expand_queries(*descriptors, k=0)
