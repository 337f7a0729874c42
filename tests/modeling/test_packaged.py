"""The packaged weights: written, loaded again, and refused when something does not fit."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.packaged import (
    ASSETS,
    LIMIT,
    ModelCard,
    PackagedModelError,
    is_packaged,
    load_packaged,
    read_card,
    save_packaged,
)
from oamn_plugin.presets import preset

SIZE = (64, 32)


def card(**changes) -> ModelCard:
    options = asdict(preset("plus"))
    values = {"backbone": "mobilenet_v2", "input_size": SIZE, "options": options, "pixel_mean": (120.0,) * 3,
              "pixel_std": (60.0,) * 3, "resample": "bilinear", "command": "python tools/train_net.py"}  # fmt: skip
    return ModelCard(**{**values, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("assets")
    model = OAMN("mobilenet_v2", 10, SIZE, "plus").eval()
    return folder, model, save_packaged(model, card(scores={"set": {"Rank-1": 50.0}}), folder)


def test_there_and_back(written):
    folder, model, saved = written
    assert is_packaged(folder)
    assert json.loads(json.dumps(asdict(read_card(folder)))) == json.loads(json.dumps(asdict(saved)))
    loaded = load_packaged(folder)
    images = torch.randn(3, 3, *SIZE)
    with torch.no_grad():
        assert (loaded(images) * model(images)).sum(1).min() > 0.9999
    assert loaded.options == model.options
    assert loaded.classifier is None
    assert not loaded.training
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert (folder / "oamn_small.safetensors").stat().st_size < LIMIT


def test_what_does_not_fit_is_refused(written, tmp_path):
    folder, _, _ = written
    with pytest.raises(PackagedModelError, match="no weights are packaged"):
        load_packaged(tmp_path)
    for name in ("oamn_small.safetensors", "oamn_small.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    content = json.loads((tmp_path / "oamn_small.json").read_text())
    (tmp_path / "oamn_small.json").write_text(json.dumps({**content, "backbone": "resnet18"}))
    with pytest.raises(PackagedModelError, match="do not fit the card's network"):
        load_packaged(tmp_path)
    (tmp_path / "oamn_small.json").write_text(json.dumps({**content, "sha256": "0" * 64}))
    with pytest.raises(PackagedModelError, match="damaged, or not the file"):
        load_packaged(tmp_path)
    (tmp_path / "oamn_small.json").write_text("[]")
    with pytest.raises(PackagedModelError, match="is damaged"):
        load_packaged(tmp_path)


def test_too_large_and_too_wide(tmp_path):
    with pytest.raises(PackagedModelError, match="use a smaller backbone"):
        save_packaged(OAMN("resnet18", 0, SIZE), card(), tmp_path)
    model = OAMN("mobilenet_v2", 0, SIZE)
    weight = max(model.encoder_high.parameters(), key=torch.Tensor.numel)  # small ones are stored in single precision
    weight.data.fill_(1e6)
    with pytest.raises(PackagedModelError, match=r"half precision cannot hold encoder_high\."):
        save_packaged(model, card(), tmp_path)


@pytest.mark.skipif(not is_packaged(), reason="no weights are packaged yet")
def test_the_shipped_model_is_whole():
    card = read_card()
    assert (ASSETS / "oamn_small.safetensors").stat().st_size <= LIMIT
    assert card.command
    assert card.scores
    assert load_packaged()(torch.zeros(2, 3, *card.input_size)).shape[0] == 2
