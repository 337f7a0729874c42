"""The extractor: the same person gives the same descriptor however the image is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from oamn_plugin.datasets.images import BadImageError
from oamn_plugin.modeling import OAMN
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.search.encoder import DeviceError, ImageEncoder
from oamn_plugin.search.extractor import CropError, EncoderExtractor

SIZE = (64, 32)


@pytest.fixture(scope="module")
def extractor() -> EncoderExtractor:
    torch.manual_seed(0)
    return EncoderExtractor(ImageEncoder(OAMN("mobilenet_v2", 0, SIZE, "plus"), input_size=SIZE), batch_size=3)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def test_every_kind_of_image_gives_the_same_descriptor(
    extractor: EncoderExtractor, frame: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(frame).save(tmp_path / "a.png")
    as_tensor = torch.from_numpy(frame).permute(2, 0, 1)
    kinds: list[Any] = [frame, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(frame), as_tensor]
    alone = [extractor(kind) for kind in kinds]
    assert all(torch.equal(one.descriptors, alone[0].descriptors) for one in alone)
    together = extractor([*kinds, torch.stack([as_tensor, as_tensor]), frame[None]])
    assert len(together) == 8
    assert torch.allclose(together.descriptors, alone[0].descriptors.expand(8, -1), atol=1e-6)
    assert together.places.tolist() == list(range(8))
    encoder = extractor.encoder
    with torch.inference_mode():
        normalised = encoder.normalise(encoder.read(str(tmp_path / "a.png"))[None])
        assert torch.allclose(extractor(normalised).descriptors, encoder.model(normalised), atol=1e-6)
        assert torch.equal(extractor(normalised[0]).descriptors, alone[0].descriptors)
        mask, _ = encoder.model.attend(encoder.model.encode(normalised))
    assert torch.allclose(alone[0].visible, mask.mean().view(1))
    assert alone[0].descriptors.dtype == torch.float32
    assert torch.allclose(together.descriptors.norm(dim=1), torch.ones(8))
    assert set(together.types) <= set(OCCLUSION_TYPES)


def test_boxes_of_a_frame_are_its_crops(extractor: EncoderExtractor, frame: np.ndarray) -> None:
    found = extractor.crops(frame, [[10.4, 20, 49.6, 100], [-5, -5, 40, 300]])
    crops = extractor([frame[20:100, 10:50], frame[:, :40]])
    assert torch.equal(found.descriptors, crops.descriptors)
    nobody = extractor.crops(frame, np.zeros((0, 4)))
    assert nobody.descriptors.shape == (0, found.descriptors.shape[1])
    assert (len(nobody.visible), nobody.types) == (0, [])
    for box, message in (
        ([200, 10, 250, 50], r"the box \[200.0, 10.0.* has no area inside the frame of 160 x 120"),
        ([30, 10, 30, 50], "has no area"),
        ([1, 1, np.nan, 3], "has no area"),
    ):
        with pytest.raises(CropError, match=message):
            extractor.crops(frame, [[0, 0, 10, 10], box])


def test_a_long_list_comes_in_batches_and_bad_files_are_told(
    extractor: EncoderExtractor, frame: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(frame).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    paths = [tmp_path / "a.png"] * 4 + [tmp_path / "bad.png", tmp_path / "a.png"]
    parts = list(extractor.stream((path for path in paths), "skip"))
    assert [len(part) for part in parts] == [3, 2]
    assert [place for part in parts for place in part.places.tolist()] == [0, 1, 2, 3, 5]
    assert [Path(error.path).name for error in parts[1].unreadable] == ["bad.png"]
    skipped = extractor(paths, "skip")
    assert (len(skipped), len(skipped.unreadable)) == (5, 1)
    with pytest.raises(BadImageError, match=r"bad\.png"):
        extractor(paths)
    assert len(extractor([tmp_path / "bad.png"], "skip")) == 0


def test_what_is_no_image_is_refused(extractor: EncoderExtractor) -> None:
    for wrong, message in (
        (np.zeros((4, 4)), r"must be \(H, W, 3\) RGB of uint8, got \(4, 4\) of float64"),
        (torch.zeros(3, 8, 8), r"must be \(3, 64, 32\), got \(3, 8, 8\)"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), r"got Tensor \(1, 8, 8\)"),
        (None, "got NoneType"),
    ):
        with pytest.raises(CropError, match=message):
            extractor(wrong)


def test_a_device_that_is_not_there_is_refused(extractor: EncoderExtractor) -> None:
    with pytest.raises(DeviceError, match="unknown device 'gpu': cpu, cuda, cuda:1 or mps"):
        EncoderExtractor(extractor.encoder, "gpu")
    for device, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not there:
            with pytest.raises(DeviceError, match=f"there is no device {device} here: take cpu"):
                EncoderExtractor(extractor.encoder, device)


def test_a_network_without_a_mask_says_nothing_of_occlusion(frame: np.ndarray) -> None:
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    found = EncoderExtractor(ImageEncoder(plain, input_size=SIZE), half=True)([frame])
    assert (found.visible, found.types) == (None, None)
    assert torch.allclose(found.descriptors.norm(dim=1), torch.ones(1))


def test_half_precision_keeps_the_descriptor(extractor: EncoderExtractor, frame: np.ndarray) -> None:
    half = EncoderExtractor(extractor.encoder, half=True)(frame)
    assert half.descriptors.dtype == torch.float32
    assert (half.descriptors * extractor(frame).descriptors).sum() > 0.99
