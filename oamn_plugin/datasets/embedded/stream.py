"""Random numbers that are the same on every machine: one independent stream per thing that is drawn.

A stream is seeded by its key alone (the data set's seed, a split, an identity, a camera, a number), so neither the
order of drawing nor the number of workers changes a pixel. The frozen ``RandomState`` is used because newer generators
may change their streams between numpy releases, and only its exact methods (no logarithms, no normal variates).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Stream:
    """Random draws that depend on nothing but ``key``.

    Args:
        *key: integers and strings that name what is drawn.

    >>> Stream(0, "identity", 7).integer(0, 99) == Stream(0, "identity", 7).integer(0, 99)
    True
    """

    def __init__(self, *key: int | str) -> None:
        digest = hashlib.sha256("/".join(map(str, key)).encode(errors="surrogateescape")).digest()
        self._state = np.random.RandomState(np.frombuffer(digest, dtype="<u4").astype(np.uint32))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in ``[low, high)``."""
        return low + (high - low) * float(self._state.random_sample())

    def integer(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[self.integer(0, len(items) - 1)]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """One of the keys, as likely as its weight says."""
        point = self.uniform() * sum(weights.values())
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        return next(reversed(list(weights)))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        rest = list(items)
        return [rest.pop(self.integer(0, len(rest) - 1)) for _ in range(len(rest))]

    def bell(self, shape: tuple[int, ...], amplitude: int) -> NDArray[np.int16]:
        """Whole-numbered, bell-shaped noise: the sum of three even draws in ``[-amplitude, amplitude]``."""
        draws = self._state.randint(-amplitude, amplitude + 1, size=(3, *shape), dtype=np.int16)
        return draws.sum(axis=0, dtype=np.int16)
