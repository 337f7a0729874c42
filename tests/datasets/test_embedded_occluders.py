from __future__ import annotations

import numpy as np
import pytest

from oamn_plugin.datasets.embedded import DIFFICULTY, KINDS, nearest_type, paste, random_occluder
from oamn_plugin.datasets.embedded.occluders import draw_occluder, kinds_at, reduce_mean
from oamn_plugin.datasets.embedded.raster import Canvas
from oamn_plugin.occlusion import SIDES


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", [(64, 32), (65, 35)])
def test_an_occluder_comes_in_from_its_side(side, size):
    for number in range(3):
        layer = random_occluder(("test", number), *size, side)
        mask = layer.rgba[..., 3] >= 128
        assert layer.rgba.shape == (*size, 4)
        assert layer.rgba.dtype == np.uint8
        assert layer.side == side
        assert layer.kind in kinds_at(side)
        assert layer.type_name == nearest_type(mask)
        assert layer.type_name.startswith(side)
        assert layer.area == pytest.approx(mask.mean())
        assert DIFFICULTY.smallest_area - 0.02 <= layer.area <= DIFFICULTY.largest_area + 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn_and_is_more_than_one_colour(kind):
    side = next(side for side in SIDES if kind in kinds_at(side))
    layer = draw_occluder((kind,), kind, side, 0.3, Canvas(96, 48))
    assert 0.1 < layer.alpha.mean() < 0.6
    assert len(np.unique(layer.rgb[layer.alpha], axis=0)) > 8


def test_the_same_key_gives_the_same_occluder():
    first, second, other = (random_occluder((key,), 64, 32) for key in ("a", "a", "b"))
    np.testing.assert_array_equal(first.rgba, second.rgba)
    assert first.rgba.tobytes() != other.rgba.tobytes()


def test_paste_leaves_what_the_layer_does_not_cover():
    image = np.random.RandomState(0).randint(0, 256, (64, 32, 3)).astype(np.uint8)
    layer = random_occluder(("paste",), 64, 32).rgba
    pasted = paste(image, layer)
    clear, opaque = layer[..., 3] == 0, layer[..., 3] == 255
    np.testing.assert_array_equal(pasted[clear], image[clear])
    np.testing.assert_array_equal(pasted[opaque], layer[opaque][:, :3])


def test_reduce_mean_equals_the_loop():
    values = np.random.RandomState(0).randint(0, 256, (6, 9, 2)).astype(np.uint8)
    expected = [
        [[(int(values[3 * r : 3 * r + 3, 3 * c : 3 * c + 3, k].sum()) + 4) // 9 for k in range(2)] for c in range(3)]
        for r in range(2)
    ]
    np.testing.assert_array_equal(reduce_mean(values), expected)


def test_an_unknown_side_is_named():
    with pytest.raises(ValueError, match="middle"):
        random_occluder((0,), 64, 32, "middle")
