"""The state of every random number generator, as plain data, and back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state(generators: Mapping[str, torch.Generator], *, every_gpu: bool = False) -> dict[str, Any]:
    """State of every random number generator, as plain data.

    Args:
        generators: name to a generator of one's own.
        every_gpu: of all GPUs, for one process that draws on several; else of this process's GPU, where all processes
            draw alike.
    """
    drawn: Any = np.random.get_state()  # noqa: NPY002 the hosts draw from it
    kind, keys, position, has_gauss, gauss = drawn
    version, internal, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "python": [version, list(internal), gauss_next],
        "generators": {name: generator.get_state() for name, generator in generators.items()},
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all() if every_gpu else torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any], generators: Mapping[str, torch.Generator]) -> None:
    """Puts every generator back where :func:`random_state` found it."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    for name, generator in generators.items():
        if name in state["generators"]:  # earlier versions had none for methods without augmentation
            generator.set_state(state["generators"][name])
    if torch.cuda.is_available() and "cuda" in state:
        put_back: Any = torch.cuda.set_rng_state_all if isinstance(state["cuda"], list) else torch.cuda.set_rng_state
        put_back(state["cuda"])


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Random numbers drawn inside do not change those drawn afterwards."""
    state = random_state({}, every_gpu=True)
    try:
        yield
    finally:
        set_random_state(state, {})
