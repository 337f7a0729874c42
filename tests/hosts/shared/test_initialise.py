"""Any checkpoint starts any model that has its backbone; files of the zoos themselves: tests/hosts/test_zoo.py."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backbones import assert_same_backbone

from oamn_plugin.hosts.shared.checkpoint import load_checkpoint
from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.initialise import InitialiseError, backbone_names, initialise, state_of

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "Market1501"
SMALL = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.DEVICE", "cpu", "INPUT.SIZE_TRAIN", "[64, 32]"]
SIZE = (64, 32)


def fastreid_model(name: str) -> Any:
    pytest.importorskip("fastreid")
    import oamn_plugin.hosts.fastreid  # noqa: F401 only registration
    from oamn_plugin.hosts.fastreid.config import load_config
    from oamn_plugin.hosts.fastreid.meta_arch import META_ARCH_REGISTRY

    cfg = load_config(str(CONFIGS / f"{name}.yml"), [*SMALL, "MODEL.HEADS.NUM_CLASSES", "5"])
    return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).eval()


def save_as_torchreid(model: Any, path: Path) -> Path:
    """As torchreid's zoo: DataParallel's names, and a numpy number that ``weights_only`` refuses by itself."""
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "rank1": np.float64(0.9), "optimizer": {"state": {}}}, path)
    return path


@pytest.mark.parametrize("name", ["densenet121", "se_resnet50", "shufflenet_v2_x1_0", "squeezenet1_0", "pcb_p4"])
def test_a_network_whose_children_are_rearranged_starts_oamn(name: str) -> None:
    """Layers that torchreid names otherwise than the cut network are told by their order."""
    pytest.importorskip("torchreid")
    from oamn_plugin.hosts.torchreid.compat import install

    install()
    import torchreid

    from oamn_plugin.hosts.torchreid.models import build_oamn

    source = torchreid.models.build_model(name, 5, pretrained=False)
    oamn = build_oamn(name, 5, pretrained=False, input_size=SIZE)
    initialise(oamn, source.state_dict(), "zoo.pth")
    ours, theirs = (
        [value for key, value in model.state_dict().items() if value.ndim and key in backbone_names(model.state_dict())]
        for model in (oamn, source)
    )
    assert all(map(torch.equal, ours, theirs))
    assert len(ours) == len(theirs) > 20


def test_oamn_of_another_preset_and_size_keeps_what_fits() -> None:
    source = OAMN("mobilenet_v2", 5, (64, 32), "plus")
    same = OAMN("mobilenet_v2", 5, (64, 32), "plus")
    assert not initialise(same, source.state_dict(), "a.pth").anew
    assert all(map(torch.equal, same.state_dict().values(), source.state_dict().values()))
    larger = OAMN("mobilenet_v2", 6, (128, 64), "plus")
    found = initialise(larger, source.state_dict(), "a.pth")
    assert found.anew == ["mask and scorer", "classifier"]
    assert {"feat_bn", "backbone"} <= set(found.taken)
    other = OAMN("mobilenet_v2", 5, (64, 32), "paper")
    found = initialise(other, source.state_dict(), "a.pth")
    assert "classifier" in found.anew  # paper's has a bias
    assert_same_backbone(other, source)


def test_weights_of_imagenet_start_oamn() -> None:
    import torchvision

    for name in ("resnet18", "mobilenet_v2"):
        source = getattr(torchvision.models, name)(weights=None)
        oamn = OAMN(name, 5, SIZE)
        old = {n: v for n, v in source.state_dict().items() if not n.endswith("num_batches_tracked")}
        found = initialise(oamn, old, "imagenet.pth")
        assert_same_backbone(oamn, source)
        assert found.left
        assert all(name.startswith(("fc", "classifier")) for name in found.left)


def test_a_backbone_that_does_not_fit_is_an_error_that_names_the_tensor() -> None:
    model = OAMN("resnet18", 5, SIZE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    deeper = OAMN("resnet34", 5, SIZE).state_dict()
    lacking = {
        name: value for name, value in model.state_dict().items() if name != "encoder_high.layer4.1.conv2.weight"
    }
    wide = {**model.state_dict(), "encoder_low.conv1.weight": torch.zeros(32, 3, 7, 7)}
    cases = [
        (
            OAMN("mobilenet_v2", 5, SIZE).state_dict(),
            r"x.pth is of another architecture.*file: MobileNetV2.*model: ResNet",
        ),
        (lacking, r"1 backbone tensors are missing, such as encoder_high\.layer4\.1\.conv2\.weight"),
        (wide, r"such as encoder_low\.conv1\.weight: \(32, 3, 7, 7\) in the file, \(64, 3, 7, 7\) in the model"),
        ({"w": torch.zeros(1)}, r"x.pth holds no weights that a model could start from.*\(w\)"),
        ({}, r"it has no tensor"),
    ]
    for state, message in cases:
        with pytest.raises(InitialiseError, match=message):
            initialise(model, state, "x.pth")
    assert all(map(torch.equal, model.state_dict().values(), before.values()))
    assert initialise(model, deeper, "x.pth").left  # its further blocks


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": {"conv1.weight": Hostile()}}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth is not a checkpoint of plain tensors and numbers"):
        load_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_old_formats_are_read_or_named(tmp_path: Path) -> None:
    state = {"state_dict": {"module.a": torch.ones(2)}, "rank1": np.float64(0.3)}
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    assert list(state_of(load_checkpoint(tmp_path / "legacy.pth"), "x")) == ["a"]
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(CheckpointError, match=r"old\.pth is a tar archive of PyTorch before 0\.4.*convert it once"):
        load_checkpoint(tmp_path / "old.pth")


def test_the_stem_pooling_of_the_file_is_told() -> None:
    source = fastreid_model("bagtricks_R50")
    padded = OAMN("resnet50", 5, SIZE)
    found = initialise(padded, source.state_dict(), "market.pth")
    assert "pools its stem with padding" in found.table()
    assert not initialise(fastreid_model("oamn_R50"), source.state_dict(), "market.pth").note


def test_a_training_of_fastreid_starts_from_a_file(embedded_root: Path, tmp_path: Path, caplog: Any) -> None:
    """No weights of ImageNet are fetched beside it."""
    pytest.importorskip("fastreid")
    import torchvision
    from tiny_fastreid import RESNET18, tiny_config

    from oamn_plugin.hosts.fastreid.trainer import Trainer

    source = torchvision.models.resnet18(weights=None)
    torch.save(source.state_dict(), tmp_path / "r18.pth")
    torch.save({"model": torchvision.models.mobilenet_v2(weights=None).state_dict()}, tmp_path / "other.pth")
    changes = {**RESNET18, "MODEL__INIT": tmp_path / "r18.pth", "MODEL__BACKBONE__PRETRAIN": True}
    cfg = tiny_config("OAMN", embedded_root, tmp_path / "run", **changes)
    with caplog.at_level("INFO", logger="fastreid.oamn"):
        trainer = Trainer(cfg)
    assert_same_backbone(trainer.bare_model, source)
    assert "Started from" in caplog.text
    cfg = tiny_config(
        "bagtricks", embedded_root, tmp_path / "bad", **RESNET18 | {"MODEL__INIT": tmp_path / "other.pth"}
    )
    with pytest.raises(CheckpointError, match=r"other\.pth is of another architecture"):
        Trainer(cfg)


def test_a_training_of_torchreid_starts_from_a_file(embedded_root: Path, tmp_path: Path, capsys: Any) -> None:
    from tiny_torchreid import require_torchreid
    from tiny_torchreid import tiny_config as tiny_torchreid_config

    require_torchreid()
    import torchreid

    from oamn_plugin.hosts.shared.preflight import PreflightError
    from oamn_plugin.hosts.torchreid.builders import register_from
    from oamn_plugin.hosts.torchreid.main import train_or_test
    from oamn_plugin.hosts.torchreid.preflight import check_settings

    source = torchreid.models.build_model("osnet_x0_25", 5, pretrained=False)
    path = save_as_torchreid(source, tmp_path / "zoo.pth")
    given = {"model__pretrained": True, "train__max_epoch": 1}  # no weights of ImageNet are fetched beside it
    cfg = tiny_torchreid_config(embedded_root, tmp_path / "run", model__init=path, **given)
    register_from(cfg)
    check_settings(cfg)
    train_or_test(cfg)
    assert f"Started from {path}\n  taken backbone: " in capsys.readouterr().out
    cfg = tiny_torchreid_config(embedded_root, tmp_path / "run", model__init="osnet_x1_0_markt", **given)
    with pytest.raises(PreflightError, match=r"model\.init: there is no file.*Did you mean 'osnet_x1_0_market'"):
        check_settings(cfg)
