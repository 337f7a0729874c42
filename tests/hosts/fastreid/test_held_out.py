"""tools/held_out.py: a run scored on the people it held out, their queries hidden in seven ways."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from counting import described_images
from tiny_fastreid import tiny_config

from oamn_plugin.cli.main import command
from oamn_plugin.datasets.embedded.occluders import KINDS
from oamn_plugin.hosts.fastreid.held_out import CONDITIONS, _unseen_kinds, judged_table
from oamn_plugin.hosts.fastreid.inference import load_encoder
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint
from oamn_plugin.retrieval.scorer_fit import ScorerFit


@pytest.fixture(scope="module")
def run(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held_out")
    cfg = tiny_config("OAMN", embedded_root, folder, DATASETS__VALIDATION__NUM_IDS=4, TEST__EVAL_PERIOD=1)
    (folder / "config.yaml").write_text(cfg.dump())
    Trainer(cfg).train()
    return folder


def score(*arguments: object) -> int:
    return command("held-out")([str(one) for one in arguments])


def test_crops_are_scored_as_in_training_and_the_rest_differs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(run) == 0
    printed = capsys.readouterr().out
    found = json.loads((run / "held_out" / "results.json").read_text())
    assert tuple(found) == tuple(word for name in CONDITIONS for word in (name, f"{name}, plain"))
    assert all(name in printed for name in CONDITIONS)
    last = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()][-1]
    assert found["crops"]["mAP"] == pytest.approx(last["validation_mAP"])
    assert len({scores["mAP"] for scores in found.values()}) > 4, "each condition hides the queries in its own way"
    for name, scores in ((name, found[name]) for name in CONDITIONS):
        known = {"mask_auc", "side_accuracy", "scorer_side_accuracy"} & set(scores)
        assert name == "whole" or len(known) == (0 if name == "partial" else 3), name
    assert len({scores["num_query"] for scores in found.values()}) == 1


def test_shortcuts_are_told_from_masks() -> None:
    scores = {
        "objects": {"mask_auc": 85.0, "scorer_side_accuracy": 79.9, "side_accuracy": 10.0},
        "sharp strips": {"mask_auc": 56.0, "scorer_side_accuracy": 80.0, "side_accuracy": 90.0},
        "blurred strips": {"mask_auc": 99.0, "scorer_side_accuracy": 40.0, "side_accuracy": 20.0},
        "whole": {},
    }
    rows = [line.split() for line in judged_table(scores).splitlines()]
    assert rows[2:] == [
        ["objects", "85.0", "79.9", "10.0"],
        ["sharp", "strips", "56.0", "80.0", "90.0"],
        ["blurred", "strips", "99.0", "40.0", "20.0"],
        ["whole", "-", "-", "-"],
    ]
    assert judged_table({"whole": {}}) == ""
    assert judged_table({"objects": {"side_accuracy": 30.0}}).split()[-2:] == ["objects", "30.0"]


def test_objects_are_of_kinds_that_the_run_has_no_cut_outs_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in KINDS[1:]:
        (tmp_path / f"{kind}_left_0000.png").touch()
    assert _unseen_kinds(str(tmp_path)) == KINDS[:1]
    assert _unseen_kinds("") == KINDS
    (tmp_path / f"{KINDS[0]}_left_0000.png").touch()
    assert _unseen_kinds(str(tmp_path)) == KINDS
    assert "every kind of drawn object was trained on" in caplog.text


def test_a_scorer_is_calibrated_and_stored_with_the_weights(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.yaml", "model_best.pth"):
        shutil.copy(run / name, tmp_path / name)
    config, weights = str(tmp_path / "config.yaml"), str(tmp_path / "model_best.pth")
    matched = ["TEST.UNIFICATION", "matched"]
    assert load_encoder(config, weights, matched).unification.score_temperature == 0
    assert score(tmp_path, "--calibrate") == 0
    assert f"stored in {weights}" in capsys.readouterr().out
    fit = ScorerFit(**load_checkpoint(weights)["scorer_fit"])
    assert fit.score_temperature > 0
    loaded = load_encoder(config, weights, matched)
    assert loaded.unification.scoring == tuple(fit)
    assert loaded.model.options.half_threshold == fit.half_threshold
    assert load_encoder(config, weights, ["TEST.UNIFICATION", "typed"]).unification.scoring == tuple(ScorerFit())
    own = load_encoder(config, weights, [*matched, "MODEL.OAMN.HALF_THRESHOLD", "1.0"]).unification
    assert own.scoring == (fit.quarter_threshold, 1.0, fit.score_temperature)
    before, after = (load_checkpoint(folder / "model_best.pth")["model"] for folder in (run, tmp_path))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert score(tmp_path, "--calibrate", "MODEL.OAMN.MASK_MODULE", "False") == 2
    assert "does not fit" in capsys.readouterr().err


def test_options_of_testing_and_single_conditions(run: Path, tmp_path: Path) -> None:
    assert score(run, "--only", "partial", "--output", tmp_path / "unified") == 0
    assert score(run, "--only", "partial", "--output", tmp_path / "plain", "TEST.UNIFICATION", "none") == 0
    found = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("unified", "plain")]
    assert [list(one) for one in found] == [["partial", "partial, plain"], ["partial"]]
    assert found[0]["partial, plain"]["mAP"] == found[1]["partial"]["mAP"]
    assert (tmp_path / "plain" / "per_query" / "partial.npz").exists()
    note = json.loads((tmp_path / "plain" / "results_note.json").read_text())
    assert note == {"opts": ["TEST.UNIFICATION", "none"]}
    confidence = [np.load(tmp_path / name / "per_query" / "partial.npz")["confidence"] for name in ("unified", "plain")]
    assert len(confidence[0]) == len(confidence[1]) == found[0]["partial"]["num_query"]


def test_the_gallery_that_all_conditions_share_is_described_once_a_kind_of_matching(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = described_images(monkeypatch)
    only = ("--only", "partial", "--only", "whole")
    assert score(run, *only, "--output", tmp_path, "TEST.UNIFICATION", "matched") == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert list(found) == ["partial", "partial, plain", "whole", "whole, plain"]
    assert sum(described) == 2 * found["whole"]["num_gallery"]


def test_options_reach_the_test(run: Path, tmp_path: Path) -> None:
    assert score(run, "--only", "whole", "--output", tmp_path, "TEST.METRIC", "manhattan") == 2


@pytest.mark.parametrize("key", ["DATASETS.VALIDATION.SEED", "DATASETS.VALIDATION.NUM_IDS", "DATASETS.MAX_TRAIN_IDS"])
def test_nobody_that_was_trained_on_is_scored(key: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(run, key, "3") == 2
    assert f"{key} would change whom the run held out" in capsys.readouterr().err


def test_mistakes_are_one_message(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(run, "--only", "walls") == 2
    assert f"no condition 'walls': choose of {', '.join(CONDITIONS)}" in capsys.readouterr().err
    assert score(tmp_path) == 2
    assert "there is no configuration file" in capsys.readouterr().err
    text = (run / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("NUM_IDS: 4", "NUM_IDS: 0"))
    assert score(tmp_path) == 2
    assert "held out nobody: train with DATASETS.VALIDATION.NUM_IDS" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text(text)
    assert score(tmp_path) == 2
    assert "model_final.pth" in capsys.readouterr().err
