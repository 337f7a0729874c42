"""What every test shares: the smallest generated data set, and one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets that holds the generated one at its smallest size."""
    from oamn_plugin.datasets.embedded import ensure

    root = tmp_path_factory.mktemp("datasets")
    ensure(root, size="tiny")
    return root
