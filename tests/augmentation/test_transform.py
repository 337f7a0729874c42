from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oamn_plugin.augmentation.geometry import Geometry
from oamn_plugin.augmentation.occlusion import OcclusionAugmentation
from oamn_plugin.augmentation.transform import TrainingTransform
from oamn_plugin.occlusion import OCCLUSION_TYPES, strip

FIVE = OcclusionAugmentation()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, height: int = 24, width: int = 12) -> Tensor:
    return torch.randint(1, 256, (count, 3, height, width), generator=seeded(1), dtype=torch.uint8)


def test_aligned_views_show_the_clean_view_outside_their_strip() -> None:
    images = random_images(5)
    found = TrainingTransform(Geometry(3, 0.0, 0.5), FIVE)(images, seeded(2))
    for views, types in zip(found.images, found.types, strict=True):
        for view, index in zip(views, types, strict=True):
            top, left, rows, columns = strip(OCCLUSION_TYPES[index], 24, 12)
            outside = torch.ones(24, 12, dtype=torch.bool)
            outside[top : top + rows, left : left + columns] = False
            assert torch.equal(view[:, outside], views[0][:, outside])


def test_patches_come_from_unmoved_images() -> None:
    images = torch.full((8, 3, 24, 12), 200, dtype=torch.uint8)
    found = TrainingTransform(Geometry(10, 0.0, 0.5), FIVE)(images, seeded(2))
    for views, types in zip(found.images, found.types, strict=True):
        for view, index in zip(views[1:], types[1:], strict=True):
            top, left, rows, columns = strip(OCCLUSION_TYPES[index], 24, 12)
            assert (view[:, top : top + rows, left : left + columns] == 200).all(), "padding was taken for a patch"


def test_independent_views_never_flip_left_and_right() -> None:
    images = random_images(40)
    found = TrainingTransform(Geometry(0, 0.0, 1.0), FIVE, aligned=False)(images, seeded(4))
    pasted = OcclusionAugmentation()(images, generator=seeded(4))
    assert torch.equal(found.types, pasted.types)
    for view, flipped in ((0, True), (1, False), (2, False), (3, True), (4, True)):
        expected = pasted.images[:, view].float()
        assert torch.equal(found.images[:, view], expected.flip(3) if flipped else expected)


def test_independent_views_move_apart() -> None:
    found = TrainingTransform(Geometry(3, 0.0, 0.0), FIVE, aligned=False)(random_images(30), seeded())
    shared = OcclusionAugmentation()(random_images(30), generator=seeded())
    assert not torch.equal(found.images[:, 0], shared.images[:, 0].float())
    corner = [(found.images[:, view, :, 0] == 0).all(1).all(1) for view in range(5)]  # first row is padding
    assert not all(torch.equal(corner[0], one) for one in corner[1:])


@pytest.mark.parametrize("occlusion", [None, OcclusionAugmentation(0), FIVE])
def test_shapes_types_and_determinism(occlusion: OcclusionAugmentation | None) -> None:
    transform = TrainingTransform(Geometry(), occlusion, erasing=0.0 if occlusion is FIVE else 0.5)
    images = random_images(6)
    first, again = transform(images, seeded(1)), transform(images, seeded(1))
    assert first.images.shape == (6, transform.num_views, 3, 24, 12)
    assert first.images.dtype == (torch.uint8 if occlusion is FIVE else torch.float32)
    assert first.types.shape == (6, transform.num_views)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.types, again.types)
    if occlusion is None:
        assert not first.types.any()
    assert torch.equal(images, random_images(6)), "the decoded batch stays as it is"


def test_erasing_does_not_go_with_several_views() -> None:
    with pytest.raises(ValueError, match="one view an image, not for 5"):
        TrainingTransform(occlusion=FIVE, erasing=0.5)


def test_views_give_the_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        TrainingTransform(occlusion=FIVE)(random_images(2), seeded())
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="at least 4"):
            TrainingTransform(occlusion=FIVE)(random_images(2)[..., :2], seeded())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
