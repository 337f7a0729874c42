"""Two gloo processes give what one gives: gradients up to summation order, scores to the bit; and all end together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from fastreid.utils.events import EventStorage
from tiny_fastreid import RESNET18, tiny_config
from torch import nn

from oamn_plugin.datasets.images import BadImageError
from oamn_plugin.hosts.fastreid.launch import ProcessDiedError, launch
from oamn_plugin.hosts.fastreid.main import set_seed
from oamn_plugin.hosts.fastreid.resume import leave_now
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.distributed import any_process, compute_as_one, gather, share
from oamn_plugin.signals import INTERRUPTED, answering

STEPS = 2
BATCHES = (5, 7, 100)  # uneven last batches; one batch for two processes
CASES: dict[str, dict[str, Any]] = {
    "OAMN": {"SOLVER__BASE_LR": 1e-3},
    "official": {"MODEL__OAMN__PRESET": "official", "MODEL__OAMN__DROPOUT": 0.0},
    "plus": {"MODEL__OAMN__PRESET": "plus", "MODEL__OAMN__POSITION_WEIGHT": 1.0},
    # Adam divides gradients by their own size, and MobileNetV2 has some that are 0 but for rounding
    "bagtricks": {**RESNET18, "INPUT__PIPELINE": "device", "INPUT__OCCLUSION__PROB": 0.5,
                  "MODEL__LOSSES__NAME": ["CrossEntropyLoss", "TripletLoss", "GroupedTripletLoss"]},
}  # fmt: skip


class DoubleTrainer(Trainer):
    """In float64, where a difference that is more than the order of a sum cannot hide."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_model(cfg).double()
        if hasattr(model, "preprocess_image"):  # the host normalises in place, in the precision of the images
            plain = model.preprocess_image
            model.preprocess_image = lambda batch: plain({"images": batch["images"].double()})
        return model


def config(name: str, root: Path, output: Path, **changes: Any) -> CfgNode:
    base = "bagtricks" if name == "bagtricks" else "OAMN"
    return set_seed(tiny_config(base, root, output, MODEL__CHANNELS_LAST=False, **CASES[name], **changes))


def train_steps(cfg: CfgNode) -> dict[str, torch.Tensor]:
    """Gradients of the last step, and weights and buffers after it."""
    trainer = DoubleTrainer(cfg)
    trainer._trainer.batches = iter(trainer.loader)
    with EventStorage(0) as storage:
        for step in range(STEPS):
            trainer._trainer.run(step)
        losses = {f"loss.{name}": torch.tensor(v.latest()) for name, v in storage.histories().items() if "loss" in name}
    parameters = dict(trainer.bare_model.named_parameters())
    gradients = {f"gradient.{name}": p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    return gradients | {k: v.clone() for k, v in trainer.bare_model.state_dict().items()} | losses


def score(cfg: CfgNode) -> OrderedDict[str, Any]:
    torch.manual_seed(1)
    return Trainer.test(cfg, Trainer.build_model(cfg))


def everything(root: Path, folder: Path) -> None:
    """What is compared, computed by however many processes there are."""
    for name in CASES:
        found = train_steps(config(name, root, folder / name))
        if comm.is_main_process():
            torch.save(found, folder / f"{name}.pt")
    for size in BATCHES:
        score(config("OAMN", root, folder / f"scores{size}", TEST__IMS_PER_BATCH=size, MODEL__HEADS__NUM_CLASSES=1))


def everything_and_an_error(root: Path, folder: Path) -> None:
    """An expected error of one process is the error of all, whatever the others die of."""
    everything(root, folder)
    comm.synchronize()
    if comm.get_rank() == 1:
        raise BadImageError("märz 1.jpg", "the file is empty")
    comm.synchronize()


@pytest.fixture(scope="module")
def folders(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    everything(embedded_root, one)
    # one launch for both: starting processes is what takes the time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oamn_plugin.hosts.fastreid.launch.GRACE", 1.0)  # process 0 waits for one that is gone
        with pytest.raises(ProcessDiedError, match=r"^cannot read the image 'märz 1.jpg': the file is empty$"):
            launch(everything_and_an_error, 2, "cpu", "auto", (embedded_root, two))
    return one, two


@pytest.mark.parametrize("name", CASES)
def test_training_steps_of_two_processes_are_those_of_one(name: str, folders: tuple[Path, Path]) -> None:
    one, two = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in folders)
    assert one.keys() == two.keys()
    assert sum(key.startswith("gradient.") for key in one) > 60
    for key, value in one.items():
        scale = max(1e-3, float(value.abs().max()))
        assert float((value - two[key]).abs().max()) <= 1e-7 * scale, key


@pytest.mark.parametrize("size", BATCHES)
def test_scores_of_two_processes_are_those_of_one_to_the_bit(size: int, folders: tuple[Path, Path]) -> None:
    one, two = (np.load(folder / f"scores{size}/per_query/OccludedPedestrians.npz") for folder in folders)
    assert len(one["ap"]) > 0
    for key in one.files:
        np.testing.assert_array_equal(one[key], two[key])


def test_one_process_needs_no_exchange() -> None:
    tree = {"a": torch.ones(2), "b": (None, [3])}
    assert gather(tree) is tree
    assert any_process(7) == 7
    assert share(8) == slice(0, 8)


def test_the_network_keeps_its_names_and_its_results_in_evaluation() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5)).eval()
    images = torch.randn(2, 3, 4, 4)
    before, names = model(images), list(model.state_dict())
    assert compute_as_one(model) == []
    assert torch.equal(model(images), before)
    assert list(model.state_dict()) == names
    assert isinstance(model[1], nn.BatchNorm2d)


class Own(nn.BatchNorm2d):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def test_norms_that_cannot_be_shared_are_named() -> None:
    assert compute_as_one(nn.Sequential(Own(3), nn.BatchNorm1d(3))) == ["0"]


@pytest.fixture
def _started_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process anew takes seconds, and how it starts is no matter here."""
    if os.name == "posix":
        monkeypatch.setattr("oamn_plugin.hosts.fastreid.launch.CONTEXT", multiprocessing.get_context("fork"))


def die() -> None:
    """Process 1 is killed while process 0 waits for it."""
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.synchronize()


@pytest.mark.usefixtures("_started_at_once")
def test_a_killed_process_ends_all_with_the_cause() -> None:
    with pytest.raises(ProcessDiedError, match="process 1 of 2 was ended by SIGKILL"):
        launch(die, 2, "cpu", "auto")


def wait_for_signal() -> None:
    with answering(leave_now):
        comm.synchronize()
        if comm.get_rank() == 0:
            os.kill(os.getppid(), signal.SIGTERM)
        while True:  # not signal.pause(), which misses a signal that comes just before it
            time.sleep(0.05)


@pytest.mark.usefixtures("_started_at_once")
def test_a_signal_to_the_parent_stops_all_with_the_exit_code() -> None:
    with pytest.raises(SystemExit) as caught:
        launch(wait_for_signal, 2, "cpu", "auto")
    assert caught.value.code == INTERRUPTED
