from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.official import CHECKPOINT_PREFIX, to_official_state

TOOL = Path(__file__).parents[2] / "tools" / "convert_official.py"


class Result(NamedTuple):
    returncode: int
    stderr: str


def run(*arguments: object) -> Result:
    """The command in this process: torch is imported once."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = runpy.run_path(str(TOOL))["main"]([str(argument) for argument in arguments])
    return Result(code, errors.getvalue())


@pytest.fixture(scope="module")
def official() -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    state = to_official_state(OAMN("resnet50", num_classes=3, preset="official"))
    state["TaskNet"]["base.fc.weight"] = torch.rand(1000, 2048)
    return state


def test_there_and_back_is_the_same(tmp_path: Path, official: dict[str, dict[str, torch.Tensor]]) -> None:
    torch.save({**official, "epoch": 29}, tmp_path / "official.pth")
    assert run(tmp_path / "official.pth", tmp_path / "ours.pth").returncode == 0
    ours = torch.load(tmp_path / "ours.pth", weights_only=True)["model"]
    assert all(key.startswith(CHECKPOINT_PREFIX) for key in ours)
    model = OAMN("resnet50", num_classes=3, preset="official")
    model.load_state_dict({key[len(CHECKPOINT_PREFIX) :]: value for key, value in ours.items()})

    assert run("--reverse", tmp_path / "ours.pth", tmp_path / "back.pth").returncode == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    for net, entries in official.items():
        assert list(back[net]) == list(entries)
        for name, value in entries.items():
            assert torch.equal(back[net][name], value), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.pth", "official.pth", "ours.pth"]


def test_another_shape_is_refused_with_the_list(tmp_path: Path, official: dict[str, dict[str, torch.Tensor]]) -> None:
    task = {key: value for key, value in official["TaskNet"].items() if key != "feat_bn.bias"}
    mask = {**official["MaskNet"], "fc.gg_spatial.0.weight": torch.zeros(12, 192, 1, 1), "surplus": torch.zeros(1)}
    torch.save({"TaskNet": task, "MaskNet": mask}, tmp_path / "other.pth")
    result = run(tmp_path / "other.pth", tmp_path / "ours.pth")
    assert result.returncode == 2
    assert "3 entries differ" in result.stderr
    for line in ("missing: TaskNet feat_bn.bias", "unexpected: MaskNet surplus", "(12, 192, 1, 1) in the checkpoint"):
        assert line in result.stderr
    assert not (tmp_path / "ours.pth").exists()


def test_bad_files_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "plain.pth")
    (tmp_path / "empty.pth").touch()
    for name in ("empty.pth", "text.pth", "code.pth", "plain.pth", "absent.pth"):
        for flags in ([], ["--reverse"]):
            result = run(*flags, tmp_path / name, tmp_path / "out.pth")
            assert result.returncode == 2, name
            assert result.stderr.startswith("oamn convert-official: ")
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_help_needs_no_torch() -> None:
    code = f"import sys, runpy; sys.argv=['x','--help']\ntry: runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("False")
