"""Labels of an evaluation: taken as they are, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval.protocol import Protocol


@pytest.mark.parametrize(
    "pids",
    [[1, -1], np.array([1, -1], np.int8), np.array([1.0, -1.0]), torch.tensor([1, -1]), torch.tensor([1.0, -1.0])],
)
def test_whole_numbers_of_any_kind_are_labels(pids):
    protocol = Protocol(pids, np.array([2**63 - 1], np.uint64), [0, 0], [0])
    assert protocol.pids.tolist() == [1, -1]
    assert protocol.pids.dtype == np.int64


@pytest.mark.parametrize(
    "pids",
    [
        [1.5],
        [float("nan")],
        [float("inf")],
        np.array([2.0**63]),
        np.array([2**63], np.uint64),
        [2**64],
        ["1"],
        np.array([1 + 1j]),
    ],
)
def test_labels_that_would_become_others_are_refused_not_truncated_or_wrapped(pids):
    with pytest.raises(ValueError, match="gallery_pids must be whole numbers"):
        Protocol([1], pids, [0], [0])
