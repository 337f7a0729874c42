from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamn_plugin.occlusion import AREAS, OCCLUSION_TYPES, OPPOSITE, SIDES, TYPE_INDEX, split_type, strip

SIZES = st.integers(4, 400)


def test_the_nine_types_stand_in_the_order_that_stored_data_relies_on() -> None:
    halves = "left_half right_half bottom_half top_half"
    assert " ".join(OCCLUSION_TYPES) == f"none {halves} {halves.replace('half', 'quarter')}"
    assert [TYPE_INDEX[name] for name in OCCLUSION_TYPES] == list(range(9))
    assert all(OPPOSITE[OPPOSITE[side]] == side for side in SIDES)


@pytest.mark.parametrize("name", OCCLUSION_TYPES[1:])
@given(height=SIZES, width=SIZES)
def test_a_strip_touches_its_side_and_covers_no_more_than_its_name_says(name: str, height: int, width: int) -> None:
    side, area = split_type(name)
    top, left, rows, columns = strip(name, height, width)
    covered = np.zeros((height, width), dtype=bool)
    covered[top : top + rows, left : left + columns] = True
    edges = {"left": covered[:, 0], "right": covered[:, -1], "bottom": covered[-1], "top": covered[0]}
    assert edges[side].all()
    assert not edges[OPPOSITE[side]].all()
    assert covered.sum() == rows * columns > 0
    share = {"half": 0.5, "quarter": 0.25}[area]
    assert covered.mean() <= share
    lost = 1 / (width if side in ("left", "right") else height)  # rounding loses less than one row or column
    assert covered.mean() > share - lost


@pytest.mark.parametrize("area", AREAS)
def test_strips_of_the_published_input_size(area: str) -> None:
    width, height = (64, 128) if area == "half" else (32, 64)
    assert strip(f"left_{area}", 256, 128) == (0, 0, 256, width)
    assert strip(f"right_{area}", 256, 128) == (0, 128 - width, 256, width)
    assert strip(f"bottom_{area}", 256, 128) == (256 - height, 0, height, 128)
    assert strip(f"top_{area}", 256, 128) == (0, 0, height, 128)


def test_none_covers_nothing() -> None:
    assert strip("none", 256, 128) == (0, 0, 0, 0)


@pytest.mark.parametrize(("name", "height", "width"), [("left_third", 8, 8), ("left_half", 3, 8), ("none", 8, 2)])
def test_what_has_no_strip_is_refused(name: str, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"unknown occlusion type|too small to occlude"):
        strip(name, height, width)


def test_none_has_no_side() -> None:
    with pytest.raises(ValueError, match="no side"):
        split_type("none")
    with pytest.raises(ValueError, match="choose one of none, left_half"):
        split_type("sideways")
