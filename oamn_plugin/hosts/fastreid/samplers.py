"""Training order: the host's samplers by name, seeded, apart from every other random number, and numbered.

Each index comes with the number of its draw, so that a worker seeds itself from the draw and the number of workers
changes nothing, and so that a resumed run goes on at the very next image.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data import samplers as host
from torch.utils.data import Sampler

from oamn_plugin.hosts.fastreid.registries import SAMPLER_REGISTRY

Items = Sequence[tuple[Any, ...]]


def _identities(kind: type) -> Any:
    def build(cfg: CfgNode, items: Items, mini_batch: int, seed: int) -> Sampler:
        return kind(items, mini_batch, cfg.DATALOADER.NUM_INSTANCE, seed=seed)

    return build


def _images(cfg: CfgNode, items: Items, mini_batch: int, seed: int) -> Sampler:
    return host.TrainingSampler(len(items), shuffle=True, seed=seed)


def _reweighted(cfg: CfgNode, items: Items, mini_batch: int, seed: int) -> Sampler:
    return host.SetReWeightSampler(items, mini_batch, cfg.DATALOADER.NUM_INSTANCE, cfg.DATALOADER.SET_WEIGHT, seed=seed)


def _imbalanced(cfg: CfgNode, items: Items, mini_batch: int, seed: int) -> Sampler:
    return host.ImbalancedDatasetSampler(items)


for _name, _builder in {
    "TrainingSampler": _images,
    "NaiveIdentitySampler": _identities(host.NaiveIdentitySampler),
    "BalancedIdentitySampler": _identities(host.BalancedIdentitySampler),
    "SetReWeightSampler": _reweighted,
    "ImbalancedDatasetSampler": _imbalanced,
}.items():
    SAMPLER_REGISTRY.add(_name, _builder)


def build_sampler(cfg: CfgNode, items: Items, mini_batch: int, seed: int) -> Sampler:
    """The sampler that ``DATALOADER.SAMPLER_TRAIN`` names, its infinite order fixed by ``seed``.

    Raises:
        KeyError: no sampler of that name; the message names the nearest.
    """
    return SAMPLER_REGISTRY.get(cfg.DATALOADER.SAMPLER_TRAIN)(cfg, items, mini_batch, seed)


class NumberedBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches of ``(draw, index)`` from a host sampler, starting after ``skip`` batches.

    The host's samplers draw from numpy's global generator; theirs is swapped in for each draw only, so that nothing
    else that draws from it can change the order of images.

    Args:
        sampler: an endless sampler of indices.
        batch_size: images a batch.
        seed: seed of the numpy generator that the sampler sees first.
        skip: batches to leave out, which a resumed run has had already.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, seed: int, skip: int = 0) -> None:
        self.sampler, self.batch_size, self.seed, self.skip = sampler, batch_size, seed, skip

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        drawn = itertools.islice(enumerate(self._isolated()), self.skip * self.batch_size, None)
        while batch := list(itertools.islice(drawn, self.batch_size)):
            if len(batch) == self.batch_size:
                yield batch

    def _isolated(self) -> Iterator[int]:
        state = np.random.RandomState(self.seed).get_state()
        indices = iter(self.sampler)
        while True:
            outside = np.random.get_state()  # noqa: NPY002
            np.random.set_state(state)  # noqa: NPY002
            try:
                index = next(indices, None)
                state = np.random.get_state()  # noqa: NPY002
            finally:
                np.random.set_state(outside)  # noqa: NPY002
            if index is None:
                return
            yield int(index)
