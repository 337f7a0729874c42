from __future__ import annotations

import numpy as np
import pytest
import torch

from oamn_plugin.losses.circle import SCALE
from oamn_plugin.modeling import OAMN, OAMNOutput
from oamn_plugin.modeling.official import load_official_state, to_official_state


def views(count: int = 4, size: tuple[int, int] = (64, 32)) -> torch.Tensor:
    return torch.randn(count, 3, *size)


@pytest.mark.parametrize("size", [(64, 32), (97, 51), (32, 32)])
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_any_input_size(backbone: str, size: tuple[int, int]) -> None:
    model = OAMN(backbone, num_classes=3, input_size=size)
    output = model(views(4, size))
    assert isinstance(output, OAMNOutput)
    h, w = -(-size[0] // 16), -(-size[1] // 16)
    assert output.features.shape == (4, model.mask_channels, h, w)
    assert output.mask.shape == (4, 1, h, w)
    assert output.score_logits.shape == (4, 4)
    assert output.pooled.shape == (4, model.feature_dim)
    assert output.class_logits is not None
    assert output.class_logits.shape == (4, 3)
    assert model.eval()(views(2, size)).norm(dim=1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(("pooling", "floor"), [("max", 0.0), ("avg", 0.5)])
def test_forward_is_its_parts(pooling: str, floor: float) -> None:
    model = OAMN("resnet18", 0, (64, 32), pooling=pooling, mask_floor=floor).eval()
    images = views()
    with torch.no_grad():
        features = model.encode(images)
        mask, logits = model.attend(features)
        last = model.encoder_high(features * (floor + mask)).flatten(2)
        h = last.max(2).values if pooling == "max" else last.mean(2)
        bn = model.feat_bn
        descriptor = (h - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias
        descriptor = descriptor / descriptor.norm(dim=1, keepdim=True)
        torch.testing.assert_close(model(images), descriptor)
        torch.testing.assert_close(model.describe(model.apply_mask(features, mask)), descriptor)
        assert model.train()(images).class_logits is None
    assert logits.shape == (4, 4)


def test_double_precision_stays_double() -> None:
    model = OAMN("resnet18", 0, (64, 32)).double().eval()
    assert model(views().double()).dtype == torch.float64


def test_no_mask_module() -> None:
    model = OAMN("resnet18", 3, (64, 32), mask_module=False, mask_floor=0.5)
    assert model.mask is None
    assert model.scorer is None
    features = model.encode(views())
    mask, logits = model.attend(features)
    assert (mask == 1).all()
    assert (logits == 0).all()
    assert torch.equal(model.apply_mask(features, mask), features)
    assert model(views()).class_logits.shape == (4, 3)


def test_heads() -> None:
    dropout = OAMN("resnet18", 3, (64, 32))
    assert dropout.feat_bn.bias.requires_grad
    assert dropout.classifier is not None
    assert 0 < dropout.classifier.weight.std() < 0.003
    assert not dropout.classifier.bias.any()
    neck = OAMN("resnet18", 3, (64, 32), head="bnneck")
    assert not neck.feat_bn.bias.requires_grad
    assert neck.classifier is not None
    assert neck.classifier.bias is None
    images = views()
    out = neck(images)
    torch.testing.assert_close(out.class_logits, neck.classifier(neck.feat_bn(out.pooled)))


def test_circle_classifier_gives_scaled_cosines() -> None:
    model = OAMN("resnet18", 3, (64, 32), head="bnneck", classifier="circle")
    out, weight = model(views()), model.classifier.weight
    assert model.classifier.bias is None
    hidden = model.feat_bn(out.pooled)
    for i in range(4):
        for j in range(3):
            cosine = hidden[i] @ weight[j] / hidden[i].norm() / weight[j].norm()
            torch.testing.assert_close(out.class_logits[i, j], SCALE * cosine)


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="Did you mean 'mask_floor'"):
        OAMN("resnet18", mask_flor=1)
    with pytest.raises(ValueError, match="unknown preset"):
        OAMN("resnet18", preset="papers")


def test_construction_leaves_batch_norm_statistics_alone() -> None:
    model = OAMN("resnet18", 3, (64, 32))
    assert model.training
    assert all(module.training for module in model.modules())
    counts = [value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")]
    assert not any(counts)


def test_official_state_without_classifier_keeps_it_aside() -> None:
    source = to_official_state(OAMN("resnet50", 3, preset="official"))
    arrays = {net: {key: value.numpy() for key, value in entries.items()} for net, entries in source.items()}
    arrays["TaskNet"]["base.fc.bias"] = np.arange(1000, dtype=np.float32)
    model = OAMN("resnet50", 0, preset="official")
    with pytest.raises(ValueError, match=r"no classifier\.weight"):
        to_official_state(model)
    load_official_state(model, arrays)
    back = to_official_state(model)
    assert list(back["TaskNet"]) == list(source["TaskNet"])
    assert torch.equal(back["TaskNet"]["classifier.weight"], source["TaskNet"]["classifier.weight"])
    assert back["TaskNet"]["base.fc.bias"][-1] == 999
    assert "official_extras" not in model.state_dict()


def test_official_state_of_other_models_is_refused() -> None:
    with pytest.raises(ValueError, match="no MaskNet and no TaskNet"):
        load_official_state(OAMN("resnet18", 3, (64, 32)), {})
    with pytest.raises(ValueError, match="ResNet-50"):
        to_official_state(OAMN("mobilenet_v2", 3, (64, 32)))
    with pytest.raises(ValueError, match=r"no base\.layer4\.2\.conv3\.weight"):
        to_official_state(OAMN("resnet18", 3, (64, 32)))
    with pytest.raises(ValueError, match="no mask module"):
        to_official_state(OAMN("resnet50", 3, mask_module=False))
