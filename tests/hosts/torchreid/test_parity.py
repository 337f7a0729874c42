"""The same weights in both hosts: the same descriptors, occlusion types and scores."""

from __future__ import annotations

import importlib.util
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_checks import damage
from run_tool import run_tool
from tiny_torchreid import ROOT, SIZE, TARGETS, liven, require_torchreid, tiny_config

require_torchreid()
if importlib.util.find_spec("fastreid") is None:
    pytest.skip("fastreid is not installed: pip install --no-deps fastreid==1.4.0", allow_module_level=True)

import oamn_plugin.hosts.fastreid  # noqa: E402,F401 makes the host importable
from oamn_plugin.datasets.records import Record  # noqa: E402
from oamn_plugin.hosts.fastreid.config import load_config  # noqa: E402
from oamn_plugin.hosts.fastreid.data import build_dataset  # noqa: E402
from oamn_plugin.hosts.fastreid.loaders import build_test_loader  # noqa: E402
from oamn_plugin.hosts.fastreid.trainer import Trainer  # noqa: E402
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from oamn_plugin.hosts.shared.weights import load_weights  # noqa: E402
from oamn_plugin.hosts.torchreid.builders import build_datamanager, build_engine, build_model, register_from  # noqa: E402
from oamn_plugin.hosts.torchreid.models import restore_pooling  # noqa: E402
from oamn_plugin.hosts.torchreid.training import model_state  # noqa: E402

PAIRS = {
    "osnet": ("osnet_x0_25", {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128}),
    "resnet": ("resnet18", {"NAME": "build_resnet_backbone", "DEPTH": "18x", "FEAT_DIM": 512, "LAST_STRIDE": 2}),
    "torchvision": ("resnet18", {"NAME": "torchvision", "ARCH": "resnet18", "FEAT_DIM": 512, "LAST_STRIDE": 2}),
}


def fastreid_config(root: Path, output: Path, backbone: dict[str, Any], **changes: Any) -> Any:
    settings = {
        "OUTPUT_DIR": output, "DATASETS.ROOT": root, "DATASETS.EMBEDDED.SIZE": "tiny", "MODEL.DEVICE": "cpu",
        "DATASETS.NAMES": ["OccludedPedestrians"], "DATASETS.TESTS": ["OccludedPedestrians"],
        "MODEL.BACKBONE.PRETRAIN": False, "INPUT.SIZE_TRAIN": list(SIZE), "INPUT.SIZE_TEST": list(SIZE),
        "DATALOADER.NUM_WORKERS": 0, "TEST.IMS_PER_BATCH": 16, "MODEL.HEADS.NUM_CLASSES": 12,
        **{f"MODEL.BACKBONE.{key}": value for key, value in backbone.items()}, **changes,
    }  # fmt: skip
    opts = [str(word) for pair in settings.items() for word in pair]
    return load_config(str(ROOT / "configs" / "Base-OAMN.yml"), opts)


def torchreid_engine(root: Path, output: Path, name: str) -> Any:
    cfg = tiny_config(root, output, model__name=f"oamn_{name}", oamn__preset="paper", data__targets=TARGETS[:1])
    register_from(cfg)
    manager = build_datamanager(cfg)
    return build_engine(cfg, manager, build_model(cfg, manager.num_train_pids))


def convert(source: Path, target: Path, *options: str) -> str:
    done = run_tool("convert_checkpoint.py", source, target, *options)
    assert done.code == 0, done.err
    return done.out


def balance(cfg: Any, model: Any) -> None:
    """Lets the scorer favour no side on the whole, so that several occlusion types occur."""
    records = [Record(*one) for one in build_dataset(cfg, "OccludedPedestrians").query]
    pixels = torch.cat([images for _, images, _ in build_test_loader(cfg, records)])
    model.eval()
    with torch.no_grad():
        logits = model.oamn.attend(model.oamn.encode(model.normalise(pixels)))[1]
        model.oamn.scorer.fc.weight *= 2 / logits.std(0).mean()
        logits = model.oamn.attend(model.oamn.encode(model.normalise(pixels)))[1]
        model.oamn.scorer.fc.bias -= logits.mean(0)


@pytest.mark.parametrize("pair", list(PAIRS))
def test_a_checkpoint_moves_there_and_back_and_nothing_changes(pair: str, embedded_root: Path, tmp_path: Path) -> None:
    name, backbone = PAIRS[pair]
    cfg = fastreid_config(embedded_root, tmp_path / "fastreid", backbone)
    torch.manual_seed(0)
    theirs = Trainer.build_model(cfg)
    liven(theirs)
    balance(cfg, theirs)
    save_checkpoint(tmp_path / "theirs.pth", {"model": theirs.state_dict()})
    pooling = ["--pooling", "padded"] if pair == "torchvision" else []
    assert "model.load_weights" in convert(tmp_path / "theirs.pth", tmp_path / "ours.pth", *pooling)
    engine = torchreid_engine(embedded_root, tmp_path / "torchreid", name)
    restore_pooling(engine.model, load_weights(engine.model, tmp_path / "ours.pth"))

    evaluator = Trainer.build_evaluator(cfg, "OccludedPedestrians")
    expected = evaluator.run(theirs)
    found = engine.evaluate("OccludedPedestrians")
    assert len(expected["query_types"]) > 1
    for key, value in expected.items():
        if isinstance(value, float) and not key.startswith("seconds"):
            assert found.scores[key] == pytest.approx(value, abs=1e-5), key
    assert found.scores["query_types"] == dict(expected["query_types"])
    with np.load(tmp_path / "fastreid" / "per_query" / "OccludedPedestrians.npz") as stored:
        np.testing.assert_allclose(stored["ap"], found.result.ap, atol=1e-5)
        np.testing.assert_allclose(stored["confidence"], found.queries.confidence, atol=1e-5)
        assert stored["types"].tolist() == found.queries.types.tolist()

    assert_same_descriptors(cfg, theirs, engine)
    torch.save(model_state(engine.model), tmp_path / "again.pth")
    hint = convert(tmp_path / "again.pth", tmp_path / "back.pth")
    assert ("MODEL.BACKBONE.NAME torchvision" in hint) == (pair == "torchvision")
    back = Trainer.build_model(cfg)
    load_weights(back, str(tmp_path / "back.pth"))
    for entry, value in theirs.state_dict().items():
        assert torch.equal(value, back.state_dict()[entry]), entry


def assert_same_descriptors(cfg: Any, theirs: Any, engine: Any) -> None:
    """Each host decodes, resizes and normalises the same files by its own means."""
    queries = engine._image_set("OccludedPedestrians", "query")
    batches = list(queries.load(0, len(queries.records)))
    everyone = engine._image_set("OccludedPedestrians", "query").records
    records = [everyone[place] for batch in batches for place in batch.indices]
    pixels = torch.cat([images for _, images, _ in build_test_loader(cfg, records)])
    images = torch.cat([batch.images for batch in batches])
    theirs.eval(), engine.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs.normalise(pixels), images, atol=1e-5, rtol=0)
        torch.testing.assert_close(theirs({"images": pixels}), engine.model(images), atol=1e-5, rtol=0)
        for host, batch in ((theirs.oamn, theirs.normalise(pixels)), (engine.model, images)):
            assert host.attend(host.encode(batch))[1].shape == (len(records), 4)


def test_the_stem_pooling_is_read_from_the_run_that_was_converted(tmp_path: Path) -> None:
    state = {"oamn.encoder_low.bn1.weight": torch.ones(2), "oamn.encoder_low.layer1.0.bn1.weight": torch.ones(2)}
    torch.save({"model": state}, tmp_path / "model_final.pth")
    said = {}
    for backbone in ("build_resnet_backbone", "torchvision"):
        (tmp_path / "config.yaml").write_text(f"MODEL: {{BACKBONE: {{NAME: {backbone}}}}}\n")
        said[backbone] = convert(tmp_path / "model_final.pth", tmp_path / "out.pth")
        assert load_checkpoint(tmp_path / "out.pth").get("ceil_pooling", False) == (backbone != "torchvision")
    assert "fastreid's own ResNet" in said["build_resnet_backbone"]
    assert "torchvision's ResNet" in said["torchvision"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"backbone.conv1.weight": torch.ones(1)}}, "holds another model than OAMN"),
        ({"weights": 3}, "neither fastreid .'model'. nor torchreid .'state_dict'."),
        ("a word", "holds a str, not a dictionary"),
    ],
)
def test_what_does_not_convert_is_one_message(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    done = run_tool("convert_checkpoint.py", tmp_path / "x.pth", tmp_path / "y.pth")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert re.search(message, done.err)
    assert not (tmp_path / "y.pth").exists()


def test_a_damaged_file_was_converted_with_wrong_content(tmp_path: Path) -> None:
    torch.save({"model": {"oamn.feat_bn.weight": torch.rand(9000)}}, tmp_path / "x.pth")
    damage(tmp_path / "x.pth", "one bit", random.Random(0))
    done = run_tool("convert_checkpoint.py", tmp_path / "x.pth", tmp_path / "y.pth")
    assert (done.code, "x.pth is damaged" in done.err) == (2, True)
    assert not (tmp_path / "y.pth").exists()
