"""`oamn_plugin.Extractor`: by the packaged model, by a run, by a model of torchreid as its own extractor would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import oamn_plugin
from oamn_plugin.cli.extract import main
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.encoder import ModelChoiceError, load_index_model
from oamn_plugin.retrieval.strips import IMAGENET_MEAN, IMAGENET_STD
from oamn_plugin.search.extractor import EncoderExtractor


def picture(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "crop.png")
    return folder / "crop.png"


def test_the_packaged_model_is_the_default(tmp_path: Path) -> None:
    extractor = oamn_plugin.Extractor()
    assert isinstance(extractor, EncoderExtractor)
    found = extractor(picture(tmp_path))
    again = oamn_plugin.Extractor(extractor.encoder, device="cpu")(picture(tmp_path))
    assert torch.equal(found.descriptors, again.descriptors)
    assert 0 <= float(found.visible) <= 1


def test_a_model_of_torchreid_gives_what_its_own_extractor_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_torchreid import liven, require_torchreid

    require_torchreid()
    import torchreid
    from torchreid.reid.utils import FeatureExtractor

    torch.manual_seed(0)
    model = torchreid.models.build_model("osnet_x0_25", 4, pretrained=False)
    liven(model)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "rank1": np.float64(0.5)}, tmp_path / "model.pth.tar")
    given = {"model_name": "osnet_x0_25", "model_path": str(tmp_path / "model.pth.tar"), "device": "cpu"}
    path = str(picture(tmp_path))
    load = torch.load  # the host cannot load its own checkpoints under a current torch
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: load(*args, **kwargs, weights_only=False))
    theirs = FeatureExtractor(**given, verbose=False)([path])
    monkeypatch.undo()
    ours = oamn_plugin.Extractor(**given)([path])
    assert torch.allclose(ours.descriptors, torch.nn.functional.normalize(theirs), atol=1e-5)
    assert ours.types is None
    arrays = {"pixel_mean": np.array(IMAGENET_MEAN), "pixel_std": torch.tensor(IMAGENET_STD)}
    assert torch.allclose(oamn_plugin.Extractor(**given, **arrays)([path]).descriptors, ours.descriptors, atol=1e-5)
    monkeypatch.setenv("OAMN_WEIGHTS", str(tmp_path))
    (tmp_path / "model.pth.tar").rename(tmp_path / "osnet_x0_25_market.pth")
    named = oamn_plugin.Extractor("osnet_x0_25_market")
    assert torch.allclose(named(path).descriptors, ours.descriptors, atol=1e-6)
    again = load_index_model({"source": named.encoder.source, "unification": {}})  # as an index loads its model
    assert torch.equal(oamn_plugin.Extractor(again)(path).descriptors, named(path).descriptors)
    with pytest.raises(ExpectedError, match=r"torchreid has no model 'osnet_x0_26'.*'osnet_x0_25'"):
        oamn_plugin.Extractor(model_name="osnet_x0_26")


def test_a_run_of_torchreid_given_to_search_ended_in_a_traceback(embedded_root: Path, tmp_path: Path) -> None:
    from tiny_torchreid import require_torchreid, tiny_config

    require_torchreid()
    from oamn_plugin.hosts.torchreid.builders import build_model, register_from
    from oamn_plugin.hosts.torchreid.config import resolved

    cfg = tiny_config(embedded_root, tmp_path)
    register_from(cfg)
    model = build_model(cfg, 3).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(resolved(cfg).dump())
    files = {"config_file": str(tmp_path / "config.yaml"), "weights": str(tmp_path / "model_final.pth")}
    encoder = load_index_model({"source": {**files, "opts": [], "card": None}, "unification": {}})  # as search does
    pixels = encoder.read(str(picture(tmp_path)))[None]
    with torch.no_grad():
        expected = model(encoder.normalise(pixels))
    assert torch.allclose(encoder.gallery(pixels, ["none"])["none"], expected, atol=1e-5)


def test_a_run_of_fastreid_is_named_by_its_folder(embedded_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastreid")
    from tiny_fastreid import tiny_config

    from oamn_plugin.hosts.fastreid.trainer import Trainer

    cfg = tiny_config("OAMN", embedded_root, tmp_path, MODEL__HEADS__NUM_CLASSES=3)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    with pytest.raises(ModelChoiceError, match="is no folder of a run"):
        oamn_plugin.Extractor(tmp_path)
    model = Trainer.build_model(cfg).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    extractor = oamn_plugin.Extractor(tmp_path)
    path = picture(tmp_path)
    with torch.no_grad():
        descriptors = model({"images": extractor.encoder.read(str(path))[None]})
    assert torch.allclose(extractor(path).descriptors, descriptors, atol=1e-5)


def test_a_name_of_fastreids_zoo_needs_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastreid")
    from fastreid.modeling.meta_arch import build_model

    import oamn_plugin.hosts.fastreid
    from oamn_plugin.hosts.fastreid.config import load_config

    monkeypatch.setenv("OAMN_WEIGHTS", str(tmp_path))
    size = ["INPUT.SIZE_TEST", "[64, 32]"]
    opts = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "3", *size]
    model = build_model(load_config("Market1501/bagtricks_R50", opts)).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "market_bot_R50.pth")
    extractor = oamn_plugin.Extractor("market_bot_R50", opts=size)
    assert (
        main([str(picture(tmp_path)), "--out", str(tmp_path / "x.npz"), "--weights", "market_bot_R50", "--opts", *size])
        == 0
    )
    with torch.no_grad():
        expected = model({"images": extractor.encoder.read(str(picture(tmp_path)))[None].float()})
    expected = torch.nn.functional.normalize(expected)
    assert torch.allclose(extractor(picture(tmp_path)).descriptors, expected, atol=1e-5)
    assert np.allclose(np.load(tmp_path / "x.npz")["descriptors"], expected.numpy(), atol=1e-5)


def test_names_that_are_not_here_or_of_no_model_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAMN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no network
    for name, message in (
        ("market_bot_R50", r"market_bot_R50\.pth could not be downloaded from https.*put the file into"),
        ("market_bot_r50", r"there is no file market_bot_r50, nor weights of that name.*Did you mean 'market_bot_R50'"),
        (str(picture(tmp_path)), r"crop.png needs the configuration .* in Python config=FILE"),
        ("resnet50_imagenet", r"is a backbone trained on ImageNet, no model that describes people"),
    ):
        with pytest.raises(ExpectedError, match=message):
            oamn_plugin.Extractor(name)


def test_the_package_has_no_other_surprise() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Extraktor'"):
        oamn_plugin.Extraktor  # noqa: B018
