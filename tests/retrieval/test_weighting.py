from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from oamn_plugin.losses.position import coverage
from oamn_plugin.modeling import OAMN
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval import needed_types, unify
from oamn_plugin.retrieval.strips import black_out, black_pixel
from oamn_plugin.retrieval.unification import describe_gallery, describe_gallery_fast, describe_queries
from oamn_plugin.retrieval.weighting import type_likelihoods, type_weights


def weighted_model(**options: Any) -> OAMN:
    torch.manual_seed(0)
    model = OAMN("resnet18", input_size=(64, 32), preset="paper", unification="weighted", **options).train()
    with torch.no_grad():
        for _ in range(2):  # batch norms that have seen something, so that masks differ
            model(torch.randn(8, 3, 64, 32))
    return model.eval()


@pytest.mark.parametrize("size", [(8, 4), (16, 8), (7, 3)])
def test_likelihoods_are_those_of_a_loop_over_positions(size: tuple[int, int]) -> None:
    mask = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(1)).double()
    covered = coverage(*size)
    for n in range(3):
        for t in range(9):
            expected = 0.0
            for row in range(size[0]):
                for column in range(size[1]):
                    value = min(max(float(mask[n, 0, row, column]), 1e-3), 1 - 1e-3)
                    share = float(covered[t, row, column])
                    expected += (1 - share) * math.log(value) + share * math.log(1 - value)
            assert type_likelihoods(mask)[n, t] == pytest.approx(expected / (size[0] * size[1]), rel=1e-4)


def test_a_mask_that_shows_a_type_exactly_names_it() -> None:
    masks = (1 - coverage(16, 8))[:, None]
    assert type_likelihoods(masks).argmax(1).tolist() == list(range(9))


def test_weights_sum_to_one_grow_alike_with_the_temperature_and_leave_the_plain_share() -> None:
    mask = (1 - coverage(16, 8))[[3], None]
    sharp, flat = type_weights(mask, 0.02), type_weights(mask, 1e6)
    assert sharp[0, 3] > 0.99
    torch.testing.assert_close(flat, torch.full((1, 9), 1 / 9), atol=1e-3, rtol=0)
    shared = type_weights(mask, 0.02, plain_share=0.4)
    torch.testing.assert_close(shared.sum(1), torch.ones(1))
    assert shared[0, 0] >= 0.4


@pytest.mark.parametrize("plain_share", [0.0, 0.3])
def test_the_order_is_that_of_the_weighted_sum_of_distances(plain_share: float) -> None:
    model = weighted_model(plain_share=plain_share, weight_temperature=0.1)
    queries, gallery = torch.randn(4, 3, 64, 32), torch.randn(9, 3, 64, 32)
    found = unify(model, [queries[:3], queries[3:]], [gallery[:5], gallery[5:]])
    with found.store:
        vectors = torch.from_numpy(found.gallery[:])
    assert needed_types(found.queries, model.options) == ("none",)
    expected = naive_distances(model, queries, gallery)
    ours = torch.cdist(found.queries.descriptors, vectors).square()
    assert torch.equal(ours.argsort(1), expected.argsort(1))
    torch.testing.assert_close(found.queries.descriptors.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(9))


@torch.no_grad()
def naive_distances(model: OAMN, queries: Tensor, gallery: Tensor) -> Tensor:
    options = model.options
    distances = torch.zeros(len(queries), len(gallery))
    for i, query in enumerate(queries):
        weights = type_weights(model.attend(model.encode(query[None]))[0], options.weight_temperature)[0]
        weights = (1 - options.plain_share) * weights + options.plain_share * (torch.arange(9) == 0)
        for t, name in enumerate(OCCLUSION_TYPES):
            one = model(black_out(query[None], name))
            distances[i] += weights[t] * (one - model(black_out(gallery, name))).square().sum(1)
    return distances


def test_black_is_the_black_that_was_asked_for() -> None:
    model, images = weighted_model(), torch.randn(2, 3, 64, 32)
    other = black_pixel((10.0, 20.0, 30.0), (50.0, 60.0, 70.0))
    given = describe_gallery(model, images, ("none",), None, other)["none"]
    assert not torch.allclose(given, describe_gallery(model, images, ("none",))["none"])
    with torch.inference_mode():
        bottom = model(black_out(images, "bottom_half", other)) / 3
    index, dim = OCCLUSION_TYPES.index("bottom_half"), bottom.shape[1]
    torch.testing.assert_close(given[:, index * dim : (index + 1) * dim], bottom)
    apart = [describe_queries(model, [images], black=black).descriptors for black in (None, other)]
    assert not torch.allclose(*apart)


def test_the_approximate_gallery_agrees_on_the_image_that_is_not_occluded() -> None:
    model, images = weighted_model(), torch.randn(2, 3, 64, 32)
    exact, fast = (describe(model, images, ("none",))["none"] for describe in (describe_gallery, describe_gallery_fast))
    assert exact.shape == fast.shape == (2, 9 * model.feature_dim)
    torch.testing.assert_close(exact[:, : model.feature_dim], fast[:, : model.feature_dim])
    assert not torch.allclose(exact, fast)
