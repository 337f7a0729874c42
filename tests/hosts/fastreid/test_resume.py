"""A run that is stopped anywhere and resumed ends as if nothing had happened; damaged checkpoints are passed over."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from fastreid.config import CfgNode
from run_checks import assert_same_run
from tiny_fastreid import tiny_config

from oamn_plugin.hosts.fastreid.main import set_seed
from oamn_plugin.hosts.fastreid.resume import CheckpointHook, HookBase
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.checkpoint import load_newest, save_step, step_files
from oamn_plugin.hosts.shared.errors import BadLossError, CheckpointError, ConfigError
from oamn_plugin.signals import INTERRUPTED

SMALL = {
    "MODEL__BACKBONE__NAME": "build_mobilenetv2_backbone", "MODEL__BACKBONE__DEPTH": "0.1x",
    "MODEL__BACKBONE__FEAT_DIM": 1280, "SOLVER__MAX_EPOCH": 2, "SOLVER__IMS_PER_BATCH": 8,
    "SOLVER__CHECKPOINT_STEPS": 2, "SOLVER__LOG_PERIOD": 1, "DATASETS__VALIDATION__NUM_IDS": 4, "TEST__EVAL_PERIOD": 1,
}  # fmt: skip


def config(root: Path, output: Path, **changes: Any) -> CfgNode:
    return set_seed(tiny_config("OAMN", root, output, **(SMALL | changes)))


class Killed(BaseException):
    """Nothing catches it: what is not on disk by then is lost, as with SIGKILL."""


class KillHook(HookBase):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self) -> None:
        if self.trainer.iter + 1 == self.step:
            raise Killed


@pytest.fixture(scope="module")
def reference(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    Trainer(config(embedded_root, folder)).train()
    return folder


@pytest.mark.parametrize("steps", [[1], [4], [5, 7]], ids=str)
def test_killed_and_resumed_is_uninterrupted_to_the_bit(
    steps: list[int], reference: Path, embedded_root: Path, tmp_path: Path
) -> None:
    for number, step in enumerate(steps):
        trainer = Trainer(config(embedded_root, tmp_path), resume=number > 0)
        trainer.register_hooks([KillHook(step)])
        with pytest.raises(Killed):
            trainer.train()
    resumed = Trainer(config(embedded_root, tmp_path), resume=True)
    assert resumed.start_step <= steps[-1]
    resumed.train()
    assert_same_run(tmp_path, reference)


def test_a_drawn_seed_is_kept_and_other_batches_or_models_are_refused(embedded_root: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(embedded_root, tmp_path, SEED=-1))
    trainer.register_hooks([KillHook(3)])
    with pytest.raises(Killed):
        trainer.train()
    drawn = trainer.cfg.SEED
    again = Trainer(
        set_seed(tiny_config("OAMN", embedded_root, tmp_path, **(SMALL | {"SEED": -1})), resume=True), resume=True
    )
    assert drawn == again.loader.cfg.SEED
    with pytest.raises(ConfigError, match=f"another seed, data or batches .seed {drawn} then, {drawn + 1} now"):
        Trainer(config(embedded_root, tmp_path, SEED=drawn + 1), resume=True)
    same = {"SEED": drawn}
    with pytest.raises(ConfigError, match="batch 8 then, 4 now"):
        Trainer(config(embedded_root, tmp_path, SOLVER__IMS_PER_BATCH=4, **same), resume=True)
    with pytest.raises(CheckpointError, match="of another model"):
        Trainer(config(embedded_root, tmp_path, MODEL__OAMN__HEAD="bnneck", **same), resume=True)
    state = load_newest(tmp_path)
    assert state is not None
    for key, message in (("optimizer", "it lacks optimizer"), ("random", "it lacks random")):
        save_step(tmp_path, 9, {name: value for name, value in state.items() if name != key}, keep=1)
        with pytest.raises(CheckpointError, match=message):
            Trainer(config(embedded_root, tmp_path, **same), resume=True)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=lambda sign: sign.name)
def test_a_signal_is_answered_at_the_end_of_the_step_and_given_back(
    sign: signal.Signals, reference: Path, embedded_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Signal(HookBase):
        def after_step(self) -> None:
            os.kill(os.getpid(), sign)

    before = signal.getsignal(sign)
    trainer = Trainer(config(embedded_root, tmp_path))
    trainer._hooks.insert(0, Signal())
    logging.getLogger("fastreid.oamn").propagate = True
    with caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as caught:
        trainer.train()
    assert caught.value.code == INTERRUPTED == 75
    words = f"go on with --resume, such as oamn train {tmp_path}/config.yaml --resume. Exit code 75"
    assert f"{sign.name}: the state is saved; {words}" in caplog.text
    assert load_newest(tmp_path)["step"] == 1  # type: ignore[index]
    assert signal.getsignal(sign) is before
    Trainer(config(embedded_root, tmp_path, DATALOADER__NUM_WORKERS=1), resume=True).train()
    assert_same_run(tmp_path, reference)


def test_a_fresh_start_moves_an_earlier_run_aside(embedded_root: Path, tmp_path: Path) -> None:
    save_step(tmp_path, 9000, {"step": 9000}, keep=2)
    (tmp_path / "metrics.json").write_text('{"iteration": 8999}\n')
    Trainer(config(embedded_root, tmp_path))
    assert step_files(tmp_path) == []
    assert load_newest(tmp_path / "before_1") == {"step": 9000}
    assert (tmp_path / "before_1" / "metrics.json").exists()


# numbers


class Poison(HookBase):
    """Spoils one parameter before a step: its NaN reaches the loss, or its huge value the gradient alone."""

    def __init__(self, step: int, value: float) -> None:
        self.step, self.value = step, value

    def before_step(self) -> None:
        if self.trainer.iter + 1 == self.step:
            self.trainer.bare_model.oamn.classifier.bias.data[0] = self.value


def test_nan_stops_within_the_step_and_names_terms_images_and_the_last_good_checkpoint(
    embedded_root: Path, tmp_path: Path
) -> None:
    trainer = Trainer(config(embedded_root, tmp_path))
    trainer.register_hooks([Poison(4, float("nan"))])
    with pytest.raises(BadLossError) as caught:
        trainer.train()
    told = str(caught.value)
    assert "the loss is no finite number at step 4: loss_identity nan, loss_triplet " in told
    assert told.count(".jpg") == 8
    assert told.splitlines()[-1] == f"Last good checkpoint: {tmp_path}/checkpoints/step_00000002.pth"
    assert trainer.iter == 3


def test_a_gradient_that_is_not_finite_stops_before_it_is_applied(embedded_root: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(embedded_root, tmp_path))
    trainer.bare_model.oamn.classifier.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = trainer.bare_model.oamn.classifier.bias.clone()
    with pytest.raises(
        BadLossError, match=r"gradient of the loss is no finite number at step 1.*\n(.*\n)*No checkpoint"
    ):
        trainer.train()
    assert torch.equal(trainer.bare_model.oamn.classifier.bias, before)


@pytest.mark.parametrize("base", ["OAMN", "bagtricks"])
def test_a_batch_of_one_identity_trains_on(base: str, embedded_root: Path, tmp_path: Path) -> None:
    changes = {"SOLVER__IMS_PER_BATCH": 4, "DATALOADER__NUM_INSTANCE": 4, "DATASETS__VALIDATION__NUM_IDS": 10}
    backbone = {key: value for key, value in SMALL.items() if "BACKBONE" in key} if base == "OAMN" else {}
    cfg = set_seed(tiny_config(base, embedded_root, tmp_path, **(backbone | changes)))
    trainer = Trainer(cfg)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    triplet = [value for line in lines for key, value in line.items() if key in ("loss_triplet", "loss_triplet_0")]
    assert triplet
    assert set(triplet) == {0.0}


def test_the_hook_survives_an_end_before_it_began() -> None:
    CheckpointHook().after_train()
