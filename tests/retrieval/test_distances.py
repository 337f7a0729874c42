from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval.distances import tile_of


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a mapped file from being replaced")
@pytest.mark.parametrize("left", [slice(1, None), slice(None, 30), slice(10, 30), None])
def test_a_mapped_file_that_was_replaced_gave_rows_of_other_images(left: slice | None, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    (tmp_path / "rows.npy").unlink()
    if left is not None:
        np.save(tmp_path / "rows.npy", rows[left])
    for tile in (slice(0, 16), slice(16, 32), slice(32, 48)):
        found = tile_of(mapped, tile, torch.device("cpu"))
        expected = rows[tile]
        assert found.shape == (16, 8)
        assert np.array_equal(found[: len(expected)].numpy(), expected)
        assert not found[len(expected) :].any()
