from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.registries import SAMPLER_REGISTRY
from oamn_plugin.hosts.fastreid.samplers import NumberedBatches, build_sampler

ITEMS = [(f"{pid}_{k}.jpg", pid, k % 2) for pid in range(8) for k in range(4)]
NAMES = sorted(SAMPLER_REGISTRY._obj_map)
Batches = list[list[tuple[int, int]]]


def batches(name: str, count: int, seed: int = 3, skip: int = 0, size: int = 8) -> Batches:
    opts = ["DATALOADER.SAMPLER_TRAIN", name, "DATALOADER.NUM_INSTANCE", "2"]
    sampler = build_sampler(load_config("", opts), ITEMS, size, seed)
    return list(islice(NumberedBatches(sampler, size, seed, skip), count))


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_numbered_without_a_gap(name: str) -> None:
    found = batches(name, 5)
    assert [draw for batch in found for draw, _ in batch] == list(range(40))
    assert all(0 <= index < len(ITEMS) for batch in found for _, index in batch)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("BalancedIdentitySampler", [21, 20, 31, 30, 19, 16, 25, 26, 13, 12, 6, 7, 0, 3, 9, 8]),
        ("NaiveIdentitySampler", [20, 22, 28, 31, 16, 19, 25, 27, 12, 13, 24, 26, 29, 30, 7, 6]),
        ("TrainingSampler", [20, 17, 5, 14, 28, 27, 4, 15, 2, 18, 16, 1, 23, 26, 7, 13]),
    ],
)
def test_a_seed_gives_the_order_that_it_gave_before(name: str, order: list[int]) -> None:
    assert [index for batch in batches(name, 2) for _, index in batch] == order


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skip", [0, 1, 4, 9])
def test_skipping_gives_what_an_uninterrupted_run_would_see(name: str, skip: int) -> None:
    assert batches(name, 12)[skip:] == batches(name, 12 - skip, skip=skip)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_nothing_else(name: str) -> None:
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    first = batches(name, 6)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert first == batches(name, 6)
    assert first != batches(name, 6, seed=4)


@pytest.mark.parametrize("name", NAMES)
def test_order_and_the_global_generators_leave_each_other_alone(name: str) -> None:
    """A loader draws ahead of the training step, how far depends on the workers: it must not matter."""
    expected = batches(name, 6)
    opts = ["DATALOADER.SAMPLER_TRAIN", name, "DATALOADER.NUM_INSTANCE", "2"]
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    plain = [(np.random.rand(), float(torch.rand(()))) for _ in range(6)]  # noqa: NPY002
    sampler = build_sampler(load_config("", opts), ITEMS, 8, 3)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    found, between = [], []
    for batch in islice(NumberedBatches(sampler, 8, 3), 6):
        found.append(batch)
        between.append((np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
    assert found == expected
    assert between == plain


@pytest.mark.parametrize("name", ["NaiveIdentitySampler", "BalancedIdentitySampler"])
@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_identity_samplers_give_people_times_images(name: str, seed: int) -> None:
    for batch in batches(name, 3, seed=seed):
        pids = [ITEMS[index][1] for _, index in batch]
        assert sorted(pids.count(pid) for pid in set(pids)) == [2] * 4


def test_a_finite_sampler_ends_without_a_partial_batch() -> None:
    found = list(NumberedBatches(list(range(10)), 4, seed=0))  # type: ignore[arg-type]
    assert [[index for _, index in batch] for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_misspelt_sampler_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="Did you mean 'NaiveIdentitySampler'"):
        batches("NaiveIdentitySamplers", 1)
