"""Networks behind the two words: resumed at stride 16 where that changes nothing, whole where it would."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from oamn_plugin.modeling import SplitModel, WholeModel, embedding_model

SIZE = (128, 64)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=7).eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small"])
def test_a_network_is_resumed_at_stride_16_head_and_all(name, images):
    model = network(name)
    found = embedding_model(model, SIZE)
    assert isinstance(found, SplitModel)
    with torch.no_grad():
        features = found.encode(images)
        assert features.shape[-2:] == (8, 4)
        expected = nn.functional.normalize(model(images))
        torch.testing.assert_close(found.embed(features), expected, atol=1e-5, rtol=1e-5)
        assert (found.embed(0 * features) - expected).abs().max() > 1e-4, "the features must decide"


def test_the_later_layers_are_not_run_for_the_features(images):
    model = network("resnet18")
    calls = []
    model.layer4.register_forward_hook(lambda *_: calls.append(1))
    embedding_model(model, SIZE)
    calls.clear()
    with torch.no_grad():
        embedding = embedding_model(model, SIZE)
        calls.clear()
        embedding.encode(images)
    assert not calls


class LooksBack(nn.Module):
    """A network whose head reads the image again: resuming it at stride 16 would describe another image."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = network("resnet18")
        self.backbone.fc = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.backbone(images), images.mean((2, 3))], 1)


@pytest.mark.parametrize(
    "model", [LooksBack(), nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())]
)
def test_what_cannot_be_cut_stays_whole(model, images):
    found = embedding_model(model.eval(), SIZE)
    assert type(found) is WholeModel
    assert not found.blanks_features
    with torch.no_grad():
        assert torch.equal(found.encode(images), images)
        torch.testing.assert_close(found.embed(images), nn.functional.normalize(model(images)))


def test_lengths_are_kept_for_plain_matching(images):
    model = network("resnet18")
    with torch.no_grad():
        torch.testing.assert_close(WholeModel(model, normalised=False).embed(images), model(images))


def test_a_model_that_was_hooked_is_itself_again(images):
    model = network("resnet18")
    with torch.no_grad():
        before = model(images)
        embedding = embedding_model(model, SIZE)
        embedding.embed(embedding.encode(images))
        assert torch.equal(model(images), before)
    assert not any(module._forward_hooks for module in model.modules())
