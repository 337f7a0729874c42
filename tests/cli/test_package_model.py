"""tools/package_model.py: a run becomes a pair of files that loads without any toolbox and ranks the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from search_runs import TOOLS, make_run, run_tool


@pytest.mark.parametrize(("name", "arch"), [("build_mobilenetv2_backbone", ""), ("torchvision", "mobilenet_v2")])
def test_a_run_is_packaged(embedded_root, tmp_path, name, arch):
    run = make_run(tmp_path / "run", embedded_root, name, arch)
    result = run_tool("package_model.py", run, tmp_path / "assets", "--command", "python tools/train_net.py")
    assert result.code == 0, result.err
    card = json.loads((tmp_path / "assets" / "oamn_small.json").read_text())
    assert card["backbone"] == "mobilenet_v2"
    assert card["command"] == "python tools/train_net.py"
    assert set(card["scores"]["OccludedPedestrians"]) == {"Rank-1", "mAP", "mAP_trapezoid"}
    code = (
        "import sys, pathlib\nfrom oamn_plugin.retrieval.encoder import packaged_encoder\n"
        f"print(packaged_encoder(pathlib.Path({str(tmp_path / 'assets')!r})).dim, 'fastreid' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOOLS.parent)
    assert shown.stdout.split() == ["1280", "False"]


def test_what_cannot_be_packaged(embedded_root, tmp_path):
    run = make_run(tmp_path / "run", embedded_root)  # resnet18 is too large
    result = run_tool("package_model.py", run, tmp_path / "assets")
    assert (result.code, "use a smaller backbone" in result.err) == (2, True)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("torchvision", "build_osnet_backbone").replace("1.0x", "x1_0"))
    result = run_tool("package_model.py", run, tmp_path / "assets")
    assert result.code == 2
    assert not (tmp_path / "assets").exists()
