"""tools/package_model.py: a run becomes a pair of files that loads without any toolbox and ranks the same."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from run_tool import run_tool
from search_runs import make_run

from oamn_plugin.search import packaged_encoder

ON = ("--on", "OccludedPedestrians")


@pytest.mark.parametrize(("name", "arch"), [("build_mobilenetv2_backbone", ""), ("torchvision", "mobilenet_v2")])
def test_a_run_is_packaged(embedded_root, tmp_path, name, arch):
    run = make_run(tmp_path / "run", embedded_root, name, arch)
    result = run_tool("package_model.py", run, tmp_path / "assets", *ON, "--command", "python tools/train_net.py")
    assert result.code == 0, result.err
    card = json.loads((tmp_path / "assets" / "oamn_small.json").read_text())
    assert card["backbone"] == "mobilenet_v2"
    assert card["command"] == "python tools/train_net.py"
    assert "OccludedPedestrians (plain)" in card["scores"]
    assert all(set(score) == {"Rank-1", "mAP", "mAP_trapezoid"} for score in card["scores"].values())
    encoder = packaged_encoder(tmp_path / "assets")
    assert encoder.dim == 1280
    assert asdict(encoder.unification) == card["unification"]  # as the run was configured


def test_what_cannot_be_packaged(embedded_root, tmp_path):
    run = make_run(tmp_path / "run", embedded_root, arch="resnet18")  # too large
    result = run_tool("package_model.py", run, tmp_path / "assets", *ON)
    assert (result.code, "use a smaller backbone" in result.err) == (2, True)
    result = run_tool("package_model.py", run, tmp_path / "assets", "--on", "Market1501")
    assert (result.code, "Market1501: " in result.err) == (2, True)  # it is not there
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("torchvision", "build_osnet_backbone").replace("1.0x", "x1_0"))
    result = run_tool("package_model.py", run, tmp_path / "assets", *ON)
    assert (result.code, "does not fit this model" in result.err) == (2, True)
    assert not (tmp_path / "assets").exists()
