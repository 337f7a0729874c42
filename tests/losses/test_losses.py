"""Each loss against loops over the formulas, for two dtypes, with backward."""

from __future__ import annotations

import math

import pytest
import torch

from oamn_plugin.losses import (
    GroupedTripletLoss,
    MaskConsistencyLoss,
    OcclusionScoreLoss,
    PositionLoss,
    coverage,
    groups_of,
)
from oamn_plugin.losses.circle import MARGIN, SCALE, circle_logits
from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES, TYPE_INDEX, split_type

DTYPES = [torch.float32, torch.float64]
FIVE = torch.tensor([[0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [0, 1, 2, 3, 4]])
THREE = torch.tensor([[0, 1, 2], [0, 7, 8], [0, 3, 4], [0, 5, 6]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def side_of(index: int) -> str:
    return split_type(OCCLUSION_TYPES[index])[0]


def area_of(index: int) -> str:
    return split_type(OCCLUSION_TYPES[index])[1]


def naive_triplet(embeddings: torch.Tensor, pids: list[int], groups: list[int], margin: float) -> float:
    points, losses = embeddings.tolist(), []
    for group in sorted(set(groups)):
        hinges = []
        members = [i for i, g in enumerate(groups) if g == group]
        for anchor in members:
            positives = [
                math.dist(points[anchor], points[j]) for j in members if j != anchor and pids[j] == pids[anchor]
            ]
            negatives = [math.dist(points[anchor], points[j]) for j in members if pids[j] != pids[anchor]]
            if positives and negatives:
                hinges.append(max(0.0, max(positives) - min(negatives) + margin))
        losses.append(sum(hinges) / len(hinges) if hinges else 0.0)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grouping", ["grouped", "plain"])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_triplet(dtype: torch.dtype, grouping: str, offset: float) -> None:
    embeddings = (torch.randn(30, 6, dtype=dtype) + offset).requires_grad_()
    pids, groups = torch.randint(0, 4, (30,)), torch.randint(0, 5, (30,))
    loss = GroupedTripletLoss(0.5, grouping)(embeddings, pids, groups)
    wanted = naive_triplet(embeddings, pids.tolist(), (groups if grouping == "grouped" else groups * 0).tolist(), 0.5)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    loss.backward()
    assert embeddings.grad.abs().sum() > 0


def test_triplet_gradient_is_that_of_the_formula() -> None:
    embeddings = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    pids, groups = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda e: GroupedTripletLoss(5.0)(e, pids, groups), embeddings)


@pytest.mark.parametrize("loss", [GroupedTripletLoss(), GroupedTripletLoss(grouping="plain")])
def test_no_triplet_gives_zero_that_still_runs_backward(loss: torch.nn.Module) -> None:
    for pids in (torch.zeros(4, dtype=torch.long), torch.arange(4)):
        embeddings = torch.randn(4, 3, requires_grad=True)
        value = loss(embeddings, pids, torch.zeros(4, dtype=torch.long))
        assert value == 0
        value.backward()
        assert embeddings.grad.abs().sum() == 0


def test_coinciding_points_have_a_finite_gradient() -> None:
    embeddings = torch.ones(6, 4, requires_grad=True)
    loss = GroupedTripletLoss(0.5)(embeddings, torch.tensor([0, 0, 0, 1, 1, 1]), torch.zeros(6, dtype=torch.long))
    assert loss.item() == pytest.approx(0.5)
    loss.backward()
    assert embeddings.grad.isfinite().all()


def naive_mask_losses(
    f: torch.Tensor, m: torch.Tensor, types: list[list[int]], half_only: bool, floor: float
) -> tuple[float, float]:
    images, factor = len(types), 4 / (len(types[0]) - 1)
    mask1, mask2, halves = 0.0, 0.0, 0
    for b, row in enumerate(types):
        for v in range(1, len(row)):
            mask1 += ((f[b, 0] - f[b, v]) * m[b, v]).square().mean().item() / images
        if area_of(row[1]) != "half":
            continue
        halves += 1
        g = {side_of(t): f[b, v] * (floor + m[b, v]) for v, t in enumerate(row) if t}
        whole = f[b, 0] * (floor + m[b, 0])
        for one, other in (("left", "right"), ("top", "bottom")):
            if one in g:
                mask2 += (g[one] + g[other] - whole).square().mean().item()
    return factor * mask1, factor * mask2 / max(halves if half_only else images, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("types", [FIVE, THREE, FIVE.flip(0), FIVE[:, [0, 4, 2, 3, 1]], torch.tensor([[0, 5, 6]])])
@pytest.mark.parametrize(("half_only", "floor"), [(True, 0.0), (False, 0.0), (True, 0.5)])
def test_mask_losses(dtype: torch.dtype, types: torch.Tensor, half_only: bool, floor: float) -> None:
    features = torch.randn(*types.shape, 3, 4, 2, dtype=dtype, requires_grad=True)
    masks = torch.rand(*types.shape, 1, 4, 2, dtype=dtype, requires_grad=True)
    losses = MaskConsistencyLoss(half_only, floor)(features, masks, types)
    wanted = naive_mask_losses(features, masks, types.tolist(), half_only, floor)
    assert [loss.item() for loss in losses] == pytest.approx(list(wanted), rel=1e-5)
    assert losses[0].dtype == dtype
    sum(losses).backward()
    assert features.grad is None
    assert masks.grad.abs().sum() > 0


def test_three_views_have_the_expectation_of_five() -> None:
    features, masks = torch.randn(1, 5, 3, 4, 2), torch.rand(1, 5, 1, 4, 2)
    logits, types, total = torch.randn(1, 5, 4), FIVE[:1], torch.zeros(4)
    for pair in ([0, 1, 2], [0, 3, 4]):  # each axis with probability one half
        mask = MaskConsistencyLoss()(features[:, pair], masks[:, pair], types[:, pair])
        scores = [OcclusionScoreLoss(targets)(logits[:, pair], types[:, pair]) for targets in ("paper", "official")]
        total += torch.stack([*mask, *scores]) / 2
    scores = [OcclusionScoreLoss(targets)(logits, types) for targets in ("paper", "official")]
    torch.testing.assert_close(total, torch.stack([*MaskConsistencyLoss()(features, masks, types), *scores]))


def naive_score(logits: torch.Tensor, types: list[list[int]], targets: str) -> float:
    images, factor, total = len(types), 4 / (len(types[0]) - 1), 0.0
    for b, row in enumerate(types):
        for v, index in enumerate(row):
            p = logits[b, v].softmax(0).tolist()
            if index == 0:
                error = sum((x - 0.25) ** 2 for x in p) / 5 if targets == "paper" else (max(p) - 0.25) ** 2
                total += error / images
                continue
            side, half = SIDES.index(side_of(index)), area_of(index) == "half"
            if targets == "paper":
                wanted = [0.0 if half else 1 / 6] * 4
                wanted[side] = 1.0 if half else 0.5
                error = sum((x - y) ** 2 for x, y in zip(p, wanted, strict=True)) / 5
            else:
                error = (p[side] - (1.0 if half else 0.0 if side < 2 else 0.5)) ** 2
            total += factor * error / images
    return total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("targets", ["paper", "official"])
@pytest.mark.parametrize("types", [FIVE, THREE])
def test_score(dtype: torch.dtype, targets: str, types: torch.Tensor) -> None:
    logits = torch.randn(*types.shape, 4, dtype=dtype, requires_grad=True)
    loss = OcclusionScoreLoss(targets)(logits, types)
    assert loss.item() == pytest.approx(naive_score(logits, types.tolist(), targets), rel=1e-5)
    assert loss.dtype == dtype
    loss.backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(4, 2), (5, 3)])
def test_position(dtype: torch.dtype, size: tuple[int, int]) -> None:
    masks = torch.rand(*FIVE.shape, 1, *size, dtype=dtype, requires_grad=True)
    table, total = coverage(*size), 0.0
    for (b, v), index in zip(((b, v) for b in range(3) for v in range(5)), FIVE.flatten().tolist(), strict=True):
        for y in range(size[0]):
            for x in range(size[1]):
                m, seen = masks[b, v, 0, y, x].item(), 1 - table[index, y, x].item()
                total -= seen * math.log(m) + (1 - seen) * math.log(1 - m)
    loss = PositionLoss()(masks, FIVE)
    assert loss.item() == pytest.approx(total / (15 * size[0] * size[1]), rel=1e-5)
    loss.backward()
    assert masks.grad.isfinite().all()


def test_position_is_finite_for_saturated_masks() -> None:
    masks = torch.tensor([0.0, 1.0]).view(1, 1, 1, 1, 2).repeat(3, 5, 1, 4, 1).requires_grad_()
    loss = PositionLoss()(masks, FIVE)
    loss.backward()
    assert loss.isfinite()
    assert masks.grad.isfinite().all()


@pytest.mark.parametrize("size", [(16, 8), (7, 5), (1, 1)])
def test_coverage_has_the_area_of_its_type(size: tuple[int, int]) -> None:
    table = coverage(*size)
    for name, index in TYPE_INDEX.items():
        wanted = 0.0 if name == "none" else {"half": 0.5, "quarter": 0.25}[split_type(name)[1]]
        assert table[index].mean().item() == pytest.approx(wanted)


def test_groups() -> None:
    assert groups_of(torch.arange(9)).tolist() == [0, 1, 2, 3, 4, 1, 2, 3, 4]


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="grouping must be one of"):
        GroupedTripletLoss(grouping="group")
    with pytest.raises(ValueError, match="margin must not be negative"):
        GroupedTripletLoss(-1)
    with pytest.raises(ValueError, match="targets must be one of"):
        OcclusionScoreLoss("papers")
    with pytest.raises(ValueError, match="floor must not be negative"):
        MaskConsistencyLoss(floor=-1)
    with pytest.raises(ValueError, match="V = 5"):
        OcclusionScoreLoss()(torch.zeros(2, 4, 4), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="masks must begin with"):
        PositionLoss()(torch.zeros(2, 3, 1, 4, 2), FIVE)


def test_half_precision_is_computed_in_single() -> None:
    embeddings = (torch.randn(8, 4) * 300).half().requires_grad_()  # squares overflow float16
    pids = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    loss = GroupedTripletLoss()(embeddings, pids, torch.zeros(8, dtype=torch.long))
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same = GroupedTripletLoss()(embeddings, pids, torch.zeros(8, dtype=torch.long))
    assert same == loss


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_triplet_is_softplus_of_the_hardest_differences(dtype: torch.dtype) -> None:
    embeddings = torch.randn(12, 5, dtype=dtype).requires_grad_()
    pids = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4])
    points, terms = embeddings.tolist(), []
    for anchor in range(11):  # the last has no positive
        far = max(math.dist(points[anchor], points[j]) for j in range(12) if j != anchor and pids[j] == pids[anchor])
        near = min(math.dist(points[anchor], points[j]) for j in range(12) if pids[j] != pids[anchor])
        terms.append(math.log1p(math.exp(far - near)))
    loss = GroupedTripletLoss(0.3, "plain", "soft")(embeddings, pids, pids)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    loss.backward()
    assert embeddings.grad is not None
    assert embeddings.grad[:11].abs().sum(1).min() > 0  # unlike the hinge's, never 0


def test_triplet_names_an_unknown_form() -> None:
    with pytest.raises(ValueError, match="form must be one of hinge, soft, got 'hard'"):
        GroupedTripletLoss(form="hard")


@pytest.mark.parametrize("dtype", DTYPES)
def test_circle_logits_are_the_formula(dtype: torch.dtype) -> None:
    cosines, pids = torch.rand(5, 4, dtype=dtype) * 2 - 1, torch.randint(0, 4, (5,))
    found = circle_logits(SCALE * cosines, pids)
    for i in range(5):
        for j in range(4):
            s = cosines[i, j].item()
            own = j == pids[i]
            weight = max(0.0, 1 + MARGIN - s) if own else max(0.0, s + MARGIN)
            expected = SCALE * weight * (s - (1 - MARGIN if own else MARGIN))
            assert found[i, j].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_circle_weights_pass_no_gradient() -> None:
    cosines = torch.tensor([[0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    circle_logits(SCALE * cosines, torch.tensor([0])).sum().backward()
    weights = torch.tensor([[1 + MARGIN - 0.2, 0.1 + MARGIN]], dtype=torch.float64)
    torch.testing.assert_close(cosines.grad, SCALE * weights)
