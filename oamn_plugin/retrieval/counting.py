"""Ranks of the positives in rows of distances, by counting nearer images instead of sorting the gallery.

The rank of a positive is 1 + the number of images that come before it: those nearer, and those equally near that stand
earlier in the gallery (a stable sort's order). Images of the query's identity under the query's camera do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.retrieval.metrics import IntArray

SORTED_IN_A_START, PASSED_IN_A_SORT = 500, 50
"""Distances that are sorted while a pass of comparison starts, and passed while one is sorted: what each way costs."""


class Shard(NamedTuple):
    """The part of a gallery that one of several processes holds; ranks are counts, and counts add up over parts."""

    start: int
    """Number of its first image in the whole gallery."""
    gather: Callable[[np.ndarray], list[np.ndarray]]
    """An array of this process to those of all processes, all of one shape."""

    def total(self, array: np.ndarray) -> np.ndarray:
        """The sum over all processes of an array of this one."""
        first, *others = self.gather(array)
        return sum(others, start=first)


WHOLE = Shard(0, lambda array: [array])
"""The shard of a single process."""


class Members(NamedTuple):
    """Gallery columns of one query's identity, ascending: those that count and those that are dropped."""

    positives: IntArray
    dropped: IntArray


class IdentityIndex:
    """Finds the gallery columns of an identity without a pass over the gallery.

    Args:
        pids: (G,) identities.
        camids: (G,) cameras.
        absent: (G,) bool, columns that belong to nobody: images that could not be read.
    """

    def __init__(self, pids: IntArray, camids: IntArray, absent: np.ndarray | None = None) -> None:
        order = np.argsort(pids, kind="stable")
        self._order = order if absent is None else order[~absent[order]]
        self._sorted_pids = pids[self._order]
        self._camids = camids

    def members(self, pids: IntArray, camids: IntArray) -> list[Members]:
        """The columns of each of ``pids``, split into those of other cameras and those of its one of ``camids``."""
        # not [pid, pid + 1]: the largest label has no next one
        bounds = (np.searchsorted(self._sorted_pids, pids, side=side).tolist() for side in ("left", "right"))
        found = []
        for first, last, camid in zip(*bounds, camids.tolist(), strict=True):
            columns = self._order[first:last]
            same_camera = self._camids[columns] == camid
            found.append(Members(columns[~same_camera], columns[same_camera]))
        return found


def images_before(
    distances: Tensor, members: list[Members], pool: Executor, workers: int, shard: Shard = WHOLE
) -> IntArray:
    """How many images of a shard come before each positive; over all shards they add up to its rank, less one.

    Args:
        distances: (R, G) float32, on the CPU or a GPU; of a shard's images alone.
        members: R of them, one a row; columns of the whole gallery.
        pool: threads that share the rows (CPU; numpy releases the interpreter lock in its loops).
        workers: how many parts to cut the rows into.
        shard: which part of the gallery the distances are to; every process must call with the same rows.

    Returns:
        Counts of the positives of one row after the other.
    """
    columns = padded([one.positives for one in members], -1)
    values = shard.total(_own_values(distances, columns, shard.start))
    if distances.device.type == "cpu":
        before = _counts_on_cpu(distances.numpy(), members, values, pool, workers, shard.start)
    else:
        before = _counts_on_gpu(distances, columns, values, members, shard.start)
    return before[columns >= 0]


def ranks_of(before: IntArray, sizes: list[int]) -> list[IntArray]:
    """1-based ranks, ascending, of the positives of rows that have ``sizes`` of them; ``before`` is of all shards."""
    return [np.sort(own) + 1 for own in np.split(before, np.cumsum(sizes)[:-1])]


def padded(lists: list[IntArray], fill: int) -> IntArray:
    """Lists of different lengths as the rows of one array, filled up."""
    array = np.full((len(lists), max((len(one) for one in lists), default=0)), fill, dtype=np.int64)
    for row, values in enumerate(lists):
        array[row, : len(values)] = values
    return array


def _own_values(distances: Tensor, columns: IntArray, start: int) -> np.ndarray:
    """Distances (R, P) of the positives that lie in this shard, 0 for all others."""
    if not distances.shape[1]:
        return np.zeros(columns.shape, dtype=np.float32)
    local = columns - start
    inside = (columns >= 0) & (local >= 0) & (local < distances.shape[1])
    index = torch.from_numpy(np.where(inside, local, 0)).to(distances.device)
    return np.where(inside, distances.gather(1, index).cpu().numpy(), np.float32(0))


def _counts_on_cpu(
    rows: np.ndarray, members: list[Members], values: np.ndarray, pool: Executor, workers: int, start: int
) -> IntArray:
    """How many images of this shard come before each positive, those that are dropped left out: (R, P)."""
    counts = np.zeros(values.shape, dtype=np.int64)

    def work(part: int) -> None:
        scratch = np.empty(rows.shape[1], dtype=bool)
        for row in range(part, len(rows), workers):
            size = len(members[row].positives)
            if size:
                counts[row, :size] = _counts_of_row(rows[row], members[row], values[row, :size], scratch, start)

    list(pool.map(work, range(workers)))
    return counts


def _counts_of_row(row: np.ndarray, members: Members, values: np.ndarray, scratch: np.ndarray, start: int) -> IntArray:
    columns = np.clip(members.positives - start, 0, len(row))
    # only images as near as the furthest positive matter, most often a small part of the gallery, in the old order
    near = np.less_equal(row, values.max(), out=scratch).nonzero()[0]
    places = np.searchsorted(near, columns)
    if len(places) * (SORTED_IN_A_START + len(near) // PASSED_IN_A_SORT) > len(near):
        own = (members.positives >= start) & (members.positives < start + len(row))
        before = _before_by_sort(row[near], places, values, own)
    else:
        before = _before_by_passes(row[near], places, values)
    dropped = _dropped_inside(members, start, len(row))
    return before - _dropped_before(row[dropped - start], dropped, members, values)


def _before_by_passes(row: np.ndarray, columns: IntArray, values: np.ndarray) -> IntArray:
    """How many of a row's distances come before each of ``values``, which stand at ``columns``: (P,)."""
    before, passed = np.empty(len(values), dtype=np.int64), np.empty(len(row), dtype=bool)
    for k, (column, value) in enumerate(zip(columns.tolist(), values, strict=True)):
        # equal and earlier counts, equal and later (itself too) does not: a stable order without looking for ties
        np.less_equal(row[:column], value, out=passed[:column])
        np.less(row[column:], value, out=passed[column:])
        before[k] = np.count_nonzero(passed)
    return before


def _before_by_sort(row: np.ndarray, columns: IntArray, values: np.ndarray, own: np.ndarray) -> IntArray:
    """The same, by one sort of the row; ``own`` says which of the values are the row's."""
    ordered = np.sort(row)
    before = np.searchsorted(ordered, values, side="left")
    tied = np.searchsorted(ordered, values, side="right") - before > own
    for k in np.flatnonzero(tied):
        before[k] += np.count_nonzero(row[: columns[k]] == values[k])
    return before


def _dropped_inside(members: Members, start: int, width: int) -> IntArray:
    """The dropped columns that lie in a shard."""
    return members.dropped[(members.dropped >= start) & (members.dropped < start + width)]


def _dropped_before(distances: np.ndarray, dropped: IntArray, members: Members, values: np.ndarray) -> IntArray:
    """How many of the dropped images, which lie at ``distances``, the count of each positive includes: (P,)."""
    nearer = distances[None] < values[:, None]
    tied = (distances[None] == values[:, None]) & (dropped[None] < members.positives[:, None])
    return (nearer | tied).sum(axis=1)


def _counts_on_gpu(
    distances: Tensor, columns: IntArray, values: np.ndarray, members: list[Members], start: int
) -> IntArray:
    """The same on a GPU: one sort of the block's values, then a binary search for every positive."""
    there = torch.from_numpy(values).to(distances.device)
    ordered = distances.sort(dim=1).values
    before = torch.searchsorted(ordered, there)
    places = torch.from_numpy(columns).to(distances.device)
    own = (places >= start) & (places < start + distances.shape[1])
    tied = torch.searchsorted(ordered, there, right=True) - before > own.long()
    for row, k in (tied & (places >= 0)).nonzero().tolist():
        column = min(max(int(columns[row, k]) - start, 0), distances.shape[1])
        before[row, k] += (distances[row, :column] == there[row, k]).sum()
    counts = before.cpu().numpy()
    for row, one in enumerate(members):
        size, dropped = len(one.positives), _dropped_inside(one, start, distances.shape[1])
        if size and len(dropped):
            near = distances[row, torch.from_numpy(dropped - start).to(distances.device)].cpu().numpy()
            counts[row, :size] -= _dropped_before(near, dropped, one, values[row, :size])
    return counts
