"""Each host without the other, and torchreid in both of its layouts."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_torchreid import ROOT, require_torchreid, run_python, tiny_options

from oamn_plugin.occlusion import OCCLUSION_TYPES

require_torchreid()

from oamn_plugin.hosts.torchreid.compat import INSTALL_COMMAND  # noqa: E402

needs_fastreid = pytest.mark.skipif(
    importlib.util.find_spec("fastreid") is None,
    reason="fastreid is not installed: pip install --no-deps fastreid==1.4.0",
)
QUICKSTART = ROOT / "examples" / "torchreid_quickstart.py"
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules[{absent!r}] = None  # as if it were not installed
import oamn_plugin
package = importlib.import_module({package!r})
names = [one.name for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), "modules")
assert not any(name.split(".")[0] == {absent!r} and module for name, module in sys.modules.items())
"""


@needs_fastreid
def test_fastreid_works_where_torchreid_is_absent() -> None:
    done = run_python("-c", IMPORT_ALL.format(absent="torchreid", package="oamn_plugin.hosts.fastreid"))
    assert done.returncode == 0, done.stderr


def test_torchreid_and_the_quickstart_work_where_fastreid_is_absent(embedded_root: Path, tmp_path: Path) -> None:
    script = f"""{IMPORT_ALL.format(absent="fastreid", package="oamn_plugin.hosts.torchreid")}
import runpy
sys.argv = ["quickstart", "--root", {str(embedded_root)!r}, "--save-dir", {str(tmp_path)!r}]
runpy.run_path({str(QUICKSTART)!r}, run_name="__main__")
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "the right person is at rank" in line]
    with np.load(tmp_path / "per_query" / "OccludedPedestrians.npz") as stored:
        types = [OCCLUSION_TYPES[number] for number in stored["posterior"][:5].argmax(1)]
        rows = zip(stored["paths"][:5], types, stored["first_rank"][:5], strict=True)
        assert said == [f"{Path(path).name}: {name}, the right person is at rank {rank}" for path, name, rank in rows]
    assert json.loads((tmp_path / "results.json").read_text())["OccludedPedestrians"]["num_query"] == 12


def test_the_core_works_where_both_are_absent() -> None:
    script = "import sys; sys.modules['torchreid'] = sys.modules['fastreid'] = None\n"
    script += (
        "import oamn_plugin, oamn_plugin.modeling, oamn_plugin.losses, oamn_plugin.retrieval, oamn_plugin.datasets\n"
    )
    script += "import oamn_plugin.hosts.shared.evaluation, oamn_plugin.hosts.shared.conversion"
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr


def test_the_command_names_what_is_missing_in_one_line(tmp_path: Path) -> None:
    for absent, command in (("torchreid", INSTALL_COMMAND), ("cv2", "pip install opencv-python-headless")):
        script = f"""
import runpy, sys
sys.modules[{absent!r}] = None
sys.argv = ["train_torchreid.py", "data.save_dir", {str(tmp_path)!r}]
runpy.run_path("tools/train_torchreid.py", run_name="__main__")
"""
        done = run_python("-c", script)
        assert done.returncode == 2
        assert done.stderr.startswith("oamn train: torchreid is ")
        assert done.stderr.strip().endswith(command)
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture
def github_layout(tmp_path: Path) -> Path:
    """The installed files under the names that the repository on GitHub gives them: ``torchreid.models`` and so on."""
    spec = importlib.util.find_spec("torchreid")
    assert spec is not None
    assert spec.submodule_search_locations
    installed = Path(spec.submodule_search_locations[0])
    source = installed / "reid" if (installed / "reid").is_dir() else installed
    target = tmp_path / "github" / "torchreid"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in target.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("torchreid.reid", "torchreid"), encoding="utf-8")
    return target.parent


def test_the_github_layout_trains_and_tests(github_layout: Path, embedded_root: Path, tmp_path: Path) -> None:
    script = f"""
import runpy, sys
from oamn_plugin.hosts.torchreid import compat, register
import torchreid
register()
assert torchreid.models.__name__ == "torchreid.models", torchreid.models.__name__
assert "oamn_osnet_x1_0" in compat.model_factory() and "OccludedDuke" in compat.image_datasets()
sys.argv = ["quickstart", "--root", {str(embedded_root)!r}, "--save-dir", {str(tmp_path / "run")!r}]
runpy.run_path({str(QUICKSTART)!r}, run_name="__main__")
from oamn_plugin.hosts.torchreid.main import train_or_test
from oamn_plugin.hosts.torchreid.config import load_config
train_or_test(load_config("configs/torchreid/osnet_x0_25.yml", sys.argv_of_osnet))
assert not any("torchreid.reid" in name for name in sys.modules)
"""
    options = tiny_options(embedded_root, tmp_path / "osnet", train__max_epoch=1)
    done = run_python("-c", script.replace("sys.argv_of_osnet", repr(options)), PYTHONPATH=f"{github_layout}:{ROOT}")
    assert done.returncode == 0, done.stderr
    for name in ("run", "osnet"):
        assert (tmp_path / name / "results.json").exists()


def test_importing_the_adapter_says_nothing() -> None:
    done = run_python("-W", "error::UserWarning", "-c", "import oamn_plugin.hosts.torchreid")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
