"""Cut-outs with an outline: where they stand, how much they cover, and what is no cut-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oamn_plugin.augmentation import CutOuts, OcclusionAugmentation
from oamn_plugin.augmentation.objects import CutOutError, paste
from oamn_plugin.datasets.cutouts import write_cutouts
from oamn_plugin.losses.position import PositionLoss, coverage
from oamn_plugin.losses.score import OcclusionScoreLoss
from oamn_plugin.occlusion import SIDES

SIZE = (64, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cutouts(tmp_path_factory.mktemp("cutouts") / "drawn", 12)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", SIDES)
def test_an_object_stands_at_its_side_and_covers_15_to_60_percent(folder: Path, side: str) -> None:
    objects, generator = CutOuts(folder), seeded()
    layers = [layer for _ in range(20) if (layer := objects.draw(side, *SIZE, generator)) is not None]
    assert len(layers) > 15
    edge = {"left": (slice(None), 0), "right": (slice(None), -1), "bottom": (-1, slice(None)), "top": (0, slice(None))}
    for layer in layers:
        hidden = layer[3] >= 0.5
        assert 0.15 <= hidden.float().mean() <= 0.6
        assert hidden[edge[side]].any(), "the side itself is touched"
        assert layer[:3].min() >= 0
        assert layer[:3].max() <= 255


def test_a_picture_without_a_side_in_its_name_stands_at_every_side(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[4:18, 5:25] = (200, 10, 10, 255)
    Image.fromarray(pixels).save(tmp_path / "leftover.png")
    objects = CutOuts(tmp_path)
    assert all(objects.draw(side, *SIZE, seeded(1)) is not None for side in SIDES)


def test_pixels_outside_the_outline_stay(folder: Path) -> None:
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=seeded())
    layer = CutOuts(folder).draw("bottom", *SIZE, seeded(2))
    assert layer is not None
    found = paste(image, layer)
    assert found.dtype == torch.uint8
    assert torch.equal(found[:, layer[3] == 0], image[:, layer[3] == 0])
    assert not torch.equal(found, image)


def test_half_of_the_occluders_are_objects_and_say_which_pixels_they_hide(folder: Path) -> None:
    images = torch.full((200, 3, *SIZE), 128.0)
    views = OcclusionAugmentation(0, probability=0.5, black_share=1.0, objects=CutOuts(folder))(
        images, generator=seeded()
    )
    assert views.covered is not None
    assert views.covered.shape == (200, 1, *SIZE)
    changed = (views.images[:, 0] != images).any(1)
    strips = objects = 0
    for row, index in enumerate(views.types[:, 0].tolist()):
        hidden = views.covered[row, 0]
        exact = (coverage(*SIZE)[index] > 0.5) == hidden
        if not index:
            assert not (hidden | changed[row]).any()
        elif exact.all():
            strips += 1
        else:
            objects += 1
            assert (changed[row] & ~hidden).float().mean() < 0.12, "only soft edges beside what counts as hidden"
    assert 70 < strips + objects < 130
    assert abs(strips - objects) < 30


def test_losses_of_covered_pixels_are_those_of_the_strips_types() -> None:
    types = torch.arange(9)[:, None]
    covered = (coverage(*SIZE) > 0.5)[:, None]
    masks, logits = torch.rand(9, 1, 1, 8, 4, generator=seeded()), torch.randn(9, 1, 4, generator=seeded(1))
    for loss, value in ((PositionLoss(), masks), (OcclusionScoreLoss(), logits)):
        torch.testing.assert_close(loss(value, types, covered), loss(value, types))
    less = covered.clone()
    less[:, :, :, ::2] = False
    assert PositionLoss()(masks, types, less) != PositionLoss()(masks, types)
    assert OcclusionScoreLoss()(logits, types, less) != OcclusionScoreLoss()(logits, types)


def test_a_native_strip_is_as_sharp_as_its_donor_half_of_the_time() -> None:
    donors = torch.randint(0, 256, (300, 3, *SIZE), generator=seeded()).float()
    views = OcclusionAugmentation(0, "native", probability=1.0)(donors, generator=seeded(3))
    sharp = 0
    for row, index in enumerate(views.types[:, 0].tolist()):
        hidden = coverage(*SIZE)[index] > 0.5
        inside = views.images[row, 0][:, hidden]
        sharp += int(torch.equal(inside, inside.round()))  # whole numbers: no pixel was interpolated
    assert 110 < sharp < 190


def test_what_is_no_folder_of_cut_outs_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CutOutError, match="oamn data occluders"):
        CutOuts(tmp_path)
    for picture, message in (
        (Image.new("RGBA", (8, 8), (1, 2, 3, 0)), "shows nothing"),
        (Image.new("RGB", (8, 8)), "has no transparency"),
    ):
        picture.save(tmp_path / "one.png")
        with pytest.raises(CutOutError, match=message):
            CutOuts(tmp_path)
    (tmp_path / "one.png").write_bytes(b"no picture")
    with pytest.raises(CutOutError, match="cannot be read"):
        CutOuts(tmp_path)


def test_several_views_take_neither() -> None:
    with pytest.raises(ValueError, match="axes must be 0"):
        OcclusionAugmentation(2, "native")
