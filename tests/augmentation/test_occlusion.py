from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from oamn_plugin.augmentation.occlusion import OcclusionAugmentation, augmentation_of, draw_patch
from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES, TYPE_INDEX, split_type, strip
from oamn_plugin.presets import preset

SIZE = st.integers(4, 40)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, height: int, width: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=seeded(1)).to(dtype)


def box_mask(name: str, height: int, width: int) -> Tensor:
    top, left, rows, columns = strip(name, height, width)
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def stretch(patch: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bilinear, pixel by pixel: pixel centres at half coordinates, the border held."""
    out = np.empty((3, rows, columns))
    for y in range(rows):
        for x in range(columns):
            v = min(max((y + 0.5) * patch.shape[1] / rows - 0.5, 0), patch.shape[1] - 1)
            u = min(max((x + 0.5) * patch.shape[2] / columns - 0.5, 0), patch.shape[2] - 1)
            top, left = int(v), int(u)
            down, right = min(top + 1, patch.shape[1] - 1), min(left + 1, patch.shape[2] - 1)
            upper = patch[:, top, left] * (1 - (u - left)) + patch[:, top, right] * (u - left)
            lower = patch[:, down, left] * (1 - (u - left)) + patch[:, down, right] * (u - left)
            out[:, y, x] = upper * (1 - (v - top)) + lower * (v - top)
    return out


def straight_views(images: Tensor, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Five views of each image, one pixel after the other; draws in the documented order."""
    count, _, height, width = images.shape
    halves = torch.rand(count, generator=generator) < 0.5
    torch.randint(2, (count,), generator=generator)  # the axis, of which one pair of views would be made
    picks = torch.randint(count, (count,), generator=generator)
    views, types = np.empty((count, 5, 3, height, width)), np.zeros((count, 5), dtype=int)
    for i in range(count):
        donor = images[(i + 1 + int(picks[i]) % (count - 1)) % count].double().numpy()
        top, left, rows, columns = draw_patch(height, width, "corner", generator)
        patch = donor[:, top : top + rows, left : left + columns]
        views[i] = images[i].double().numpy()
        for v, side in enumerate(SIDES, start=1):
            name = f"{side}_{'half' if halves[i] else 'quarter'}"
            box = strip(name, height, width)
            views[i, v, :, box.top : box.top + box.height, box.left : box.left + box.width] = stretch(patch, *box[2:])
            types[i, v] = TYPE_INDEX[name]
    return views, types


@pytest.mark.parametrize(("height", "width"), [(16, 8), (17, 9), (11, 14)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("device", DEVICES)
def test_views_equal_the_straight_version(height: int, width: int, dtype: torch.dtype, device: str) -> None:
    images = random_images(4, height, width, dtype)
    found = OcclusionAugmentation()(images.to(device), generator=seeded(5))
    views, types = straight_views(images, seeded(5))
    assert found.images.dtype == dtype
    assert found.images.device.type == found.types.device.type == device
    np.testing.assert_array_equal(found.types.cpu().numpy(), types)
    tolerance = 0.5001 if dtype == torch.uint8 else 1e-3
    np.testing.assert_allclose(found.images.cpu().double().numpy(), views, atol=tolerance)


@given(height=SIZE, width=SIZE, count=st.integers(1, 4), axes=st.sampled_from([1, 2]), seed=st.integers(0, 999))
def test_only_the_strip_that_the_label_names_changes(height: int, width: int, count: int, axes: int, seed: int) -> None:
    images = random_images(count, height, width).long() + 1000  # no pixel of a patch equals one of the image
    donors = random_images(3, height, width).long()
    found = OcclusionAugmentation(axes)(images, donors, seeded(seed))
    assert found.images.shape == (count, 1 + 2 * axes, 3, height, width)
    assert (found.types[:, 0] == 0).all()
    for i in range(count):
        names = [OCCLUSION_TYPES[t] for t in found.types[i]]
        for view, name in zip(found.images[i], names, strict=True):
            changed = (view != images[i]).all(0)
            assert torch.equal(changed, box_mask(name, height, width))
        sides, areas = zip(*map(split_type, names[1:]), strict=True)
        assert sides in ([SIDES] if axes == 2 else [("left", "right"), ("bottom", "top")])
        assert len(set(areas)) == 1


def test_all_views_of_an_image_share_one_patch() -> None:
    images = random_images(6, 32, 32).float()  # on a square the strips of all sides have the same pixels, or transposed
    found = OcclusionAugmentation()(images, generator=seeded())
    for i, names in enumerate([[OCCLUSION_TYPES[t] for t in row] for row in found.types]):
        strips = {}
        for view, name in zip(found.images[i, 1:], names[1:], strict=True):
            top, left, rows, columns = strip(name, 32, 32)
            strips[name.split("_")[0]] = view[:, top : top + rows, left : left + columns]
        assert torch.equal(strips["left"], strips["right"])
        assert torch.equal(strips["top"], strips["bottom"])


@given(seed=st.integers(0, 10_000))
def test_an_image_never_meets_itself(seed: int) -> None:
    images = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 3, 8, 8)  # each image one grey
    found = OcclusionAugmentation()(images, generator=seeded(seed)).images
    assert all(len(found[i].unique()) == 2 for i in range(3))


def test_halves_and_pairs_are_as_likely_as_not() -> None:
    types = OcclusionAugmentation(axes=1)(random_images(2000, 4, 4), generator=seeded()).types
    assert 0.45 < (types[:, 1] <= 4).float().mean() < 0.55
    assert 0.45 < ((types[:, 1] - 1) % 4 == 0).float().mean() < 0.55


@pytest.mark.parametrize("device", DEVICES)
def test_the_generator_alone_decides(device: str) -> None:
    images, augmentation = random_images(4, 16, 8).to(device), OcclusionAugmentation()
    torch.manual_seed(0)
    first = augmentation(images, generator=seeded(3))
    state = torch.get_rng_state()
    torch.manual_seed(99)
    again = augmentation(images, generator=seeded(3))
    other = augmentation(images, generator=seeded(4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.types, again.types)
    assert not torch.equal(first.images, other.images)
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state()), "a given generator leaves the global one alone"


def test_the_batch_itself_stays_as_it_is() -> None:
    images = random_images(3, 16, 8)
    copy = images.clone()
    for axes in (0, 2):
        OcclusionAugmentation(axes, probability=1.0, cut_share=0.5)(images, generator=seeded())
    assert torch.equal(images, copy)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_one_view_is_occluded_as_often_as_asked_with_all_types_alike(probability: float) -> None:
    images = torch.full((1600, 3, 8, 8), 500)
    views = OcclusionAugmentation(0, probability=probability)(images, random_images(9, 8, 8).long(), seeded())
    out, types = views.images[:, 0], views.types[:, 0]
    counts = torch.bincount(types, minlength=9)
    assert abs(float((types > 0).float().mean()) - probability) < 0.05
    if probability:
        assert counts[1:].min() > 0.7 * counts[1:].max() - 10
    for image, index in list(zip(out, types.tolist(), strict=True))[:64]:
        assert torch.equal((image != 500).any(0), box_mask(OCCLUSION_TYPES[index], 8, 8))


@given(height=st.integers(20, 300), width=st.integers(20, 300), seed=st.integers(0, 10_000))
def test_a_patch_touches_a_corner_and_has_the_stated_area_and_shape(height: int, width: int, seed: int) -> None:
    top, left, rows, columns = draw_patch(height, width, "corner", seeded(seed))
    assert top in (0, height - rows)
    assert left in (0, width - columns)
    assert rows <= height
    assert columns <= width
    rounding = (rows + columns + 1) / (height * width)
    if max(height, width) / min(height, width) < 1.5:  # else all ten draws may fail to fit
        assert 0.02 - rounding <= rows * columns / (height * width) <= 0.2 + rounding
        assert 0.3 * (1 - 1 / rows) - 1 / columns <= rows / columns <= 3.3 * (1 + 1 / columns) + 1 / columns


def test_patches_are_spread_over_areas_shapes_and_corners() -> None:
    generator = seeded()
    boxes = [draw_patch(256, 128, "corner", generator) for _ in range(3000)]
    corners = {(top == 0, left == 0) for top, left, _, _ in boxes}
    areas = [rows * columns / (256 * 128) for _, _, rows, columns in boxes]
    assert len(corners) == 4
    shares = [np.mean([(t == 0, left == 0) == corner for t, left, _, _ in boxes]) for corner in corners]
    assert max(abs(share - 0.25) for share in shares) < 0.03
    assert abs(np.mean(areas) - 0.11) < 0.005
    assert abs(np.median(areas) - 0.11) < 0.01
    assert np.std(areas) == pytest.approx(0.18 / math.sqrt(12), rel=0.1)


def test_anywhere_is_not_bound_to_the_corners() -> None:
    generator = seeded()
    boxes = [draw_patch(64, 64, "anywhere", generator) for _ in range(200)]
    inside = [0 < top < 64 - rows and 0 < left < 64 - columns for top, left, rows, columns in boxes]
    assert np.mean(inside) > 0.8
    assert all(0 <= top <= 64 - rows and 0 <= left <= 64 - columns for top, left, rows, columns in boxes)


@pytest.mark.parametrize(("height", "width"), [(4, 400), (400, 4), (4, 4)])
def test_a_patch_that_never_fits_is_cut(height: int, width: int) -> None:
    for seed in range(50):
        top, left, rows, columns = draw_patch(height, width, "corner", seeded(seed))
        assert 0 <= top <= height - rows
        assert 0 <= left <= width - columns
        assert rows >= 1
        assert columns >= 1


def test_repr_names_every_argument() -> None:
    text = repr(OcclusionAugmentation(1, "anywhere", 0.25))
    assert text == (
        "OcclusionAugmentation(axes=1, patch_source='anywhere', probability=0.25, black_share=0.0, cut_share=0.0, "
        "objects=None)"
    )


def test_black_patches_cover_the_strip_of_their_type() -> None:
    images = torch.ones(40, 3, 32, 16)
    found = OcclusionAugmentation(0, probability=1.0, black_share=1.0)(images, generator=seeded())
    for view, index in zip(found.images[:, 0], found.types[:, 0].tolist(), strict=True):
        assert torch.equal((view == 0).all(0), box_mask(OCCLUSION_TYPES[index], 32, 16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axes": 3}, "axes"),
        ({"patch_source": "middle"}, "patch_source"),
        ({"probability": 1.5}, "probability"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OcclusionAugmentation(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 3, 8)])
def test_what_is_no_batch_of_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a batch of images"):
        OcclusionAugmentation()(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_cut_view_shows_what_the_strip_leaves_stretched(dtype: torch.dtype) -> None:
    images = random_images(300, 16, 12).to(dtype)
    augmentation = OcclusionAugmentation(axes=0, probability=1.0, cut_share=1.0)
    found = augmentation(images, generator=seeded())
    assert found.images.dtype == dtype
    assert not found.types.any()
    kept = {
        "left": lambda image, n: image[:, :, n:],
        "right": lambda image, n: image[:, :, :-n],
        "top": lambda image, n: image[:, n:],
        "bottom": lambda image, n: image[:, :-n],
    }
    seen = set()
    for image, view in zip(images, found.images[:, 0], strict=True):
        matches = []
        for side, area in itertools.product(kept, (2, 4)):
            part = kept[side](image, (16 if side in ("top", "bottom") else 12) // area)
            wide = F.interpolate(part[None].float(), (16, 12), mode="bilinear", align_corners=False)[0]
            if torch.allclose(view.float(), wide.round() if dtype == torch.uint8 else wide):
                matches.append((side, area))
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 8


def test_cut_views_come_as_often_as_asked_and_only_among_the_occluded() -> None:
    images = torch.full((1600, 3, 8, 8), 500)  # a cut view of one grey is that grey
    augmentation = OcclusionAugmentation(axes=0, probability=0.5, cut_share=0.4)
    found = augmentation(images, random_images(9, 8, 8).long(), seeded())
    changed = (found.images != 500).flatten(1).any(1)
    assert torch.equal(changed, found.types[:, 0] > 0)
    assert abs(changed.float().mean() - 0.5 * 0.6) < 0.04


def test_no_cut_draws_nothing() -> None:
    """A share of 0 must leave the generator where a version without cuts left it."""
    images, generator, expected = random_images(6, 16, 8), seeded(), seeded()
    OcclusionAugmentation(axes=0)(images, generator=generator)
    torch.rand(6, generator=expected)  # which are occluded, their types, donors, and patches
    torch.randint(1, 9, (6,), generator=expected)
    torch.randint(6, (6,), generator=expected)
    for _ in range(6):
        draw_patch(16, 8, "corner", expected)
    assert torch.equal(generator.get_state(), expected.get_state())
    cutting = seeded()
    OcclusionAugmentation(axes=0, cut_share=0.5)(images, generator=cutting)
    assert not torch.equal(cutting.get_state(), expected.get_state())


def test_the_augmentation_of_a_preset_has_its_options() -> None:
    options = preset("plus", occluded_share=0.5, cut_share=0.25)
    expected = "axes=0, patch_source='anywhere', probability=0.5, black_share=0.3, cut_share=0.25, objects=None"
    assert repr(augmentation_of(options)) == f"OcclusionAugmentation({expected})"
