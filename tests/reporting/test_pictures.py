from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.reporting.pictures import (
    HIT,
    MISS,
    RankRow,
    augmentation_sheet,
    mask_overlay,
    mask_sheet,
    png,
    rank_lists,
)


def grey(value: int = 128, height: int = 64, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel[:3]) for pixel in np.asarray(image).reshape(-1, (image.mode == "RGBA" and 4) or 3)}


def test_hits_are_green_and_misses_red() -> None:
    assert HIT in colours(rank_lists([RankRow(grey(), [grey()], [True])]))
    both = colours(rank_lists([RankRow(grey(), [grey(), grey()], [True, False], captions=["0.1", "0.2"])]))
    assert {HIT, MISS} <= both
    assert not {HIT, MISS} & colours(rank_lists([RankRow(grey(), [grey()], [None])]))


def test_rows_may_differ_in_length_and_images_in_size() -> None:
    rows = [RankRow(grey(), [grey(height=30)] * 3, [True] * 3), RankRow(grey(), [], [])]
    assert rank_lists(rows, height=96).height > 2 * 96


def test_rank_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 matches but 1 hits"):
        rank_lists([RankRow(grey(), [grey(), grey()], [True])])
    with pytest.raises(ValueError, match="no rank lists"):
        rank_lists([])


def test_overlay_is_brightest_where_the_mask_is() -> None:
    mask = np.zeros((8, 4))
    mask[:4] = 1
    shown = mask_overlay(grey(), mask).astype(int)
    assert shown[:16].mean() > shown[48:].mean() + 40
    assert mask_overlay(grey(), np.full((8, 4), 0.5)).shape == (64, 32, 3)


def test_sheet_of_nine_types() -> None:
    images = {name: grey() for name in reversed(OCCLUSION_TYPES)}
    sheet = mask_sheet(images, {name: np.random.default_rng(0).random((8, 4)) for name in OCCLUSION_TYPES})
    assert sheet.width > 9 * 72
    with pytest.raises(ValueError, match="left_hlaf"):
        mask_sheet({"left_hlaf": grey()}, {"left_hlaf": np.zeros((8, 4))})


def test_augmentation_sheet_checks_its_shapes() -> None:
    views = np.zeros((2, 3, 64, 32, 3), dtype=np.uint8)
    labels = [["none", "left_half", "right_half"]] * 2
    with Image.open(io.BytesIO(png(augmentation_sheet(views, labels)))) as image:
        assert image.height > 2 * 160
    with pytest.raises(ValueError, match="B x V labels"):
        augmentation_sheet(views, labels[:1])
