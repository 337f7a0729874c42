from __future__ import annotations

from typing import Any

import pytest
import torch

from oamn_plugin.losses import OAMNObjective
from oamn_plugin.modeling import OAMN

TYPES = {
    2: torch.tensor([[0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [0, 1, 2, 3, 4], [0, 5, 6, 7, 8]]),
    1: torch.tensor([[0, 1, 2], [0, 3, 4], [0, 5, 6], [0, 7, 8]]),
    0: torch.tensor([[0], [1], [5], [0]]),
}
PIDS = torch.tensor([0, 0, 1, 1])
BACKBONE, MASK, SCORER, HEAD = "encoder_low encoder_high", "mask", "scorer", "feat_bn classifier"
ROUTES = {
    "loss_identity": f"{BACKBONE} {MASK} {HEAD}",
    "loss_triplet": f"{BACKBONE} {MASK}",
    "loss_mask1": MASK,
    "loss_mask2": MASK,
    "loss_position": MASK,
    "loss_score": SCORER,
}
FIVE_LOSSES = ["loss_identity", "loss_triplet", "loss_mask1", "loss_mask2", "loss_score"]


def step(**options: Any) -> tuple[OAMN, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = OAMN("mobilenet_v2", 2, (64, 32), **options)
    torch.nn.init.normal_(model.classifier.weight)  # its own start is so small that gradients through it vanish
    types = TYPES[model.options.axes]
    output = model(torch.randn(types.numel(), 3, 64, 32))
    return model, OAMNObjective(model.options)(output, PIDS, types)


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("preset", ["paper", "official", "plus"])
def test_each_loss_reaches_exactly_what_it_may(name: str, preset: str) -> None:
    model, losses = step(preset=preset, position_weight=1.0, triplet_margin=50.0, dropout=0.0)
    losses[name].backward()
    reached = {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    nothing_to_compare = preset == "plus" and name in ("loss_mask1", "loss_mask2")  # one view an image
    assert reached == (set() if nothing_to_compare else set(ROUTES[name].split()))
    if name == "loss_score":
        assert all(p.grad is not None for p in model.scorer.parameters())


def test_one_backward_reaches_every_parameter() -> None:
    model, losses = step(preset="paper", dropout=0.0)
    assert list(losses) == FIVE_LOSSES
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_weights_scale_their_loss() -> None:
    base, changed = step(dropout=0.0)[1], {}
    for name in FIVE_LOSSES:
        key = name.removeprefix("loss_") + "_weight"
        model, changed = step(dropout=0.0, **{key: 0.25})
        default = getattr(type(model.options)(), key)
        assert changed[name].item() == pytest.approx(base[name].item() * 0.25 / default, rel=1e-5)
        assert all(torch.equal(changed[other], base[other]) for other in FIVE_LOSSES if other != name)


def test_options_reach_their_losses() -> None:
    for options, name in (
        ({"triplet_grouping": "plain"}, "loss_triplet"),
        ({"triplet_margin": 3.0}, "loss_triplet"),
        ({"label_smoothing": 0.1}, "loss_identity"),
        ({"triplet_form": "soft"}, "loss_triplet"),
        ({"mask2_over_half_only": False}, "loss_mask2"),
        ({"score_targets": "official"}, "loss_score"),
    ):
        base, changed = step(dropout=0.0)[1], step(dropout=0.0, **options)[1]
        assert [key for key in FIVE_LOSSES if not torch.equal(base[key], changed[key])] == [name]


def test_without_mask_module_its_losses_vanish() -> None:
    _, losses = step(mask_module=False, position_weight=1.0)
    assert list(losses) == ["loss_identity", "loss_triplet"]


def test_autocast_keeps_losses_in_single_precision() -> None:
    model = OAMN("mobilenet_v2", 2, (64, 32), dropout=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = OAMNObjective(model.options)(model(torch.randn(20, 3, 64, 32)), PIDS, TYPES[2])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()


def test_mistakes_are_named() -> None:
    model = OAMN("mobilenet_v2", 0, (64, 32))
    output = model(torch.randn(20, 3, 64, 32))
    with pytest.raises(ValueError, match="num_classes above 0"):
        OAMNObjective(model.options)(output, PIDS, TYPES[2])
    with pytest.raises(ValueError, match="20 views, types 4 images in 3 views"):
        OAMNObjective(model.options)(output, PIDS, TYPES[1])
