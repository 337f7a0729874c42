from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_torchreid import SIZE, require_torchreid
from torch import nn

require_torchreid()

import torchreid  # noqa: E402

from oamn_plugin.hosts.shared.errors import ConfigError  # noqa: E402
from oamn_plugin.hosts.torchreid import TorchreidOAMN, build_oamn, register  # noqa: E402
from oamn_plugin.hosts.torchreid.compat import model_factory  # noqa: E402
from oamn_plugin.hosts.torchreid.models import NOT_CUT, carriers, plain_backbone  # noqa: E402
from oamn_plugin.modeling import OAMN, split_backbone  # noqa: E402
from oamn_plugin.modeling.oamn import OAMNOutput  # noqa: E402

ONE_OF_EACH_KIND = (
    "resnet18", "resnext50_32x4d", "resnet50_fc512", "resnet50_ibn_a", "resnet50_ibn_b", "resnet50mid", "pcb_p4",
    "se_resnet50", "densenet121", "mobilenetv2_x1_0", "shufflenet", "shufflenet_v2_x0_5", "squeezenet1_1",
    "osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25",
)  # fmt: skip


def host_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    return model_factory()[name](num_classes=3, loss="softmax", pretrained=False, use_gpu=False).eval()


def uncut_feature_map(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the host's own forward pass pools, seen by a hook."""
    seen: list[torch.Tensor] = []
    last = {"ResNetMid": "layer4", "ShuffleNet": "stage4"}.get(type(network).__name__)
    if last:
        getattr(network, last)[-1].register_forward_hook(lambda _, __, out: seen.append(out.clone()))
    else:
        pool = next(getattr(network, n) for n in ("global_avgpool", "avgpool", "parts_avgpool") if hasattr(network, n))
        pool.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    with torch.no_grad():
        network(images)
    return seen[0]


def assert_carries(name: str) -> None:
    network = host_model(name)
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    expected = uncut_feature_map(network, images)
    split = split_backbone(plain_backbone(network))
    with torch.no_grad():
        middle = split.low.eval()(images)
        found = split.high.eval()(middle)
    assert middle.shape[2] >= 4, "the mask applies at stride 16 at most"
    assert found.shape[1] == split.feature_dim
    torch.testing.assert_close(found, expected)
    model = build_oamn(name, 3, pretrained=False, input_size=(64, 32), preset="plus").eval()
    with torch.no_grad():
        assert model(images).shape == (2, split.feature_dim)


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_a_cut_backbone_gives_the_uncut_output(name: str) -> None:
    assert_carries(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(carriers()) - set(ONE_OF_EACH_KIND)))
def test_every_other_cut_backbone_gives_the_uncut_output(name: str) -> None:
    assert_carries(name)


def test_what_cannot_be_cut_is_left_out_and_says_so() -> None:
    assert not {f"oamn_{name}" for name in NOT_CUT} & set(register())
    assert set(NOT_CUT) <= set(model_factory())
    with pytest.raises(ConfigError, match="hacnn cannot carry OAMN"):
        build_oamn("hacnn", 3, pretrained=False)
    with pytest.raises(ConfigError, match="Did you mean 'osnet_x0_25'"):
        build_oamn("osnet_x0_250", 3, pretrained=False)


@pytest.mark.parametrize("loss", ["softmax", "triplet"])
def test_the_host_builds_it_and_gets_what_its_engines_expect(loss: str) -> None:
    register(input_size=SIZE, preset="plus")
    model = torchreid.models.build_model("oamn_osnet_x0_25", 5, loss=loss, pretrained=False)
    assert isinstance(model, TorchreidOAMN)
    assert model.options.mask_floor == 0.5
    images = torch.randn(4, 3, *SIZE)
    output: Any = model.train()(images)
    whole = model(images, whole=True)
    assert isinstance(whole, OAMNOutput)
    if loss == "softmax":
        assert output.shape == (4, 5)
    else:
        assert output[0].shape == (4, 5)
        assert output[1].shape == (4, model.feature_dim)
    described = model.eval()(images)
    torch.testing.assert_close(described.norm(dim=1), torch.ones(4))


def test_it_is_the_core_with_the_same_weights() -> None:
    register(input_size=SIZE)
    model = torchreid.models.build_model("oamn_resnet18", 5, loss="triplet", pretrained=False).eval()
    core = OAMN("resnet18", 5, SIZE).eval()
    core.load_state_dict(model.state_dict())
    images = torch.randn(3, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(model(images), core(images))


def test_options_of_the_registration_reach_models_built_by_name() -> None:
    register(input_size=SIZE, preset="plus", pooling="avg", axes=1)
    model = torchreid.models.build_model("oamn_osnet_x0_25", 5, pretrained=False)
    assert (model.options.pooling, model.options.mask_floor, model.options.axes) == ("avg", 0.5, 1)
    register(input_size=SIZE)
    assert torchreid.models.build_model("oamn_osnet_x0_25", 5, pretrained=False).options.pooling == "max"
    with pytest.raises(ConfigError, match="Did you mean 'pooling'"):
        register(poolin="avg")
    with pytest.raises(ConfigError, match="Did you mean 'triplet'"):
        torchreid.models.build_model("oamn_osnet_x0_25", 5, loss="triplets", pretrained=False)


def test_weights_that_cannot_be_fetched_are_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file" / "inside"))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="ImageNet weights of osnet_x0_25 could not be fetched"):
        build_oamn("osnet_x0_25", 3, pretrained=True)
