"""The descriptor store: what goes in batch by batch comes out as one mapped array per type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval import DescriptorStore


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_batches_come_back_in_order(tmp_path, count):
    rows = np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)
    store = DescriptorStore(tmp_path / "gallery")
    for start in range(0, count, 3):
        part = rows[start : start + 3]
        store.append({"top_half": torch.from_numpy(-part), "none": part.astype(np.float64)})
    assert isinstance(store["none"], np.memmap)
    np.testing.assert_array_equal(store["none"], rows)
    np.testing.assert_array_equal(store["top_half"], -rows)
    assert dict(store).keys() == {"none", "top_half"}
    store.close()
    np.testing.assert_array_equal(DescriptorStore(tmp_path / "gallery")["none"], rows)
    np.testing.assert_array_equal(np.load(tmp_path / "gallery" / "none.npy", allow_pickle=False), rows)


def test_temporary_folder_goes_with_the_store():
    with DescriptorStore() as store:
        store.append({"none": np.ones((2, 2))})
        folder = store.folder
        assert folder.exists()
    assert not folder.exists()


def test_errors_say_what_is_wrong():
    with DescriptorStore() as store:
        with pytest.raises(KeyError, match="the store holds nothing"):
            store["none"]
        with pytest.raises(ValueError, match="unknown occlusion types lefthalf"):
            store.append({"lefthalf": np.ones((1, 2))})
        store.append({"none": np.ones((1, 2))})
        with pytest.raises(ValueError, match="do not continue a store of none"):
            store.append({"top_half": np.ones((1, 2))})
        with pytest.raises(ValueError, match=r"shape \(N, 2\), got \(1, 3\)"):
            store.append({"none": np.ones((1, 3))})
