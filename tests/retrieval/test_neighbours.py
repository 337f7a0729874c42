"""Query expansion against the straight dense version."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval.neighbours import expand_all


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def descriptors():
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((7, 5))).astype(np.float32), unit(rng.standard_normal((30, 5))).astype(np.float32)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize("k", [1, 4, 100])
@pytest.mark.parametrize("times", [1, 2])
def test_all_images_equal_straight_version(descriptors, times, k, alpha):
    images = np.concatenate(descriptors)
    for _ in range(times):
        images = unit(images)
        similarities = images @ images.T
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        weights = np.maximum(similarities, 0) ** alpha
        images = np.stack([(weights[i, o] * images[o].T).sum(1) for i, o in enumerate(order)])
    for given in (descriptors, [torch.from_numpy(side) for side in descriptors]):
        query, gallery = expand_all(*given, k=k, alpha=alpha, times=times)
        np.testing.assert_allclose(np.concatenate([query, gallery]), unit(images), atol=1e-5)


def test_arguments_out_of_range(descriptors):
    with pytest.raises(ValueError, match="k >= 1"):
        expand_all(*descriptors, k=0)
