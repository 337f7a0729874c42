from __future__ import annotations

import numpy as np
import pytest

from oamn_plugin.datasets.embedded import load_truth, nearest_type, side_shares
from oamn_plugin.datasets.embedded.truth import describe, save_truth
from oamn_plugin.occlusion import OCCLUSION_TYPES, strip


def strip_mask(name, height, width):
    mask = np.zeros((height, width), dtype=bool)
    top, left, tall, wide = strip(name, height, width)
    mask[top : top + tall, left : left + wide] = True
    return mask


@pytest.mark.parametrize("size", [(128, 64), (65, 33), (17, 40)])
@pytest.mark.parametrize("name", OCCLUSION_TYPES)
def test_a_strip_is_its_own_nearest_type(name, size):
    assert nearest_type(strip_mask(name, *size)) == name


def test_nearest_type_equals_counting_every_difference():
    generator = np.random.RandomState(0)
    for _ in range(20):
        mask = np.zeros((24, 12), dtype=bool)
        top, left = generator.randint(0, 20), generator.randint(0, 10)
        mask[top : top + generator.randint(2, 24), left : left + generator.randint(2, 12)] = True
        counts = {name: int((strip_mask(name, 24, 12) ^ mask).sum()) for name in OCCLUSION_TYPES[1:]}
        assert counts[nearest_type(mask)] == min(counts.values())


def test_side_shares_of_half_an_image():
    assert side_shares(strip_mask("left_half", 32, 16)) == {"left": 1.0, "right": 0.0, "bottom": 0.5, "top": 0.5}


def test_what_is_saved_is_what_is_read(tmp_path):
    generator = np.random.RandomState(0)
    truths = {
        f"{pid:04d}_c1s1_000001_00.jpg": describe(
            "query", pid, 0, generator.rand(13, 7) > 0.5, strip_mask("top_half", 13, 7), "sign", "top"
        )
        for pid in (1, 2, 3)
    }
    save_truth(tmp_path, truths)
    read = load_truth(tmp_path)
    assert list(read) == list(truths)
    for name, truth in truths.items():
        np.testing.assert_array_equal(read[name].visible, truth.visible)
        np.testing.assert_array_equal(read[name].occluder_mask, truth.occluder_mask)
        assert read[name].area == pytest.approx(truth.area, abs=1e-4)
        assert read[name].sides == pytest.approx(truth.sides, abs=1e-4)
        for known in ("split", "pid", "camid", "occluder", "side", "type_name"):
            assert getattr(read[name], known) == getattr(truth, known)


def test_a_folder_without_truth_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"annotations\.csv"):
        load_truth(tmp_path)
