"""The two ways of counting, on the same rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval import counting

WAYS = ["pass", "sort"]


def choose(way, monkeypatch):
    monkeypatch.setattr(counting, "SORTED_IN_A_START", 10**9 if way == "sort" else 0)
    monkeypatch.setattr(counting, "PASSED_IN_A_SORT", 1 if way == "sort" else 10**9)


def straight_ranks(row, members):
    order = [j for j in np.argsort(row, kind="stable") if j not in set(members.dropped.tolist())]
    return [k for k, j in enumerate(order, 1) if j in set(members.positives.tolist())]


@pytest.mark.parametrize("way", WAYS)
def test_a_positive_at_infinity_and_ties_with_dropped_images(way, monkeypatch):
    choose(way, monkeypatch)
    row = np.array([[0.5, np.inf, 0.5, 0.1, 0.5, np.inf]], dtype=np.float32)
    members = counting.Members(np.array([2, 3, 5]), np.array([0]))
    with ThreadPoolExecutor(1) as pool:
        ranks = counting.ranks_of(counting.images_before(torch.from_numpy(row), [members], pool, 1), [3])
    assert ranks[0].tolist() == straight_ranks(row[0], members) == [1, 2, 5]


@pytest.mark.parametrize("levels", [2, 50, 10**6])
def test_comparing_sorting_and_the_gpu_path_agree(levels, monkeypatch):
    rng = np.random.default_rng(levels)
    rows = rng.integers(0, levels, (20, 120)).astype(np.float32)
    index = counting.IdentityIndex(rng.integers(0, 5, 120), rng.integers(0, 2, 120))
    members = index.members(rng.integers(0, 7, len(rows)), rng.integers(0, 3, len(rows)))
    expected = [straight_ranks(row, m) for row, m in zip(rows, members, strict=True)]
    with ThreadPoolExecutor(2) as pool:
        for way in WAYS:
            choose(way, monkeypatch)
            before = counting.images_before(torch.from_numpy(rows), members, pool, 2)
            found = counting.ranks_of(before, [len(one.positives) for one in members])
            assert [r.tolist() for r in found] == expected
    columns = counting.padded([one.positives for one in members], -1)
    values = counting._own_values(torch.from_numpy(rows), columns, 0)
    before = counting._counts_on_gpu(torch.from_numpy(rows), columns, values, members, 0)
    found = [np.sort(before[row, : len(one.positives)]) + 1 for row, one in enumerate(members)]
    assert [r.tolist() for r in found] == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("on_gpu", [False, True])
def test_counts_of_parts_of_a_gallery_add_up_to_the_ranks(way, on_gpu, monkeypatch):
    choose(way, monkeypatch)
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 9, (20, 120)).astype(np.float32)
    index = counting.IdentityIndex(rng.integers(0, 5, 120), rng.integers(0, 2, 120))
    members = index.members(rng.integers(0, 7, len(rows)), rng.integers(0, 3, len(rows)))
    bounds = [0, 50, 50, 120]  # one part is empty
    columns = counting.padded([one.positives for one in members], -1)
    parts = [torch.from_numpy(rows[:, a:b].copy()) for a, b in pairwise(bounds)]
    values = sum(counting._own_values(part, columns, start) for part, start in zip(parts, bounds, strict=False))
    before = np.zeros(columns.shape, dtype=np.int64)
    with ThreadPoolExecutor(2) as pool:
        for part, start in zip(parts, bounds, strict=False):
            if on_gpu:
                before += counting._counts_on_gpu(part, columns, values, members, start)
            else:
                before += counting._counts_on_cpu(part.numpy(), members, values, pool, 2, start)
    found = [(np.sort(before[row, : len(one.positives)]) + 1).tolist() for row, one in enumerate(members)]
    assert found == [straight_ranks(row, one) for row, one in zip(rows, members, strict=True)]


def test_the_largest_label_is_found_too():
    largest = np.iinfo(np.int64).max
    index = counting.IdentityIndex(np.array([largest - 1, largest, largest]), np.array([0, 0, 1]))
    assert [one.tolist() for one in index.members(np.array([largest]), np.array([0]))[0]] == [[2], [1]]


def test_members_of_an_unknown_identity_are_none():
    index = counting.IdentityIndex(np.array([3, 5, 3]), np.array([0, 0, 1]))
    found = index.members(np.array([4, 3]), np.array([0, 1]))
    assert [[m.tolist() for m in one] for one in found] == [[[], []], [[0], [2]]]
