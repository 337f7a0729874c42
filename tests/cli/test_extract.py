"""`oamn extract`: a folder in, descriptors out; what cannot be read is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oamn_plugin import Extractor
from oamn_plugin.cli.extract import main
from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.encoder import ModelChoiceError


def test_a_folder_becomes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "crops" / "cam1").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("a.png", "cam1/b.png", "cam1/c.png"):
        Image.fromarray(generator.integers(0, 256, (40, 20, 3), dtype=np.uint8)).save(tmp_path / "crops" / name)
    (tmp_path / "crops" / "bad.jpg").write_bytes(b"no image")
    words = [str(tmp_path / "crops"), "--out", str(tmp_path / "out" / "crops.npz"), "--batch-size", "2"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "3 images by packaged" in out
    assert f"1 images could not be read and are left out:\n  {tmp_path / 'crops' / 'bad.jpg'}: " in out
    found = np.load(tmp_path / "out" / "crops.npz")
    assert sorted(Path(path).name for path in found["paths"]) == ["a.png", "b.png", "c.png"]
    again = Extractor()(list(map(str, found["paths"])))
    assert torch.allclose(torch.from_numpy(found["descriptors"]), again.descriptors, atol=1e-6)
    assert found["types"].tolist() == again.types
    assert np.allclose(found["visible"], again.visible.numpy(), atol=1e-6)
    (tmp_path / "crops" / "bad.jpg").unlink()
    assert main(words) == 0


def test_no_image_is_an_error(tmp_path: Path) -> None:
    for place, message in ((tmp_path, "there is no image in"), (tmp_path / "gone", "there is no folder or image")):
        with pytest.raises(DataSetError, match=message):
            main([str(place), "--out", str(tmp_path / "x.npz")])


def test_the_input_of_a_network_file_is_read_in_full_or_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 40)).save(tmp_path / "a.png")
    with pytest.raises(ModelChoiceError, match="--pixel-mean, --pixel-std, --order missing"):
        main([str(tmp_path), "--out", str(tmp_path / "x.npz"), "--weights", "net.onnx", "--input-size", "64", "32"])


def test_another_ending_than_npz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpectedError, match=r"--out is written as \.npz"):
        main([str(tmp_path), "--out", str(tmp_path / "x.csv")])
