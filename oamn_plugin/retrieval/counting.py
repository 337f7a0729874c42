"""Ranks of the positives in rows of distances, by counting nearer images instead of sorting the gallery.

The rank of a positive is 1 + the number of images that come before it: those nearer, and those equally near that stand
earlier in the gallery (a stable sort's order). Images of the query's identity under the query's camera do not count.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.retrieval.metrics import IntArray

SORTED_IN_A_PASS = 250
"""Distances that are sorted in the time of one positive's pass of comparison; decides which of the two counts a row."""


class Members(NamedTuple):
    """Gallery columns of one query's identity, ascending: those that count and those that are dropped."""

    positives: IntArray
    dropped: IntArray


class IdentityIndex:
    """Finds the gallery columns of an identity without a pass over the gallery."""

    def __init__(self, pids: IntArray, camids: IntArray) -> None:
        self._order = np.argsort(pids, kind="stable")
        self._sorted_pids = pids[self._order]
        self._camids = camids

    def members(self, pid: int, camid: int) -> Members:
        """The columns of ``pid``, split into those of other cameras and those of ``camid``."""
        first, last = np.searchsorted(self._sorted_pids, [pid, pid + 1])
        columns = self._order[first:last]
        same_camera = self._camids[columns] == camid
        return Members(columns[~same_camera], columns[same_camera])


def positive_ranks(distances: Tensor, members: list[Members], pool: Executor, workers: int) -> list[IntArray]:
    """1-based ranks, ascending, of each row's positives.

    Args:
        distances: (R, G) float32, on the CPU or a GPU.
        members: R of them, one a row.
        pool: threads that share the rows (CPU; numpy releases the interpreter lock in its loops).
        workers: how many parts to cut the rows into.

    Returns:
        R arrays, one a row, as long as the row has positives.
    """
    if distances.device.type != "cpu":
        return _ranks_by_sort(distances, members)
    rows = distances.numpy()
    ranks: list[IntArray] = [np.zeros(0, dtype=np.int64)] * len(rows)

    def work(part: int) -> None:
        scratch = np.empty(rows.shape[1], dtype=bool)
        for row in range(part, len(rows), workers):
            if len(members[row].positives):
                ranks[row] = _ranks_of_row(rows[row], members[row], scratch)

    list(pool.map(work, range(workers)))
    return ranks


def _ranks_of_row(row: np.ndarray, members: Members, scratch: np.ndarray) -> IntArray:
    values = row[members.positives]
    # only images as near as the furthest positive matter, most often a small part of the gallery, in the old order
    near = np.flatnonzero(np.less_equal(row, values.max(), out=scratch))
    places = np.searchsorted(near, members.positives)
    count = _before_by_sort if len(places) * SORTED_IN_A_PASS > len(near) else _before_by_passes
    before = count(row[near], places, values)
    return np.sort(before - _dropped_before(row[members.dropped], members, values)) + 1


def _before_by_passes(row: np.ndarray, columns: IntArray, values: np.ndarray) -> IntArray:
    """How many of a row's distances come before each of ``values``, which stand at ``columns``: (P,)."""
    before, passed = np.empty(len(values), dtype=np.int64), np.empty(len(row), dtype=bool)
    for k, (column, value) in enumerate(zip(columns.tolist(), values, strict=True)):
        # equal and earlier counts, equal and later (itself too) does not: a stable order without looking for ties
        np.less_equal(row[:column], value, out=passed[:column])
        np.less(row[column:], value, out=passed[column:])
        before[k] = np.count_nonzero(passed)
    return before


def _before_by_sort(row: np.ndarray, columns: IntArray, values: np.ndarray) -> IntArray:
    """The same, by one sort of the row."""
    ordered = np.sort(row)
    before = np.searchsorted(ordered, values, side="left")
    tied = np.searchsorted(ordered, values, side="right") - before > 1
    for k in np.flatnonzero(tied):
        before[k] += np.count_nonzero(row[: columns[k]] == values[k])
    return before


def _dropped_before(distances: np.ndarray, members: Members, values: np.ndarray) -> IntArray:
    """How many of the dropped images the count of each positive includes: (P,)."""
    nearer = distances[None] < values[:, None]
    tied = (distances[None] == values[:, None]) & (members.dropped[None] < members.positives[:, None])
    return (nearer | tied).sum(axis=1)


def _ranks_by_sort(distances: Tensor, members: list[Members]) -> list[IntArray]:
    """The same on a GPU: one sort of the block's values, then a binary search for every positive."""
    longest = max((len(m.positives) for m in members), default=0)
    columns = np.zeros((len(members), longest), dtype=np.int64)
    for row, m in enumerate(members):
        columns[row, : len(m.positives)] = m.positives
    columns_there = torch.from_numpy(columns).to(distances.device)
    values = distances.gather(1, columns_there)
    ordered = distances.sort(dim=1).values
    before = torch.searchsorted(ordered, values)
    tied = (torch.searchsorted(ordered, values, right=True) - before > 1).nonzero()
    for row, k in tied.tolist():
        before[row, k] += (distances[row, : columns[row, k]] == values[row, k]).sum()
    counts, near = before.cpu().numpy(), values.cpu().numpy()
    ranks = []
    for row, m in enumerate(members):
        size = len(m.positives)
        dropped = distances[row, torch.from_numpy(m.dropped).to(distances.device)].cpu().numpy()
        ranks.append(np.sort(counts[row, :size] - _dropped_before(dropped, m, near[row, :size])) + 1)
    return ranks
