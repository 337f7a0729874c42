"""The command as a user types it."""

from __future__ import annotations

import importlib.util
import json
import signal
import time
from pathlib import Path

import pytest
import yaml
from run_tool import Result, run_tool, start_tool

if importlib.util.find_spec("torchreid") is None:
    pytest.skip("torchreid is not installed: pip install --no-deps torchreid==0.2.5", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/torchreid/oamn_osnet_x0_25.yml")


def options(root: Path, output: Path, **changes: object) -> list[str]:
    settings: dict[str, object] = {
        "data.root": root, "data.save_dir": output, "data.height": 64, "data.width": 32, "data.workers": 0,
        "embedded.size": "tiny", "train.batch_size": 8, "sampler.num_instances": 2, "train.max_epoch": 2,
        "train.print_freq": 2, "test.batch_size": 16,
    }  # fmt: skip
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    return [str(word) for pair in settings.items() for word in pair]


def train(*words: str) -> Result:
    return run_tool("train_torchreid.py", "--config-file", CONFIG, *words)


def test_train_resume_and_evaluate(embedded_root: Path, tmp_path: Path) -> None:
    steps = {"train__lr_scheduler": "multi_step"}  # which does not depend on max_epoch
    whole = train(*options(embedded_root, tmp_path / "whole", **steps))
    assert whole.code == 0, whole.err
    folder = tmp_path / "whole"
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["seed"] == 1
    assert "Results, in percent" in (folder / "log.txt").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert list(results) == ["OccludedPedestrians", "OccludedPedestriansHolistic"]

    half = train(*options(embedded_root, tmp_path / "parts", train__max_epoch=1, **steps))
    assert half.code == 0, half.err
    resumed = train("--resume", *options(embedded_root, tmp_path / "parts", **steps))
    assert resumed.code == 0, resumed.err
    assert "Resumed after epoch 1 of 2" in resumed.out
    used = (tmp_path / "parts" / "config.yaml").read_bytes()
    for changes, message in (
        ({"train__max_epoch": 1, **steps}, "has trained 2 epochs, more than train.max_epoch 1"),
        ({"train__max_epoch": 3, **steps, "train__lr": 0.5}, "another plan of its learning rate (base_lrs"),
    ):
        refused = train("--resume", *options(embedded_root, tmp_path / "parts", **changes))
        assert (refused.code, message in refused.err) == (2, True), refused.err
    assert (tmp_path / "parts" / "config.yaml").read_bytes() == used
    found = json.loads((tmp_path / "parts" / "results.json").read_text())
    assert found["OccludedPedestrians"]["mAP"] == results["OccludedPedestrians"]["mAP"]

    weights = {"model__load_weights": folder / "model_final.pth", "data__targets": "['OccludedPedestrians']"}
    tested = train("--eval-only", *options(embedded_root, tmp_path / "test", **weights))
    assert tested.code == 0, tested.err
    found = json.loads((tmp_path / "test" / "results.json").read_text())
    assert list(found) == ["OccludedPedestrians"]
    assert found["OccludedPedestrians"]["mAP"] == results["OccludedPedestrians"]["mAP"]
    assert not (tmp_path / "test" / "model_final.pth").exists()


def test_a_full_disk_was_a_traceback(embedded_root: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # less than a checkpoint takes
    try:
        done = train(*options(embedded_root, tmp_path / "run", train__max_epoch=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 2
    assert "cannot write" in done.err
    assert "File too large" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_stopped_run_says_how_to_go_on(embedded_root: Path, tmp_path: Path) -> None:
    words = ["--config-file", CONFIG, *options(embedded_root, tmp_path / "run", train__max_epoch=500)]
    running = start_tool(tmp_path, "train_torchreid.py", *words)
    while not list((tmp_path / "run" / "checkpoints").glob("*.pth")) and running.alive:
        time.sleep(0.1)
    running.send(signal.SIGTERM)
    done = running.result()
    assert done.code == 75, done.err
    assert f"go on with --resume, such as oamn train {tmp_path / 'run' / 'config.yaml'} --resume" in done.err
    assert "Traceback" not in done.err


def test_wrong_words_are_one_message_and_exit_code_2(embedded_root: Path, tmp_path: Path) -> None:
    for changes, message in (
        (
            {"train__max_epochs": 1},
            "unknown key 'train.max_epochs' on the command line. Did you mean",
        ),
        ({"model__name": "oamn_osnet_x2_5"}, "model.name: there is no 'oamn_osnet_x2_5'. Did you mean"),
    ):
        done = train(*options(embedded_root, tmp_path, **changes))
        assert done.code == 2
        assert done.err.startswith("oamn train: ")
        assert message in done.err
        assert len(done.err.strip().splitlines()) == 1
