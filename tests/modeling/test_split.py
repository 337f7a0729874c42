from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from oamn_plugin.modeling import build_backbone, split_backbone

HAS_TIMM = importlib.util.find_spec("timm") is not None
FASTREID = [
    ("build_resnet_backbone", {"DEPTH": "18x"}),
    ("build_resnet_backbone", {"DEPTH": "34x", "WITH_IBN": True, "LAST_STRIDE": 1}),
    ("build_resnet_backbone", {"DEPTH": "50x", "WITH_IBN": True, "WITH_SE": True, "WITH_NL": True}),
    ("build_resnet_backbone", {"DEPTH": "101x", "WITH_NL": True}),
    ("build_resnext_backbone", {"DEPTH": "50x", "WITH_IBN": True, "WITH_NL": True}),
    ("build_resnest_backbone", {"DEPTH": "50x"}),
    ("build_osnet_backbone", {"DEPTH": "x0_25"}),
    ("build_osnet_backbone", {"DEPTH": "x0_5", "WITH_IBN": True}),
    ("build_mobilenetv2_backbone", {"DEPTH": "0.5x"}),
    ("build_mobilenetv3_backbone", {"DEPTH": "Small"}),
    ("build_shufflenetv2_backbone", {"DEPTH": "0.5x"}),
    ("build_repvgg_backbone", {"DEPTH": "A0"}),
    ("build_regnet_backbone", {"DEPTH": "200x"}),
]


def feature_map(backbone: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the uncut backbone computes, without the head that torchvision and timm put behind it."""
    if isinstance(backbone, torchvision.models.ResNet):
        stem = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
        return backbone.layer4(backbone.layer3(backbone.layer2(backbone.layer1(stem))))
    if isinstance(backbone, torchvision.models.MobileNetV2):
        return backbone.features(images)
    return getattr(backbone, "forward_features", backbone)(images)


def randomise(backbone: nn.Module) -> None:
    """Non-local blocks and last batch norms begin at zero, where a lost block would go unseen."""
    for name, parameter in backbone.named_parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.2, 0.6) if name.endswith("weight") else nn.init.normal_(parameter, std=0.1)


def assert_cut_is_exact(backbone: nn.Module, size: tuple[int, int] = (96, 48)) -> None:
    randomise(backbone)
    for training in (False, True):
        whole, parts = copy.deepcopy(backbone).train(training), copy.deepcopy(backbone).train(training)
        split = split_backbone(parts)
        images = torch.rand(2, 3, *size)
        with torch.no_grad():
            middle = split.low(images)
            features = split.high(middle)
            assert torch.equal(features, feature_map(whole, images))
            assert features.isfinite().all()
        assert all(module.training == training for module in (*split.low.modules(), *split.high.modules()))
        assert middle.shape[1] == split.mask_channels
        assert features.shape[1] == split.feature_dim
        assert middle.shape[2:] == (-(-size[0] // 16), -(-size[1] // 16))
        mine = {id(parameter) for half in split[:2] for parameter in half.parameters()}
        used = {id(p) for n, p in parts.named_parameters() if not n.startswith(("fc.", "classifier.", "head."))}
        assert mine == used


@pytest.mark.parametrize(("name", "stride"), [("resnet18", 2), ("resnet34", 1), ("resnet50", 1), ("mobilenet_v2", 2)])
def test_plain_backbones(name: str, stride: int) -> None:
    assert_cut_is_exact(build_backbone(name, stride))


@pytest.mark.parametrize("size", [(64, 64), (97, 51), (130, 70)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    assert_cut_is_exact(build_backbone("resnet18"), size)


@pytest.mark.skipif(not HAS_TIMM, reason="timm is not installed")
@pytest.mark.parametrize("name", ["resnet10t", "efficientnet_b0", "convnext_atto", "regnetx_002", "mobilenetv2_050"])
def test_timm_backbones(name: str) -> None:
    assert_cut_is_exact(build_backbone(f"timm:{name}"))


def fastreid_backbone(builder: str, options: dict[str, Any]) -> nn.Module:
    pytest.importorskip("oamn_plugin.hosts.fastreid.compat").install()
    from fastreid.config import get_cfg
    from fastreid.modeling.backbones import BACKBONE_REGISTRY

    cfg = get_cfg()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    for key, value in {"LAST_STRIDE": 2, **options}.items():
        cfg.MODEL.BACKBONE[key] = value
    return BACKBONE_REGISTRY.get(builder)(cfg)


@pytest.mark.parametrize(("builder", "options"), FASTREID)
def test_fastreid_backbones(builder: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("oamn_plugin.hosts.fastreid.compat").install()
    import fastreid

    # its RegNet opens files by a path relative to the folder that the package lies in
    monkeypatch.chdir(Path(fastreid.__file__).parents[1])
    assert_cut_is_exact(fastreid_backbone(builder, options), (128, 64))


def test_fastreid_vision_transformer() -> None:
    pytest.importorskip("oamn_plugin.hosts.fastreid.compat").install()
    from fastreid.modeling.backbones.vision_transformer import VisionTransformer

    vit = VisionTransformer((64, 32), embed_dim=24, depth=2, num_heads=2)
    split = split_backbone(vit)
    middle = split.low(torch.rand(2, 3, 64, 32))
    assert middle.shape == split.high(middle).shape == (2, 24, 4, 2)


def test_non_local_blocks_stay_at_their_place() -> None:
    backbone = fastreid_backbone("build_resnet_backbone", {"DEPTH": "50x", "WITH_NL": True})
    low = split_backbone(backbone).low
    assert [name for name, _ in low.layer3.named_children()] == ["0", "1", "2", "3", "NL_0", "4", "NL_1", "5", "NL_2"]
    assert [name for name, _ in low.layer1.named_children()] == ["0", "1", "2"]


class OSNetWithPools(nn.Module):
    """The children of torchreid's OSNet-AIN: pools of their own and a head."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 16, 24, 32)
        for index in range(4):
            stride = 2 if index == 0 else 1
            self.add_module(f"conv{index + 1}", nn.Conv2d(widths[index], widths[index + 1], 3, stride, 1))
            if index == 0:
                self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
            elif index < 3:
                self.add_module(f"pool{index + 1}", nn.AvgPool2d(2))
        self.conv5 = nn.Conv2d(32, 32, 1)
        self.global_avgpool, self.fc, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(32, 8), nn.Linear(8, 3)

    def featuremaps(self, x: torch.Tensor) -> torch.Tensor:
        for name, layer in self.named_children():
            x = layer(x) if name not in ("global_avgpool", "fc", "classifier") else x
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.global_avgpool(self.featuremaps(x)).flatten(1))


def test_osnet_with_separate_pools_and_a_head() -> None:
    backbone = OSNetWithPools()
    split = split_backbone(backbone)
    images = torch.rand(2, 3, 64, 32)
    assert torch.equal(split.high(split.low(images)), backbone.featuremaps(images))
    assert (split.mask_channels, split.feature_dim) == (24, 32)


def test_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"cannot split a Sequential with the children 0, 1.*ResNet family, OSNet"):
        split_backbone(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_a_backbone_with_hidden_steps_is_refused() -> None:
    class Doubled(torchvision.models.MobileNetV2):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return self.features(x) * 2 + 1

    with pytest.raises(ValueError, match="do not simply follow each other"):
        split_backbone(Doubled())


def test_misspelt_names_and_strides() -> None:
    with pytest.raises(ValueError, match="Did you mean 'resnet50'"):
        build_backbone("resnt50")
    with pytest.raises(ValueError, match="last_stride 1 exists for"):
        build_backbone("mobilenet_v2", last_stride=1)
    if HAS_TIMM:
        with pytest.raises(ValueError, match="timm has no model"):
            build_backbone("timm:resnet50_of_mine")


@pytest.mark.skipif(not HAS_TIMM, reason="timm is not installed")
@pytest.mark.parametrize("prefix", [True, False])
def test_vision_transformer_is_cut_behind_its_middle_block(prefix: bool) -> None:
    from timm.models import VisionTransformer

    options = {"class_token": prefix, "reg_tokens": 2 if prefix else 0, "no_embed_class": prefix}
    vit = VisionTransformer((64, 32), 16, embed_dim=24, depth=3, num_heads=2, num_classes=0, global_pool="", **options)
    vit.eval()
    split = split_backbone(vit)
    images = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        middle = split.low(images)
        features = split.high(middle)
        tokens = vit._pos_embed(vit.patch_embed(images))
        expected = vit.blocks[1](vit.blocks[0](tokens))[:, -8:]
        torch.testing.assert_close(middle.flatten(2).transpose(1, 2), expected)
        if not prefix:  # with a class token the second half sees patch tokens alone
            torch.testing.assert_close(features.flatten(2).transpose(1, 2), vit.forward_features(images))
    assert middle.shape == (2, 24, 4, 2)


@pytest.mark.skipif(not HAS_TIMM, reason="timm is not installed")
@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "cait_xxs24_224", "vit_tiny_r_s16_p8_224"])
def test_what_only_looks_like_a_plain_vision_transformer_is_refused(name: str) -> None:
    """EVA-02's rotary positions went missing: its first half was off by 0.19."""
    import timm

    with pytest.raises(ValueError, match=r"cannot split this \w+: it is no plain vision transformer"):
        split_backbone(timm.create_model(name, num_classes=0, depth=2))
