from __future__ import annotations

import pytest
import torch
from torch import nn

from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.fuse_batchnorm import fuse_batchnorm


def trained(name: str | nn.Module) -> OAMN:
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    model = OAMN(name, input_size=(64, 32)).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 64, 32))
    return model.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_descriptors_stay_and_batch_norms_go(name: str) -> None:
    model = trained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast, images = fuse_batchnorm(model), torch.randn(3, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(fast(images), model(images), rtol=0, atol=1e-5)
    for encoder in (fast.encoder_low, fast.encoder_high):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not fast.training


def test_an_encoder_that_computes_in_another_order_is_left_alone() -> None:
    model = trained("resnet18")

    class NormFirst(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.conv, self.bn, self.block = nn.Conv2d(256, 256, 1), nn.BatchNorm2d(256), block

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.block(self.conv(torch.relu(self.bn(features))))

    model.encoder_high = NormFirst(model.encoder_high)  # type: ignore[assignment]
    nn.init.uniform_(model.encoder_high.bn.running_mean, -1, 1)
    fast, images = fuse_batchnorm(model.eval()), torch.randn(3, 3, 64, 32)
    assert isinstance(fast.encoder_high.bn, nn.BatchNorm2d)
    with torch.inference_mode():
        torch.testing.assert_close(fast(images), model(images), rtol=0, atol=1e-5)
