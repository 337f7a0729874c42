"""Whole runs through the adapter, small: they train, repeat to the bit, resume to the bit and choose on validation."""

from __future__ import annotations

import json
import logging
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_fastreid import CONFIGS, tiny_config

from oamn_plugin.hosts.fastreid.main import main, set_seed
from oamn_plugin.hosts.fastreid.trainer import Trainer, hooks
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, step_files
from oamn_plugin.hosts.shared.errors import BadLossError, CheckpointError, ConfigError

GROUPED = ["CrossEntropyLoss", "TripletLoss", "GroupedTripletLoss"]
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "oamn": ("OAMN", {}),
    "oamn_official": ("OAMN", {"MODEL__OAMN__PRESET": "official"}),
    "oamn_plus": ("OAMN", {"MODEL__OAMN__PRESET": "plus"}),
    "oamn_bfloat16": ("OAMN", {"SOLVER__AMP__ENABLED": True}),
    "bagtricks": ("bagtricks", {}),
    "bagtricks_bfloat16": ("bagtricks", {"SOLVER__AMP__ENABLED": True}),
    "bagtricks_occlusion": ("bagtricks", {"INPUT__OCCLUSION__PROB": 0.5, "MODEL__LOSSES__NAME": GROUPED}),
    "sbs": ("SBS", {"SOLVER__FREEZE_ITERS": 2, "SOLVER__DELAY_EPOCHS": 1, "SOLVER__WARMUP_ITERS": 4}),
}


class KilledError(Exception):
    """The machine went down."""


class Kill(hooks.HookBase):
    """Raises after a step, before anything else of that step is done."""

    trainer: Any

    def __init__(self, after: int) -> None:
        self.after = after

    def after_step(self) -> None:
        if self.trainer.iter + 1 == self.after:
            raise KilledError


def config(name: str, root: Path, output: Path, **changes: Any) -> Any:
    base, settings = SETTINGS[name]
    return tiny_config(base, root, output, **{**settings, "SOLVER__MAX_EPOCH": 2, **changes})


def arguments(**changes: Any) -> Namespace:
    return Namespace(**{"config_file": "", "resume": False, "eval_only": False, "opts": [], **changes})


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(output / "model_final.pth")["model"]


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]


def assert_equal_to_the_bit(first: Path, second: Path) -> None:
    one, other = final_weights(first), final_weights(second)
    assert set(one) == set(other)
    different = [key for key in one if not torch.equal(one[key], other[key])]
    assert not different
    scores = [json.loads((folder / "results.json").read_text()) for folder in (first, second)]
    for results in scores:
        for entry in results.values():
            entry.pop("seconds_per_1000_gallery")
    assert scores[0] == scores[1]


@pytest.fixture(scope="module")
def bagtricks(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of one epoch and six steps, with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("bagtricks")
    changes = {"SOLVER__CHECKPOINT_STEPS": 1, "SOLVER__CHECKPOINT_KEEP": 3, "SOLVER__MAX_EPOCH": 1}
    main(arguments(), config("bagtricks", embedded_root, folder, **changes))
    return folder


@pytest.fixture
def trained(bagtricks: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(bagtricks, tmp_path / "trained"))


@pytest.mark.parametrize("name", ["oamn", "oamn_bfloat16", "bagtricks", "bagtricks_bfloat16", "bagtricks_occlusion"])
def test_a_run_repeats_to_the_bit_and_its_scores_come_again(name: str, embedded_root: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        main(arguments(), config(name, embedded_root, tmp_path / run, SOLVER__LOG_PERIOD=1, SOLVER__MAX_EPOCH=1))
    assert_equal_to_the_bit(tmp_path / "a", tmp_path / "b")
    assert {"config.yaml", "log.txt", "metrics.json", "results.json"} <= {p.name for p in (tmp_path / "a").iterdir()}
    found = lines(tmp_path / "a")
    losses = [key for key in found[0] if key.startswith("loss_")]
    assert len(losses) == {"oamn": 5, "bagtricks": 2, "bagtricks_occlusion": 3}[name.removesuffix("_bfloat16")]
    assert all(np.isfinite(line[key]) for line in found for key in losses)
    weights = str(tmp_path / "a" / "model_final.pth")
    cfg = config(name, embedded_root, tmp_path / "again", MODEL__WEIGHTS=weights)
    again = main(arguments(eval_only=True), cfg)
    before = json.loads((tmp_path / "a" / "results.json").read_text())
    for key in ("Rank-1", "mAP", "mAP_trapezoid", "mINP", "query_types"):
        assert again["OccludedPedestrians"][key] == before["OccludedPedestrians"][key]


def test_another_seed_gives_another_run(bagtricks: Path, embedded_root: Path, tmp_path: Path) -> None:
    main(arguments(), config("bagtricks", embedded_root, tmp_path, SEED=7, SOLVER__MAX_EPOCH=1))
    first, second = final_weights(bagtricks), final_weights(tmp_path)
    name = "backbone.features.0.0.weight"
    assert not torch.equal(first[name], second[name])


@pytest.mark.parametrize(("name", "kills"), [("oamn", [8]), ("bagtricks_occlusion", [3]), ("sbs", [6, 8])])
def test_a_killed_run_resumes_to_the_bit(name: str, kills: list[int], embedded_root: Path, tmp_path: Path) -> None:
    """Six steps an epoch, a checkpoint every second step: inside the first epoch, the second, and at their border."""
    changes = {"SOLVER__CHECKPOINT_STEPS": 2, "SOLVER__LOG_PERIOD": 1}
    main(arguments(), config(name, embedded_root, tmp_path / "whole", **changes))
    whole = {line["iteration"]: line["lr"] for line in lines(tmp_path / "whole")}
    assert len(whole) == 12
    for last in kills:
        cfg = config(name, embedded_root, tmp_path / str(last), **changes)
        trainer = Trainer(set_seed(cfg))
        trainer.register_hooks([Kill(last + 1)])
        with pytest.raises(KilledError):
            trainer.train()
        torch.rand(7), np.random.rand(7)  # noqa: NPY002 another process would start anywhere
        main(arguments(resume=True), cfg)
        assert_equal_to_the_bit(tmp_path / "whole", tmp_path / str(last))
        assert whole == {line["iteration"]: line["lr"] for line in lines(tmp_path / str(last))}


def test_resuming_what_is_done_only_tests(trained: Path, embedded_root: Path) -> None:
    before = final_weights(trained)
    main(arguments(resume=True), config("bagtricks", embedded_root, trained, SOLVER__MAX_EPOCH=1))
    assert all(torch.equal(value, before[key]) for key, value in final_weights(trained).items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SOLVER__MAX_EPOCH": 4}, r"another plan of its learning rate \(T_max"),
        ({"SOLVER__MAX_EPOCH": 1, "SOLVER__SCHED": "MultiStepLR"}, r"\(schedule CosineAnnealingLR then, MultiStepLR now"),
        ({"SOLVER__MAX_EPOCH": 1, "SOLVER__BASE_LR": 0.5}, r"another plan of its learning rate \(.*base_lrs"),
    ],
)
def test_a_finished_run_went_on_at_a_rate_of_0(
    changes: dict[str, Any], message: str, trained: Path, embedded_root: Path
) -> None:
    """Its cosine schedule was at its end: nothing was learned in the epochs that were added."""
    before, used = final_weights(trained), (trained / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=message):
        main(arguments(resume=True), config("bagtricks", embedded_root, trained, **changes))
    assert all(torch.equal(value, before[key]) for key, value in final_weights(trained).items())
    assert (trained / "config.yaml").read_bytes() == used


def test_resuming_another_batch_size_is_refused(trained: Path, embedded_root: Path) -> None:
    with pytest.raises(ConfigError, match="batch 8 then, 16 now"):
        main(arguments(resume=True), config("bagtricks", embedded_root, trained, SOLVER__IMS_PER_BATCH=16))


@pytest.mark.parametrize("name", ["oamn_official", "oamn_plus", "sbs"])
def test_the_other_readings_and_recipes_train(name: str, embedded_root: Path, tmp_path: Path) -> None:
    main(arguments(), config(name, embedded_root, tmp_path, SOLVER__MAX_EPOCH=1))
    assert json.loads((tmp_path / "results.json").read_text())["OccludedPedestrians"]["num_query"] == 12


def test_the_best_is_chosen_on_held_out_training_identities(embedded_root: Path, tmp_path: Path) -> None:
    changes = {"DATASETS__VALIDATION__NUM_IDS": 4, "TEST__EVAL_PERIOD": 1}
    cfg = config("oamn", embedded_root, tmp_path, SOLVER__LOG_PERIOD=1, **changes)
    trainer = Trainer(set_seed(cfg))
    held = trainer.held_out
    assert {r.pid for r in held.query} == {r.pid for r in held.gallery}
    assert len({r.pid for r in held.query}) == 4
    assert not {r.pid for r in held.query} & {r.pid for r in held.train}
    assert "bounding_box_train" in held.query[0].path
    assert "bounding_box_train" in held.gallery[0].path
    trainer.train()
    scored = [line for line in lines(tmp_path) if "validation_mAP" in line]
    assert len(scored) == 2
    values = [(line["validation_rank1"] + line["validation_mAP"]) / 2 for line in scored]
    assert trainer.best["epoch"] == int(np.argmax(values))
    assert trainer.best["score"] == pytest.approx(max(values))
    best = load_checkpoint(tmp_path / "model_best.pth")["model"]
    tested = trainer.bare_model.state_dict()
    assert all(torch.equal(best[key], tested[key]) for key in best), "the weights that are tested are the chosen ones"
    note = json.loads((tmp_path / "results_note.json").read_text())
    assert "best on held-out training identities" in note["weights"]


def test_without_held_out_identities_the_last_epoch_is_tested(embedded_root: Path, tmp_path: Path) -> None:
    main(arguments(), config("bagtricks", embedded_root, tmp_path, TEST__EVAL_PERIOD=1))
    assert not (tmp_path / "model_best.pth").exists()
    assert json.loads((tmp_path / "results_note.json").read_text())["weights"] == "last epoch (2)"


def test_the_newest_checkpoints_are_kept_and_a_damaged_one_is_passed_over(trained: Path, embedded_root: Path) -> None:
    files = step_files(trained)
    assert [int(path.stem.split("_")[1]) for path in files] == [6, 5, 4]
    before = final_weights(trained)
    files[0].write_bytes(files[0].read_bytes()[:-100])
    main(arguments(resume=True), config("bagtricks", embedded_root, trained, SOLVER__MAX_EPOCH=1))
    assert all(torch.equal(value, before[key]) for key, value in final_weights(trained).items())


def test_an_evaluation_in_the_folder_of_a_training_overwrote_what_the_training_used(
    trained: Path, embedded_root: Path
) -> None:
    """A suite then took the run for another configuration's and trained it again."""
    before, told = (trained / "config.yaml").read_bytes(), Told()
    weights = {"MODEL__WEIGHTS": str(trained / "model_final.pth"), "TEST__CHUNK_SIZE": 7}
    logging.getLogger("fastreid").addHandler(told)
    main(arguments(eval_only=True), config("bagtricks", embedded_root, trained, **weights))
    logging.getLogger("fastreid").removeHandler(told)
    assert (trained / "config.yaml").read_bytes() == before
    assert "CHUNK_SIZE: 7" in (trained / "test_config.yaml").read_text()
    assert "".join(told.texts).count("MAX_EPOCH:") == 1, "the configuration was logged twice"


class Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_weights_of_another_model_are_refused_with_what_differs(
    bagtricks: Path, embedded_root: Path, tmp_path: Path
) -> None:
    cfg = config("oamn", embedded_root, tmp_path, MODEL__WEIGHTS=str(bagtricks / "model_final.pth"))
    with pytest.raises(CheckpointError, match="does not"):
        main(arguments(eval_only=True), cfg)


def test_a_loss_that_is_no_number_stops_the_run_at_once(embedded_root: Path, tmp_path: Path) -> None:
    trainer = Trainer(set_seed(config("bagtricks", embedded_root, tmp_path)))
    with torch.no_grad():
        trainer.bare_model.heads.weight.fill_(float("nan"))
    with pytest.raises(BadLossError, match=r"loss_cls nan(.|\n)*bounding_box_train"):
        trainer.train()


def test_freezing_follows_the_configuration(embedded_root: Path, tmp_path: Path) -> None:
    cfg = config("sbs", embedded_root, tmp_path, SOLVER__FREEZE_ITERS=6, SOLVER__MAX_EPOCH=1)
    trainer = Trainer(set_seed(cfg))
    before = {key: value.clone() for key, value in trainer.bare_model.state_dict().items()}
    trainer.train()
    for key, value in trainer.bare_model.state_dict().items():
        if key.startswith("backbone."):
            assert torch.equal(value, before[key]), key
    assert not torch.equal(trainer.bare_model.heads.weight, before["heads.weight"])


def test_the_configurations_named_here_exist() -> None:
    assert all((CONFIGS / f"Base-{base}.yml").exists() for base, _ in SETTINGS.values())
