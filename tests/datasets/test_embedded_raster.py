from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from oamn_plugin.datasets.embedded.raster import UNITS, Canvas, Frame, Paint, full_mask, polygon_pixels, shading
from oamn_plugin.datasets.embedded.shapes import box, ellipse, limb, smooth, tube
from oamn_plugin.datasets.embedded.stream import Stream


def naive_mask(points, height, width):
    """Even-odd rule at every pixel centre, in exact fractions."""
    corners = [(Fraction(round(x * UNITS), UNITS), Fraction(round(y * UNITS), UNITS)) for x, y in points]
    mask = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            x, y, inside = Fraction(2 * column + 1, 2), Fraction(2 * row + 1, 2), False
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
                if min(y0, y1) <= y < max(y0, y1) and x >= x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                    inside = not inside
            mask[row, column] = inside
    return mask


@pytest.mark.parametrize(
    "points",
    [
        box(2, 3, 9, 8),
        box(-5, -5, 40, 4.5),
        ellipse((8.3, 9.1), 6.2, 7.7),
        limb((3, 2), (15, 17), 3.1, 1.2),
        smooth([(2, 2), (14, 4), (9, 9), (15, 17), (3, 15)]),
        tube([(8, 1, 3), (9, 8, 6), (7, 16, 2)]),
        [(1, 1), (15, 15), (15, 1), (1, 15)],  # crosses itself
        [(0.51, 0.49), (16.2, 3.9), (5.7, 18.4)],
    ],
)
def test_polygon_pixels_equal_the_even_odd_rule_at_every_pixel(points):
    np.testing.assert_array_equal(full_mask(points, 19, 17), naive_mask(points, 19, 17))


def test_nothing_is_painted_outside_the_canvas():
    assert polygon_pixels(box(30, 30, 40, 40), 20, 20) is None
    canvas = Canvas(20, 20)
    canvas.paint(box(-9, -9, -1, -1), Paint((255, 0, 0)))
    assert not canvas.alpha.any()


def test_neighbours_share_no_pixel_and_leave_no_gap():
    left, right = (
        full_mask([(0, 0), (7.3, 0), (11.9, 20), (0, 20)], 20, 20),
        full_mask([(7.3, 0), (20, 0), (20, 20), (11.9, 20)], 20, 20),
    )
    assert not (left & right).any()
    assert (left | right).all()


@pytest.mark.parametrize("pattern", ["plain", "stripes", "pinstripes", "checks", "dots", "logo", "band", "bricks"])
def test_patterns_show_both_colours_on_a_large_part(pattern):
    canvas = Canvas(96, 96)
    frame = Frame((48, 0), (48, 96), 1e6)
    canvas.paint(box(0, 0, 96, 96), Paint((10, 10, 10), (250, 250, 250), pattern, 12, flat=True), frame)
    levels = set(np.unique(canvas.rgb))
    assert levels == ({10} if pattern == "plain" else {10, 250})


def test_an_unknown_pattern_is_named():
    with pytest.raises(ValueError, match="paisley"):
        Canvas(9, 9).paint(box(0, 0, 9, 9), Paint((1, 2, 3), pattern="paisley"))


def test_the_side_towards_the_light_is_brighter():
    from_right = shading(0.6, 0.5)
    assert from_right[110] > from_right[64] > from_right[10]
    np.testing.assert_array_equal(from_right[::-1], shading(-0.6, 0.5))


def test_streams_depend_on_their_key_alone():
    first, again, other = Stream(0, "a", 1), Stream(0, "a", 1), Stream(0, "a", 2)
    draws, others = zip(*((first.uniform(), other.uniform()) for _ in range(5)), strict=True)
    assert list(draws) == [again.uniform() for _ in range(5)], "draws of another stream come in between"
    assert not set(draws) & set(others)
    assert sorted(Stream("x").shuffled(range(9))) == list(range(9))
    assert {Stream("x", n).integer(2, 4) for n in range(60)} == {2, 3, 4}
    assert {Stream("w", n).weighted({"a": 1, "b": 0, "c": 3}) for n in range(60)} == {"a", "c"}
