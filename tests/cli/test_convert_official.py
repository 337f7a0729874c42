from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from run_checks import damage
from run_tool import Result, run_tool

from oamn_plugin.modeling import OAMN
from oamn_plugin.modeling.official import CHECKPOINT_PREFIX, to_official_state


def run(*arguments: object) -> Result:
    return run_tool("convert_official.py", *arguments)


@pytest.fixture(scope="module")
def official() -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    state = to_official_state(OAMN("resnet50", num_classes=3, preset="official"))
    state["TaskNet"]["base.fc.weight"] = torch.rand(1000, 2048)
    return state


def test_there_and_back_is_the_same(tmp_path: Path, official: dict[str, dict[str, torch.Tensor]]) -> None:
    torch.save({**official, "epoch": 29}, tmp_path / "official.pth")
    assert run(tmp_path / "official.pth", tmp_path / "ours.pth").code == 0
    ours = torch.load(tmp_path / "ours.pth", weights_only=True)["model"]
    assert all(key.startswith(CHECKPOINT_PREFIX) for key in ours)
    model = OAMN("resnet50", num_classes=3, preset="official")
    model.load_state_dict({key[len(CHECKPOINT_PREFIX) :]: value for key, value in ours.items()})

    assert run("--reverse", tmp_path / "ours.pth", tmp_path / "back.pth").code == 0
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
    assert result.code == 2
    assert "3 entries differ" in result.err
    for line in ("missing: TaskNet feat_bn.bias", "unexpected: MaskNet surplus", "(12, 192, 1, 1) in the checkpoint"):
        assert line in result.err
    assert not (tmp_path / "ours.pth").exists()


def test_bad_files_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "plain.pth")
    (tmp_path / "empty.pth").touch()
    torch.save({"TaskNet": {"weight": torch.rand(9000)}, "MaskNet": {}}, tmp_path / "damaged.pth")
    damage(tmp_path / "damaged.pth", "one bit", random.Random(0))
    for name in ("empty.pth", "text.pth", "code.pth", "plain.pth", "damaged.pth", "absent.pth"):
        for flags in ([], ["--reverse"]):
            result = run(*flags, tmp_path / name, tmp_path / "out.pth")
            assert result.code == 2, name
            assert result.err.startswith("oamn convert-official: ")
            assert len(result.err.strip().splitlines()) == 1, result.err
            assert name != "damaged.pth" or "is damaged" in result.err
