"""`oamn weights`."""

from __future__ import annotations

from pathlib import Path

import pytest

from oamn_plugin.cli.weights import main
from oamn_plugin.weights import catalogue


def test_list_and_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OAMN_WEIGHTS", str(tmp_path))
    (tmp_path / "market_sbs_R50-ibn.pth").write_bytes(b"weights")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(catalogue()) + 5  # header, a line, the folder, and what the licence covers
    assert sum(line.endswith("yes") for line in lines) == 1
    assert any("Market1501 94.4 / 86.1" in line and "market_bot_R50" in line for line in lines)
    assert main(["get", "market_sbs_R50-ibn"]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "market_sbs_R50-ibn.pth") in out
    assert "MODEL.INIT market_sbs_R50-ibn" in out
    assert "--weights market_sbs_R50-ibn" in out
    (tmp_path / "resnet50_ibn_a-d9d0bb7b.pth").write_bytes(b"weights")
    assert main(["get", "resnet50_ibn_a_imagenet"]) == 0
    assert "--weights" not in (out := capsys.readouterr().out)  # no model of people
    assert "MODEL.INIT resnet50_ibn_a_imagenet" in out
    assert main(["get", "resnet50_ibn_a_imagenet", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"{tmp_path / 'resnet50_ibn_a-d9d0bb7b.pth'}\n")
    assert "MODEL.INIT" not in out  # the configuration names the file
