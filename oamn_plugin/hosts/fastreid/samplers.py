"""Training order: the host's samplers by name, with a random generator of their own and numbered draws.

``SetReWeightSampler`` is left out: the host's fails at its first draw.

Each index comes with the number of its draw, so that a worker seeds itself from the draw and the number of workers
changes nothing, and so that a resumed run goes on at the very next image. With several processes each draws the whole
batch and takes its share: the batch is the one that one process trains on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data import samplers as host
from torch.utils.data import Sampler

from oamn_plugin.hosts.fastreid.registries import SAMPLER_REGISTRY

Items = Sequence[tuple[Any, ...]]


def _identities(kind: type) -> Any:
    def build(cfg: CfgNode, items: Items, mini_batch: int, seed: int) -> Sampler:
        return kind(items, mini_batch, cfg.DATALOADER.NUM_INSTANCE, seed=seed)

    return build


for _name, _builder in {
    "TrainingSampler": lambda cfg, items, mini_batch, seed: host.TrainingSampler(len(items), shuffle=True, seed=seed),
    "NaiveIdentitySampler": _identities(host.NaiveIdentitySampler),
    "BalancedIdentitySampler": _identities(host.BalancedIdentitySampler),
    "ImbalancedDatasetSampler": lambda cfg, items, mini_batch, seed: host.ImbalancedDatasetSampler(items, seed=seed),
}.items():
    SAMPLER_REGISTRY.add(_name, _builder)


def build_sampler(cfg: CfgNode, items: Items, batch_size: int, seed: int) -> Sampler:
    """The sampler that ``DATALOADER.SAMPLER_TRAIN`` names, its infinite order of whole batches fixed by ``seed``.

    Raises:
        KeyError: no sampler of that name; the message names the nearest.
    """
    sampler = SAMPLER_REGISTRY.get(cfg.DATALOADER.SAMPLER_TRAIN)(cfg, items, batch_size, seed)
    # the host's samplers deal images out to processes in an order that depends on how many there are: here they draw
    # what a single process draws, and NumberedBatches deals out
    alone = {"_rank": 0, "_world_size": 1, "batch_size": batch_size}
    vars(sampler).update({name: value for name, value in alone.items() if name in vars(sampler)})
    return sampler


class NumberedBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches of ``(draw, index)`` from a host sampler, starting after ``skip`` batches.

    The host's samplers draw from numpy's and torch's global generators; theirs are swapped in for each draw only, so
    that nothing else that draws from them can change the order of images, nor the order what they draw.

    Args:
        sampler: an endless sampler of indices.
        batch_size: images a batch, of all processes together.
        seed: seed of the generators that the sampler sees first.
        skip: batches to leave out, which a resumed run has had already.
        share: part of each batch that this process takes.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, seed: int, skip: int = 0, share: slice = slice(None)
    ) -> None:
        self.sampler, self.batch_size, self.seed, self.skip, self.share = sampler, batch_size, seed, skip, share

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        drawn = itertools.islice(enumerate(self._isolated()), self.skip * self.batch_size, None)
        while batch := list(itertools.islice(drawn, self.batch_size)):
            if len(batch) == self.batch_size:
                yield batch[self.share]

    def _isolated(self) -> Iterator[int]:
        own = np.random.RandomState(self.seed).get_state(), torch.Generator().manual_seed(self.seed).get_state()
        indices = iter(self.sampler)
        while True:
            outside = _swap(own)
            try:
                index = next(indices, None)
            finally:
                own = _swap(outside)
            if index is None:
                return
            yield int(index)


def _swap(states: tuple[Any, torch.Tensor]) -> tuple[Any, torch.Tensor]:
    """Sets numpy's and torch's global generators and returns how they were."""
    before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.random.set_state(states[0])  # noqa: NPY002
    torch.set_rng_state(states[1])
    return before
