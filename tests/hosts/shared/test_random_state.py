from __future__ import annotations

import random

import numpy as np
import torch

from oamn_plugin.hosts.shared.random_state import random_state, set_random_state


def test_random_numbers_go_on_where_they_were() -> None:
    def draw() -> list[float]:
        return [float(torch.rand(())), random.random(), float(np.random.rand()), float(torch.rand((), generator=own))]  # noqa: NPY002

    own = torch.Generator().manual_seed(3)
    before = random_state({"own": own})
    first = draw()
    set_random_state(before, {"own": own})
    assert draw() == first
