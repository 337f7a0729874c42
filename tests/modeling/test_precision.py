from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.precision import has_bfloat16, keep_precise, mixed_precision, precisely, split_strides


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 12)])
@pytest.mark.parametrize("stride", [2, (1, 2), 3])
def test_a_split_convolution_has_the_strided_one_s_values_and_gradients(
    size: tuple[int, int], stride: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    strided = nn.Conv2d(6, 6, 3, stride, 1, groups=6, bias=False).double()
    split = split_strides(nn.Sequential(copy.deepcopy(strided)))
    images = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    other = images.detach().clone().requires_grad_()
    expected, found = strided(images), split(other)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(other.grad, images.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(split[0].weight.grad, strided.weight.grad, rtol=0, atol=1e-10)


def test_only_strided_depthwise_convolutions_are_split_and_weights_keep_their_names() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, 2, 1, groups=4), nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Conv2d(4, 8, 3, 2, 1)
    )
    names = list(model.state_dict())
    split_strides(model)
    assert [type(layer) is nn.Conv2d for layer in model] == [False, True, True]
    assert list(model.state_dict()) == names
    images = torch.randn(1, 4, 9, 9)
    assert torch.equal(model.eval()[0](images), nn.Conv2d.forward(model[0], images)), "evaluation is the host's own"


def test_precise_modules_compute_in_float32_and_their_copies_are_their_own() -> None:
    head = keep_precise(nn.Linear(4, 2))
    twin = copy.deepcopy(head)
    with torch.no_grad():
        twin.weight.zero_()
        twin.bias.zero_()
    features = torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nn.Linear(4, 2)(features).dtype == torch.bfloat16
        found = head(features.bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, nn.functional.linear(features.bfloat16().float(), head.weight, head.bias))
    assert not twin(features).any()


def test_half_precision_is_made_float_in_dicts_and_lists_and_other_tensors_stay() -> None:
    targets = torch.arange(3)
    found = precisely(lambda *args, **kwargs: (args, kwargs), {"features": torch.ones(2).half()}, [targets], scale=2)
    assert found[0][0]["features"].dtype == torch.float32
    assert found[0][1][0] is targets
    assert found[1] == {"scale": 2}


def test_mixed_precision_is_bfloat16_on_a_cpu_that_has_it_and_nothing_elsewhere() -> None:
    features, layer = torch.randn(3, 4), nn.Linear(4, 2)
    with mixed_precision("cpu"):
        assert layer(features).dtype == (torch.bfloat16 if has_bfloat16() else torch.float32)
    with mixed_precision("cpu", enabled=False):
        assert layer(features).dtype == torch.float32


def test_the_network_s_logits_and_pooled_features_keep_full_precision() -> None:
    torch.manual_seed(0)
    model = OAMN("resnet18", num_classes=3, input_size=(64, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(2, 3, 64, 32))
    assert output.pooled.dtype == output.class_logits.dtype == torch.float32
    assert output.features.dtype == torch.bfloat16
