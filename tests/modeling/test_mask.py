from __future__ import annotations

import pytest
import torch
from torch import nn

from oamn_plugin.modeling import OcclusionScorer, SpatialRelationMask


def naive_mask(module: SpatialRelationMask, features: torch.Tensor) -> torch.Tensor:
    """The formulas, position by position."""
    count, _, height, width = features.shape
    theta, phi = module.theta(features).flatten(2), module.phi(features).flatten(2)
    n = height * width
    relations = torch.zeros(count, 2 * n, n, dtype=features.dtype)
    for image in range(count):
        for i in range(n):
            for k in range(n):
                relations[image, k, i] = torch.dot(theta[image, :, i], phi[image, :, k])
                relations[image, n + k, i] = torch.dot(theta[image, :, k], phi[image, :, i])
    related = module.relation(relations.view(count, 2 * n, height, width))
    joined = torch.cat([module.gx(features).mean(1, keepdim=True), related], 1)
    return 1 / (1 + torch.exp(-module.weigh(joined)))


@pytest.mark.parametrize("size", [(4, 2), (5, 3), (1, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_equal_to_the_formulas_for_any_size(size: tuple[int, int], training: bool) -> None:
    torch.manual_seed(0)
    module = SpatialRelationMask(32, size).double().train(training)
    features = torch.randn(3, 32, *size, dtype=torch.float64)
    mask = module(features)
    torch.testing.assert_close(mask, naive_mask(module, features))
    assert mask.shape == (3, 1, *size)
    channels_last = features.to(memory_format=torch.channels_last)
    torch.testing.assert_close(module(channels_last), mask)


def test_parameters_of_the_published_size() -> None:
    modules = SpatialRelationMask(1024, (16, 8)), OcclusionScorer(1024)
    assert sum(p.numel() for module in modules for p in module.parameters()) == 404_302


def test_another_size_than_built_for_is_named() -> None:
    with pytest.raises(ValueError, match="4 x 2 positions, got 4 x 3"):
        SpatialRelationMask(8, (4, 2))(torch.rand(2, 8, 4, 3))


def test_scorer_is_linear_of_normalised_means_and_detached() -> None:
    torch.manual_seed(0)
    scorer = OcclusionScorer(8)
    assert scorer.fc.weight.std() < 0.003
    assert not scorer.fc.bias.any()
    features = torch.rand(5, 8, 4, 2, requires_grad=True)
    mask = torch.rand(5, 1, 4, 2, requires_grad=True)
    means = torch.stack([(features[i] * mask[i]).flatten(1).mean(1) for i in range(5)])
    normalised = (means - means.mean(0)) / (means.var(0, unbiased=False) + scorer.bn.eps).sqrt()
    logits = scorer(features, mask)
    torch.testing.assert_close(logits, normalised @ scorer.fc.weight.T)
    logits.sum().backward()
    assert features.grad is None
    assert mask.grad is None


@pytest.mark.parametrize("size", [(8, 4), (4, 2), (16, 8)])
def test_a_wide_mask_has_eight_channels_begins_at_the_visible_share_and_learns_everywhere(
    size: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    module = SpatialRelationMask(96, size, wide=True)
    widths = [part.out_channels for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert min(widths[:-1]) >= 8
    mask = module(torch.randn(8, 96, *size).relu())
    assert mask.mean().item() == pytest.approx(0.8, abs=0.03)
    target = (torch.rand(8, 1, *size) < 0.5).float()
    nn.functional.binary_cross_entropy(mask, target).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())
