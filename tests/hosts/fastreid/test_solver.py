from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_fastreid import changed, tiny_config
from torch import Tensor, nn

from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.freeze import FreezeHook
from oamn_plugin.hosts.fastreid.solver import build_lr_scheduler, build_optimizer, merge_groups
from oamn_plugin.hosts.fastreid.trainer import EventStorage, Trainer
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.schedule import oamn_rate

OAMN_GROUPS = ("backbone", "mask", "scorer", "feat_bn", "classifier")


def batch(views: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    types = torch.tensor([0, 1, 2, 3, 4]) if views == 5 else torch.zeros(1, dtype=torch.long)
    return {
        "images": torch.rand(4 * views, 3, 64, 32, generator=generator) * 255,
        "targets": torch.tensor([0, 0, 1, 1]),
        "types": types.expand(4, views),
    }


def step(model: nn.Module, optimizer: torch.optim.Optimizer, views: int = 1) -> None:
    with EventStorage(0):
        losses = model.train()(batch(views))
    optimizer.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    optimizer.step()


@pytest.fixture
def oamn(tmp_path: Path) -> tuple[Any, nn.Module]:
    cfg = tiny_config("OAMN", tmp_path, tmp_path, SOLVER__BACKBONE_LR_FACTOR=0.1)
    cfg = changed(cfg, MODEL__HEADS__NUM_CLASSES=2)
    torch.manual_seed(0)
    return cfg, Trainer.build_model(cfg)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_step_changes_every_parameter_that_has_a_gradient(name: str, oamn: tuple[Any, nn.Module]) -> None:
    """Regression: the host's flat buffers lose their gradients under torch 2, and training is silently no training."""
    cfg, model = oamn
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    optimizer = build_optimizer(changed(cfg, SOLVER__OPT=name), model)
    step(model, optimizer, views=5)
    still = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    zero = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert set(still) <= set(zero)
    assert len(zero) < 5
    assert sum(map(len, (group["params"] for group in optimizer.param_groups))) == len(before)


def test_backbone_and_mask_learn_slower_than_the_head(oamn: tuple[Any, nn.Module]) -> None:
    cfg, model = oamn
    rates = {id(p): group["lr"] for group in build_optimizer(cfg, model).param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        head = name.startswith(("oamn.feat_bn.", "oamn.classifier."))
        assert rates[id(parameter)] == pytest.approx(0.01 if head else 0.001), name


def test_a_baseline_has_one_rate(tmp_path: Path) -> None:
    cfg = changed(tiny_config("bagtricks", tmp_path, tmp_path), MODEL__HEADS__NUM_CLASSES=2)
    groups = build_optimizer(changed(cfg, SOLVER__BACKBONE_LR_FACTOR=0.1), Trainer.build_model(cfg)).param_groups
    assert {group["lr"] for group in groups} == {0.01}


def test_groups_of_equal_settings_are_merged_in_order() -> None:
    a, b, c, d = (nn.Parameter(torch.tensor(float(i))) for i in range(4))
    groups = [
        {"params": [a], "lr": 0.1, "weight_decay": 0.0},
        {"params": [b], "lr": 0.2, "weight_decay": 0.0},
        {"params": [c], "weight_decay": 0.0, "lr": 0.1},
        {"params": [d], "lr": 0.1, "weight_decay": 0.5},
    ]
    merged = merge_groups(groups)
    assert [(g["lr"], g["weight_decay"], [p.item() for p in g["params"]]) for g in merged] == [
        (0.1, 0.0, [0.0, 2.0]),
        (0.2, 0.0, [1.0]),
        (0.1, 0.5, [3.0]),
    ]
    assert groups[0]["params"] == [a], "the given groups stay as they are"


def test_merged_groups_train_as_single_ones_do(tmp_path: Path) -> None:
    from oamn_plugin.hosts.fastreid.solver import get_default_optimizer_params

    cfg = changed(tiny_config("bagtricks", tmp_path, tmp_path), MODEL__HEADS__NUM_CLASSES=2)
    found = []
    for merge in (True, False):
        torch.manual_seed(0)
        model = Trainer.build_model(cfg)
        groups = get_default_optimizer_params(model, 0.01, 5e-4, weight_decay_norm=0.0)
        optimizer = torch.optim.SGD(merge_groups(groups) if merge else groups, momentum=0.9)
        for _ in range(2):
            step(model, optimizer)
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [*((e, 8e-4 * e / 10) for e in range(10)), (10, 0.1), (16, 0.1), (17, 1e-3), (23, 1e-3), (24, 1e-4), (29, 1e-4)],
)
def test_the_released_schedule(epoch: int, rate: float) -> None:
    assert 0.1 * oamn_rate(epoch) == pytest.approx(rate)


def test_the_schedule_stretches_with_the_run() -> None:
    assert [oamn_rate(e, 60) for e in (20, 33, 34, 47, 48)] == [1.0, 1.0, 0.01, 0.01, 0.001]


def test_the_schedule_reaches_the_optimiser_group_by_group(oamn: tuple[Any, nn.Module]) -> None:
    cfg = changed(oamn[0], SOLVER__SCHED="OAMNSteps", SOLVER__MAX_EPOCH=30, SOLVER__BASE_LR=0.1)
    optimizer = build_optimizer(cfg, oamn[1])
    schedule = build_lr_scheduler(cfg, optimizer, 5)["lr_sched"]
    seen = []
    for _ in range(30):
        seen.append(sorted({group["lr"] for group in optimizer.param_groups}))
        optimizer.step()
        schedule.step()
    assert seen[0] == [0.0]
    assert seen[12] == pytest.approx([0.01, 0.1])
    assert seen[25] == pytest.approx([1e-5, 1e-4])


@pytest.mark.parametrize("changes", [{"SOLVER__OPT": "Sgd"}, {"SOLVER__SCHED": "Steps"}])
def test_unknown_optimisers_and_schedules_are_an_error_without_preflight_too(changes: dict[str, str]) -> None:
    cfg, model = changed(load_config(), **changes), nn.Linear(2, 2)
    with pytest.raises(AttributeError, match=f"no attribute '{next(iter(changes.values()))}'"):
        build_lr_scheduler(cfg, build_optimizer(cfg, model), 5)


class TwoBranches(nn.Module):
    """``b1`` and ``b1_head``: the host's freezing by the beginning of names takes one for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.b1 = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.b1_head = nn.Linear(3, 1)


def frozen_run(first: int, last: int, clip: bool = False) -> tuple[list[bool], list[bool], list[bool]]:
    """For each step: did the frozen layer, its batch statistics and the head change?"""
    cfg = changed(load_config(), MODEL__FREEZE_LAYERS=["b1"], SOLVER__FREEZE_ITERS=3, SOLVER__OPT="SGD")
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = clip
    model = TwoBranches().train()
    optimizer = build_optimizer(cfg, model)
    hook = FreezeHook(model, optimizer, ["b1"], 3)
    hook.trainer = SimpleNamespace(iter=first)
    changes: tuple[list[bool], list[bool], list[bool]] = ([], [], [])
    watched = [model.b1[0].weight, model.b1[1].running_mean, model.b1_head.weight]
    for at in range(first, last):
        hook.trainer.iter = at
        model.train()  # as after a test in between
        hook.before_step()
        before = [one.detach().clone() for one in watched]
        optimizer.zero_grad()
        model.b1_head(model.b1(torch.randn(5, 3))).square().sum().backward()
        optimizer.step()
        for seen, old, new in zip(changes, before, watched, strict=True):
            seen.append(not torch.equal(old, new))
    return changes


@pytest.mark.parametrize("clip", [False, True])
def test_frozen_layers_rest_for_the_first_steps_and_only_they(clip: bool) -> None:
    weights, statistics, head = frozen_run(0, 5, clip)
    assert weights == [False, False, False, True, True]
    assert statistics == [False, False, False, True, True]
    assert all(head)


def test_a_resumed_run_does_not_freeze_anew() -> None:
    assert all(map(all, frozen_run(3, 5)))
    assert frozen_run(2, 4)[0] == [False, True]


def test_a_layer_that_is_not_there_is_answered_with_the_nearest() -> None:
    cfg = changed(load_config(), MODEL__FREEZE_LAYERS=["b1_heads"], SOLVER__FREEZE_ITERS=3)
    with pytest.raises(ConfigError, match=r"no layer 'b1_heads'\. Did you mean 'b1_head'"):
        build_optimizer(cfg, TwoBranches())
