"""The house rules: imports point down, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "oamn_plugin"
HOSTS = {"fastreid", "torchreid", "yacs"}
LAYERS = (
    {"errors", "environment", "signals"},
    {"files", "configurations", "locks"},
    {"occlusion", "presets"},
    {"augmentation", "datasets", "weights"},
    {"losses", "modeling"},
    {"retrieval"},
    {"reporting"},
    {"search"},
    {"benchmark"},
    {"hosts"},
    {"cli", "trackers", "__main__"},
)
"""From the ground up, as in docs/architecture.md."""
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of everything a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(path.relative_to(ROOT).parent.parts)[: 1 - node.level or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def part(name: str) -> str:
    return [*name.split("."), ""][1]


def own_part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_part_of_the_package_has_its_layer() -> None:
    parts = {own_part(path) for path in FILES} - {"__init__"}
    assert parts <= set(HEIGHT), "a new part needs a place in LAYERS above"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = own_part(path)
    for name in imported(path):
        assert name.split(".")[0] not in HOSTS or own == "hosts", f"{name} below hosts/"
        if name.split(".")[0] == "oamn_plugin" and part(name) in HEIGHT and own != "__init__":
            assert HEIGHT[part(name)] <= HEIGHT[own], f"{name} lies above {own}"


def modules() -> dict[str, Path]:
    """Every module of the package and of tools/ by its full name."""
    names = {}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names | {path.stem: path for path in (ROOT / "tools").glob("*.py")}


def test_no_import_circle() -> None:
    """Imports inside functions count: a circle that is hidden there is one all the same."""
    known = modules()
    graph = {}
    for name, path in known.items():
        names = set(imported(path)) & set(known)
        # of `from package import module` only the module is meant
        graph[name] = {other for other in names if not any(n.startswith(f"{other}.") for n in names)} - {name}
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


@pytest.mark.parametrize(("host", "other"), [("fastreid", "torchreid"), ("torchreid", "fastreid")])
def test_the_adapters_do_not_know_each_other(host: str, other: str) -> None:
    for path in (PACKAGE / "hosts" / host).rglob("*.py"):
        names = set(imported(path))
        assert not any(n.split(".")[0] == other or n.startswith(f"oamn_plugin.hosts.{other}") for n in names), path


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after some code."""
    code += "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr
    return set(found.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module", ["oamn_plugin", "oamn_plugin.occlusion", "oamn_plugin.presets", "oamn_plugin.errors", "oamn_plugin.files"]
)
def test_the_ground_floor_loads_nothing_heavy(module: str) -> None:
    assert not {"torch", "numpy", "fastreid", "torchreid"} & loaded_by(f"import {module}")


def test_ranking_loads_no_index() -> None:
    assert "faiss" not in loaded_by("import oamn_plugin.retrieval")


def test_the_packaged_model_needs_no_toolbox() -> None:
    code = "from oamn_plugin.search import packaged_encoder\npackaged_encoder()"
    assert not HOSTS & loaded_by(code)


def test_every_command_explains_itself_without_loading_torch() -> None:
    code = """
import contextlib, io, re, runpy, sys
from pathlib import Path
for path in sorted(Path("tools").glob("*.py")):
    sys.argv = [path.name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            assert not end.code, path
    (name,) = re.findall(r'command\\("([a-z-]+)"\\)', path.read_text())
    assert told.getvalue().startswith("usage: oamn " + name + " "), path
    assert "torch" not in sys.modules, path
"""
    assert not {"torch", "numpy", "PIL", "fastreid", "torchreid", "yacs"} & loaded_by(code)
