from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from oamn_plugin.augmentation.geometry import Geometry, erase


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, height: int = 24, width: int = 12) -> Tensor:
    return torch.randint(1, 256, (count, 3, height, width), generator=seeded(1), dtype=torch.uint8)


def smooth_images(count: int, height: int = 64, width: int = 32) -> Tensor:
    coarse = random_images(count, 8, 4)
    return TF.resize(coarse, [height, width], antialias=False)


def straight(image: Tensor, draws: Tensor, padding: int, rotation: float, flip: float) -> Tensor:
    """One image with PIL: pad with black and crop, rotate about the centre, flip."""
    height, width = image.shape[-2:]
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    top, left = (int(torch.floor(d * (2 * padding + 1))) for d in draws[1:3])
    picture = ImageOps.expand(picture, padding, fill=(0, 0, 0)).crop((left, top, left + width, top + height))
    if rotation:
        angle = (2 * float(draws[3]) - 1) * rotation
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(0, 0, 0))
    if draws[0] < flip:
        picture = ImageOps.mirror(picture)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@given(height=st.integers(4, 33), width=st.integers(4, 33), padding=st.integers(0, 12), seed=st.integers(0, 9999))
def test_flip_and_crop_equal_pil_to_the_bit(height: int, width: int, padding: int, seed: int) -> None:
    images = random_images(3, height, width)
    found = Geometry(padding, rotation=0, flip=0.5)(images, seeded(seed))
    draws = torch.rand(3, 4, generator=seeded(seed))
    for image, moved, draw in zip(images, found, draws, strict=True):
        assert torch.equal(moved, straight(image, draw, padding, 0, 0.5))


def test_with_rotation_it_is_close_to_pil() -> None:
    images = smooth_images(8)
    found = Geometry(padding=4, rotation=15, flip=0.5)(images, seeded(3))
    draws = torch.rand(8, 4, generator=seeded(3))
    for image, moved, draw in zip(images, found, draws, strict=True):
        expected = straight(image, draw, 4, 15, 0.5)
        inner = (moved > 0).all(0) & (expected > 0).all(0)  # the soft seam to black differs by half a pixel
        assert inner.float().mean() > 0.6
        assert (moved.float() - expected.float()).abs()[:, inner].mean() < 2


@pytest.mark.parametrize("seed", range(4))
def test_rotation_alone_is_close_to_torchvisions(seed: int) -> None:
    image = smooth_images(1)
    found = Geometry(padding=0, rotation=20, flip=0)(image, seeded(seed)).float()
    angle = float(2 * torch.rand(1, 4, generator=seeded(seed))[0, 3] - 1) * 20
    expected = TF.rotate(image.float(), angle, TF.InterpolationMode.BILINEAR)
    inside = TF.rotate(torch.ones(1, 1, 64, 32), angle) > 0
    assert ((found - expected).abs() * inside).mean() < 2
    opposite = TF.rotate(image.float(), -angle, TF.InterpolationMode.BILINEAR)
    assert (found - expected).abs().mean() < (found - opposite).abs().mean()


def test_nothing_moves_without_padding_rotation_and_flip() -> None:
    images = random_images(4, 17, 9)
    assert torch.equal(Geometry(0, 0.0, 0.0)(images, seeded()), images)
    assert torch.equal(Geometry(0, 0.0, 1.0)(images, seeded()), images.flip(3))


def test_types_are_kept_and_may_flip_is_heeded() -> None:
    images = random_images(6)
    allowed = torch.tensor([True, False] * 3)
    found = Geometry(0, 0.0, 1.0)(images.float(), seeded(), allowed)
    assert found.dtype == torch.float32
    assert torch.equal(found[allowed], images[allowed].float().flip(3))
    assert torch.equal(found[~allowed], images[~allowed].float())


def test_erasing_fills_one_rectangle_of_the_published_size() -> None:
    images = torch.zeros(400, 3, 64, 32)
    out = erase(images, 1.0, torch.tensor([1.0, 2.0, 3.0]), seeded())
    shares = []
    for image in out:
        filled = image[0] == 1
        if not filled.any():
            continue
        rows, columns = filled.any(1).nonzero().flatten(), filled.any(0).nonzero().flatten()
        assert filled.sum() == len(rows) * len(columns) == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert torch.equal(image[1], 2.0 * filled)
        assert torch.equal(image[2], 3.0 * filled)
        shares.append(float(filled.float().mean()))
    assert len(shares) > 390
    assert 0.01 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.35
    assert not images.any()


def test_erasing_happens_as_often_as_asked() -> None:
    out = erase(torch.zeros(1000, 3, 32, 32), 0.3, torch.ones(3), seeded())
    assert abs(float(out.flatten(1).any(1).float().mean()) - 0.3) < 0.05
