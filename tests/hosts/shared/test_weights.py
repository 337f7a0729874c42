from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.hosts.shared.weights import fitting, load_pretrained, load_weights
from oamn_plugin.modeling.initialise import InitialiseError, current_names, state_of


class Baseline(nn.Module):
    """The names of a fastreid baseline."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 1)
        self.heads = nn.Module()
        self.heads.bottleneck = nn.Sequential(nn.BatchNorm2d(8))
        self.heads.weight = nn.Parameter(torch.rand(classes, 8))


def zoo_file(model: nn.Module) -> dict[str, torch.Tensor]:
    """As fastreid's zoo stores it."""
    old = {
        name.replace("heads.bottleneck.0.", "heads.bnneck.").replace("heads.weight", "heads.classifier.weight"): value
        for name, value in model.state_dict().items()
    }
    return {**old, "pixel_mean": torch.ones(1, 3, 1, 1), "pixel_std": torch.ones(1, 3, 1, 1)}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapping", ["model", "state_dict", ""])
@pytest.mark.parametrize("classes", [4, 9])
def test_a_zoo_file_loads_into_its_own_baseline(classes: int, wrapping: str, prefix: str, tmp_path: Path) -> None:
    theirs, ours = Baseline(classes), Baseline()
    classifier = ours.heads.weight.detach().clone()
    state = {prefix + name: value for name, value in zoo_file(theirs).items()}
    torch.save({wrapping: state, "epoch": 3} if wrapping else state, tmp_path / "zoo.pth")
    assert ("epoch" in load_weights(ours, tmp_path / "zoo.pth")) == bool(wrapping)
    for name, value in ours.state_dict().items():
        expected = classifier if name == "heads.weight" and classes != 4 else theirs.state_dict()[name]
        assert torch.equal(value, expected), name


def test_old_names_in_every_head_and_behind_a_reduction() -> None:
    one = torch.ones(1)
    names = ["b1_head.bnneck.weight", "b1_head.classifier.weight", "heads.bottleneck.0.weight", "heads.bnneck.bias"]
    names += ["classifier.weight", "oamn.classifier.weight", "backbone.bnneck.weight"]
    assert list(current_names(dict.fromkeys(names, one))) == [
        "b1_head.bottleneck.0.weight", "b1_head.weight", "heads.bottleneck.0.weight", "heads.bottleneck.1.bias",
        "classifier.weight", "oamn.classifier.weight", "backbone.bnneck.weight",
    ]  # fmt: skip


def test_the_names_that_another_toolbox_gives_the_last_convolution_of_mobilenet(tmp_path: Path) -> None:
    """fastreid calls torchvision's ``features.18`` ``conv``; earlier releases of this package wrote files so."""
    import torchvision

    theirs = torchvision.models.mobilenet_v2(weights=None).features
    ours = nn.Module()
    ours.features, ours.conv = (
        torchvision.models.mobilenet_v2(weights=None).features[:-1],
        nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280)),
    )
    state = {f"features.{name}": value for name, value in theirs.state_dict().items()}
    converted = {name.replace("features.18.", "conv."): value for name, value in state.items()}
    for content in (state, converted):
        torch.save(content, tmp_path / "mobilenetv2_imagenet.pth")
        nn.init.zeros_(ours.conv[0].weight)
        load_pretrained(ours, tmp_path / "mobilenetv2_imagenet.pth")
        assert all(torch.equal(value, converted[name]) for name, value in ours.state_dict().items())


def test_what_does_not_fit_is_listed() -> None:
    own = Baseline().state_dict()
    state = {**own, "backbone.weight": torch.ones(1), "more": torch.ones(1)}
    del state["backbone.bias"], state["heads.bottleneck.0.num_batches_tracked"]
    wanted = (
        r"x\.pth does not fit this model: 1 of another shape \(backbone\.weight\); 1 missing \(backbone\.bias\); "
        r"1 unknown \(more\)$"
    )
    with pytest.raises(CheckpointError, match=wanted):
        fitting(own, state, "x.pth")
    with pytest.raises(InitialiseError, match="does not hold a state dict of tensors"):
        state_of({"model": {"a": 3}}, "x.pth")
