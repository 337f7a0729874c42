from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fastreid.modeling.backbones import build_backbone
from tiny_fastreid import RESNET18, changed, tiny_config

from oamn_plugin.hosts.fastreid.preflight import check_data, preflight
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.checkpoint import save_checkpoint
from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.hosts.shared.preflight import PreflightError, idle_occlusion
from oamn_plugin.hosts.shared.run_folder import holding_run
from oamn_plugin.presets import preset


def findings(cfg: Any, train: bool = True) -> list[str]:
    with pytest.raises(PreflightError) as caught:
        preflight(cfg, train)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("this run cannot work:")
    return rest or [first.removeprefix("this run cannot work: ")]


@pytest.fixture
def cfg(embedded_root: Path, tmp_path: Path) -> Any:
    return tiny_config("OAMN", embedded_root, tmp_path / "out")


@pytest.mark.parametrize("base", ["OAMN", "bagtricks"])
@pytest.mark.parametrize("train", [True, False])
def test_a_run_that_can_work_passes(
    base: str, train: bool, embedded_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = tiny_config(base, embedded_root, tmp_path / "out")
    save_checkpoint(
        tmp_path / "w.pth", {"model": Trainer.build_model(changed(cfg, MODEL__HEADS__NUM_CLASSES=3)).state_dict()}
    )
    preflight(cfg if train else changed(cfg, MODEL__WEIGHTS=str(tmp_path / "w.pth")), train)
    told = capsys.readouterr().out
    assert ["OccludedPedestrians", "gallery", "6", "24", "4"] in [line.split() for line in told.splitlines()], told
    assert ("train" in told) == train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL__META_ARCHITECTURE": "OAMNN"}, "MODEL.META_ARCHITECTURE: there is no 'OAMNN'. Did you mean 'OAMN'?"),
        ({"MODEL__BACKBONE__NAME": "build_resnet"}, "Did you mean 'build_resnet_backbone'?"),
        ({"MODEL__HEADS__NAME": "EmbedingHead"}, "Did you mean 'EmbeddingHead'?"),
        ({"MODEL__LOSSES__NAME": ["TripletLos"]}, "MODEL.LOSSES.NAME: there is no 'TripletLos'."),
        ({"DATALOADER__SAMPLER_TRAIN": "IdentitySampler"}, "DATALOADER.SAMPLER_TRAIN: there is no"),
        # the host has one of this name, which fails at its first draw
        ({"DATALOADER__SAMPLER_TRAIN": "SetReWeightSampler"}, "there is no 'SetReWeightSampler'. Did you mean"),
        ({"SOLVER__SCHED": "Steps"}, "SOLVER.SCHED: there is no 'Steps'"),
        ({"INPUT__RESAMPLE": "nearest"}, "INPUT.RESAMPLE: there is no 'nearest'. Known: bicubic, bilinear"),
        ({"TEST__EVALUATOR": "Evaluator"}, "Known: OcclusionUnifiedEvaluator"),
        ({"SOLVER__BASE_LR": 0.0}, "SOLVER.BASE_LR must be above 0, got 0.0"),
        ({"SOLVER__BASE_LR": float("nan")}, "SOLVER.BASE_LR must be above 0, got nan"),
        ({"DATALOADER__NUM_INSTANCE": 0}, "DATALOADER.NUM_INSTANCE must be above 0, got 0"),
        ({"TEST__EVAL_PERIOD": 0}, "TEST.EVAL_PERIOD must be above 0, got 0"),
        ({"INPUT__OCCLUSION__PROB": 1.5}, "INPUT.OCCLUSION.PROB must lie in [0, 1], got 1.5"),
        ({"INPUT__BAD_IMAGES": "ignore"}, "INPUT.BAD_IMAGES: there is no 'ignore'. Known: fail, skip"),
        (
            {"INPUT__PIPELINE": "hosts"},
            "INPUT.PIPELINE: there is no 'hosts'. Did you mean 'host'? Known: device, host, list",
        ),
        ({"INPUT__PIPELINE": "list", "INPUT__TRANSFORMS": ["Resise"]}, "Did you mean 'Resize'?"),
        ({"TEST__METRIC": "jaccard"}, "TEST.METRIC: there is no 'jaccard'. Known: cosine, euclidean"),
        ({"SOLVER__IMS_PER_BATCH": 7}, "must be a multiple of DATALOADER.NUM_INSTANCE 2"),
        ({"SOLVER__OPT": "Sgd"}, "SOLVER.OPT: torch has no optimiser 'Sgd'"),
        ({"MODEL__WEIGHTS": "/nowhere/model.pth"}, "MODEL.WEIGHTS: there is no file /nowhere/model.pth"),
        (
            {"MODEL__BACKBONE__PRETRAIN": True, "MODEL__BACKBONE__PRETRAIN_PATH": "/nowhere/r50.pth"},
            "MODEL.BACKBONE.PRETRAIN_PATH: there is no file /nowhere/r50.pth",
        ),
        ({"DATASETS__TESTS": []}, "DATASETS.TESTS is empty"),
        ({"SEED": 99999999999}, "SEED must lie between -2147483648 and 2147483647, got 99999999999"),
        ({"SOLVER__IMS_PER_BATCH": 1, "DATALOADER__NUM_INSTANCE": 1}, "SOLVER.IMS_PER_BATCH must be 2 or more"),
        ({"INPUT__SIZE_TEST": [128, 32]}, "INPUT.SIZE_TEST [128, 32] must be INPUT.SIZE_TRAIN [64, 32]"),
        ({"SOLVER__SCHED": "OAMNSteps", "SOLVER__WARMUP_ITERS": 5}, "it goes with SOLVER.WARMUP_ITERS 0 only"),
        ({"DATASETS__VALIDATION__NUM_IDS": 3}, "the held-out identities would never be evaluated"),
        (
            {"INPUT__OCCLUSION__PROB": 0.5},
            "INPUT.OCCLUSION, but for OBJECTS, is for other methods: OAMN's views are set by MODEL.OAMN.",
        ),
        ({"INPUT__REA__ENABLED": True}, "INPUT.REA.ENABLED does nothing for OAMN with INPUT.PIPELINE device"),
        ({"MODEL__OAMN__OCCLUDED_SHARE": 0.0}, "MODEL.OAMN.OCCLUDED_SHARE does nothing with MODEL.OAMN.AXES above 0"),
        ({"MODEL__OAMN__CUT_SHARE": 0.2}, "MODEL.OAMN.CUT_SHARE does nothing with MODEL.OAMN.AXES above 0"),
        (
            {"MODEL__META_ARCHITECTURE": "Baseline", "INPUT__OCCLUSION__CUT_SHARE": 0.2},
            "INPUT.OCCLUSION.CUT_SHARE does nothing while INPUT.OCCLUSION.PROB is 0",
        ),
        (
            {"INPUT__PIPELINE": "list", "INPUT__TRANSFORMS": ["OcclusionAugmentation"]},
            "take it out and set INPUT.OCCLUSION.PROB",
        ),
        (
            {"TEST__UNIFICATION": "matched", "TEST__RERANK__ENABLED": True},
            "re-ranking compares gallery images with each other, which matched unification does not define",
        ),
        (
            {"TEST__UNIFICATION": "matched", "TEST__AQE__ENABLED": True},
            "query expansion joins descriptors of one type, but matched unification compares all types",
        ),
        ({"TEST__FLIP__ENABLED": True}, "TEST.FLIP.ENABLED does not go with occlusion unification"),
    ],
)
def test_each_wrong_setting_is_one_line(cfg: Any, changes: dict[str, Any], message: str) -> None:
    found = findings(changed(cfg, **changes))
    assert len(found) == 1
    assert message in found[0]


def test_only_options_that_differ_from_the_preset_are_told_to_have_no_effect() -> None:
    given, plus = {"cut_share": 0.3, "occluded_share": 0.4, "black_share": 0.1}, preset("plus")
    settings = {"prob": 0, "black_share": 0, "cut_share": 0, "objects": ""}
    for options, idle in (
        (preset("plus", axes=1, **given), ["oamn.occluded_share", "oamn.cut_share"]),
        (preset("plus", axes=1), []),
        (preset("plus", **given), []),
    ):
        found = idle_occlusion("occlusion.", settings, "oamn.", (options, plus))
        assert [line.split()[0] for line in found] == idle


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_gpu_names_the_key_that_helps(cfg: Any) -> None:
    assert findings(changed(cfg, MODEL__DEVICE="cuda")) == [
        "MODEL.DEVICE is cuda and there is no CUDA device: add MODEL.DEVICE cpu to the command"
    ]


def test_missing_data_was_told_only_after_the_missing_gpu(cfg: Any, tmp_path: Path) -> None:
    missing = {"DATASETS__NAMES": ["Market1501"], "DATASETS__ROOT": str(tmp_path / "sets")}
    found = findings(changed(cfg, MODEL__WEIGHTS="absent.pth", **missing))
    assert [line.split(":")[0].strip(" -") for line in found] == ["MODEL.WEIGHTS", "Market1501"]
    assert "Market-1501 was not found" in found[1]
    assert not (tmp_path / "sets").exists()  # nor was the generated set drawn for it


def test_all_findings_come_in_one_message(cfg: Any) -> None:
    wrong = changed(cfg, SOLVER__BASE_LR=-1.0, TEST__EVALUATOR="None", MODEL__WEIGHTS="absent.pth", DATASETS__TESTS=[])
    assert len(findings(wrong)) == 4


def test_an_output_folder_that_is_a_file(cfg: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not writable" in findings(changed(cfg, OUTPUT_DIR=str(tmp_path / "file")))[0]


@pytest.mark.parametrize("name", ["Market1501", "MSMT17", "OccludedDuke", "PartialREID"])
def test_missing_data_names_the_folder(cfg: Any, name: str, tmp_path: Path) -> None:
    found = findings(changed(cfg, DATASETS__NAMES=[name], DATASETS__TESTS=[name], DATASETS__ROOT=str(tmp_path)))
    assert len(found) == 1  # though both the test and the training need it
    assert str(tmp_path) in found[0]


def test_a_misspelt_data_set(cfg: Any) -> None:
    assert "Did you mean 'OccludedPedestrians'?" in findings(changed(cfg, DATASETS__NAMES=["OcludedPedestrians"]))[0]


def test_a_batch_larger_than_the_set(cfg: Any) -> None:
    found = findings(changed(cfg, SOLVER__IMS_PER_BATCH=64))
    assert "SOLVER.IMS_PER_BATCH 64 is larger than the 48 training images" in found[0]
    assert "a batch wants 32 identities (64 / 2), there are 12" in found[1]
    assert check_data(changed(cfg, SOLVER__IMS_PER_BATCH=64), train=False) == []


def test_validation_that_leaves_nobody(cfg: Any) -> None:
    wrong = changed(cfg, DATASETS__VALIDATION__NUM_IDS=12, TEST__EVAL_PERIOD=1)
    assert "leaves none of 12 training identities" in findings(wrong)[0]


def custom(tmp_path: Path, rows: list[tuple[str, int, int, str]], embedded_root: Path) -> Any:
    image = next(next(embedded_root.glob("Occluded*")).glob("query/*.jpg"))
    lines = ["path,pid,camid,split"]
    for name, pid, camid, split in rows:
        (tmp_path / name).write_bytes(image.read_bytes())
        lines.append(f"{name},{pid},{camid},{split}")
    (tmp_path / "set.csv").write_text("\n".join(lines))
    changes = {"ROOT": str(tmp_path), "CSV": "set.csv"}
    settings = {f"DATASETS__CUSTOM__{key}": value for key, value in changes.items()}
    return changed(tiny_config("OAMN", embedded_root, tmp_path / "out"), DATASETS__TESTS=["CustomReID"], **settings)


def test_an_empty_gallery(tmp_path: Path, embedded_root: Path) -> None:
    rows = [("a.jpg", 1, 1, "query"), ("b.jpg", 2, 1, "train")]
    assert "gallery" in check_data(custom(tmp_path, rows, embedded_root), train=False)[0]


def test_queries_that_nothing_can_find(tmp_path: Path, embedded_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("a.jpg", 1, 1, "query"), ("b.jpg", 1, 1, "gallery"), ("c.jpg", 2, 2, "gallery")]
    found = check_data(custom(tmp_path, rows, embedded_root), train=False)
    assert "no query has its identity in the gallery under another camera" in found[0]
    rows.append(("d.jpg", 2, 1, "query"))  # this one can be found: the other is named, the run goes on
    assert check_data(custom(tmp_path, rows, embedded_root), train=False) == []
    assert "1 of 2 queries have no match" in caplog.text
    assert "a.jpg" in caplog.text


def test_pids_beyond_64_bits_are_found_before_training(tmp_path: Path, embedded_root: Path) -> None:
    rows = [("a.jpg", 2**63, 1, "query"), ("b.jpg", 2**63, 2, "gallery")]
    assert "beyond 2^63 - 1" in check_data(custom(tmp_path, rows, embedded_root), train=False)[0]


def test_evaluation_without_weights_does_not_test_random_ones(cfg: Any) -> None:
    assert findings(cfg, train=False) == ["--eval-only tests MODEL.WEIGHTS: name the file of the weights"]


def test_weights_that_do_not_fit_are_found_before_data_is_read(cfg: Any, tmp_path: Path) -> None:
    nowhere = changed(cfg, DATASETS__ROOT=str(tmp_path / "nowhere"), MODEL__WEIGHTS=str(tmp_path / "w.pth"))
    for content, message in (
        ({"model": {"backbone.conv1.weight": torch.ones(3)}}, "none of its entries is known"),
        ({"model": {"oamn.feat_bn.weight": torch.ones(3)}}, "does not fit this model: 1 of another shape"),
        ({"state_dict": {"feat_bn.weight": torch.ones(3)}}, "oamn convert"),
        ({"epoch": 3}, "does not hold a state dict of tensors"),
        ({"model": Path("x")}, "is not a checkpoint of plain tensors and numbers"),
    ):
        torch.save(content, tmp_path / "w.pth")
        for train in (True, False):
            assert message in findings(nowhere, train)[0]


def test_a_running_training_keeps_its_folder(cfg: Any) -> None:
    with holding_run(Path(cfg.OUTPUT_DIR)):
        assert "belongs to a training that runs, process " in findings(cfg)[0]


def backbone_file(cfg: Any, path: Path, **changes: Any) -> dict[str, torch.Tensor]:
    state = {name: torch.randn_like(v) if v.ndim > 1 else v for name, v in build_backbone(cfg).state_dict().items()}
    torch.save({**state, **changes}, path)
    return state


def test_pretrained_weights_that_do_not_fit_no_longer_mean_random_ones(cfg: Any, tmp_path: Path) -> None:
    path = tmp_path / "r18.pth"
    wanted = changed(cfg, **RESNET18, MODEL__BACKBONE__PRETRAIN=True, MODEL__BACKBONE__PRETRAIN_PATH=str(path))
    state = backbone_file(changed(cfg, **RESNET18), path, **{"fc.weight": torch.ones(1000, 512)})
    of_baseline = {"model": {f"backbone.{name}": value for name, value in state.items()}}
    for content in (torch.load(path), of_baseline):
        torch.save(content, path)
        loaded = build_backbone(wanted).state_dict()
        assert all(torch.equal(value, loaded[name]) for name, value in state.items())
    for content, message in (
        (
            {**state, "conv1.weight": torch.ones(1)},
            "1 of its 120 tensors are missing or of another shape (conv1.w",
        ),
        ({name: v for name, v in state.items() if "layer4" not in name}, "(layer4.0.conv1.weight, "),
        ({"state_dict": Path("x")}, "is not a checkpoint of plain tensors and numbers"),
    ):
        torch.save(content, path)
        assert message in findings(wanted)[0]
        with pytest.raises(CheckpointError):
            build_backbone(wanted)


def test_weights_that_cannot_be_downloaded_are_one_message(
    cfg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))  # where no download can be kept
    found = findings(changed(cfg, **RESNET18, MODEL__BACKBONE__PRETRAIN=True))
    assert len(found) == 1
    assert "the ImageNet weights of MODEL.BACKBONE build_resnet_backbone could not be fetched" in found[0]
    assert "MODEL.BACKBONE.PRETRAIN_PATH" in found[0]
