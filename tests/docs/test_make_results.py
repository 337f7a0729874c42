"""docs/make_results.py: the table of a folder of runs, no table without any, and the table that gathers them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from load_script import load_script
from run_folders import make_run

from oamn_plugin.reporting.suite_page import write_suite_page

ROOT = Path(__file__).resolve().parents[2]
GLANCE = "<!-- glance:begin -->\n<!-- glance:end -->\n"
PAGE = GLANCE + "before\n<!-- matched:begin -->\nold\n<!-- matched:end -->\nafter\n"
SEEDS = {"SBS": 3, "SBS, matched": 3, "paper": 3, "halted": 3, "halted, matched": 2}
SKILLS = {"SBS": 0.3, "SBS, matched": 0.8}


def make_suite_page(folder: Path, seeds: Mapping[str, int]) -> Path:
    """The page of a suite: one method tested both ways, one plain, one whose matched tests are not finished."""
    paths, sets = [f"{index}.jpg" for index in range(150)], ("PartialREIDOccluded", "PartialREID")
    runs = {
        name: [make_run(folder / name / str(seed), paths, SKILLS.get(name, 0.3), seed, sets) for seed in range(count)]
        for name, count in seeds.items()
    }
    parts = {"Matched unification": [(name, name.removesuffix(", matched")) for name in seeds if ", matched" in name]}
    write_suite_page(folder / "suite.md", runs, "SBS", "A suite", "", parts, {})
    return folder / "suite.md"


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which writes a page of this test."""
    script = load_script(ROOT / "docs" / "make_results.py")
    for name, text in (("results.md", PAGE), ("README.md", GLANCE)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, file in (("PAGE", "results.md"), ("README", "README.md"), ("PICTURE", "x.png")):
        monkeypatch.setattr(script, name, tmp_path / file)
    monkeypatch.setattr(script, "BLOCKS", {"matched": "elsewhere"})
    monkeypatch.setattr(script, "SUITES", {tmp_path / "suite.md": "here", tmp_path / "not run.md": "never"})
    monkeypatch.setitem(script.NAMES, "Streets", "Streets, whole")
    return script


def make_runs(folder: Path) -> Path:
    paths = [f"{index}.jpg" for index in range(40)]
    make_run(folder / "net" / "none", paths, skill=0.3)
    make_run(folder / "net" / "matched", paths, skill=0.7)
    return folder


def test_a_row_for_each_network_and_data_set(maker: ModuleType, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs")
    assert maker.main([str(runs), "--check"]) == 1
    assert maker.main([str(runs)]) == 0
    lines = maker.PAGE.read_text(encoding="utf-8").splitlines()
    assert ("before" in lines, lines[-1], "old" in lines) == (True, "after", False)
    (row,) = (line for line in lines if line.startswith("| net | Streets |"))
    assert "| +" in row
    assert maker.main([str(runs), "--check"]) == 0


@pytest.mark.parametrize("missing", ["everything", "none", "per_query"])
def test_a_folder_without_runs_emptied_the_table(
    maker: ModuleType, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs" if missing == "everything" else make_runs(tmp_path / "runs")
    for path in [*runs.glob("net/none/results.json")] if missing == "none" else [*runs.glob("net/none/per_query/*")]:
        path.unlink()
    with pytest.raises(SystemExit) as error:
        maker.main([str(runs)])
    assert error.value.code == 2
    assert f"{runs} has no NETWORK/none" in capsys.readouterr().err
    assert maker.PAGE.read_text(encoding="utf-8") == PAGE


def test_a_block_that_the_page_does_not_have(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        maker.main([str(make_runs(tmp_path / "runs")), "--block", "matchd"])
    assert "has no block <!-- matchd:begin -->" in capsys.readouterr().err


def test_the_table_at_the_top_gathers_blocks_and_suite(maker: ModuleType, tmp_path: Path) -> None:
    make_suite_page(tmp_path, SEEDS)
    assert maker.main([str(make_runs(tmp_path / "runs"))]) == 0
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    header, *rows = maker.cells(text.splitlines())
    assert header == ["network", "trained on", "Partial-REID, occluded", "Partial-REID, partial", "Streets, whole"]
    assert [row[:2] for row in rows] == [["net", "elsewhere"], ["SBS", "here"]]  # paper was not matched
    assert rows[0][2:] == ["-", "-", "37.5 → **77.5**"]
    means = [[np.mean([json.loads((tmp_path / name / str(seed) / "results.json").read_text())[key]["Rank-1"]
                       for seed in range(3)]) for name in ("SBS", "SBS, matched")]
             for key in ("PartialREIDOccluded", "PartialREID")]  # fmt: skip
    assert rows[1][2:] == [*(f"{plain:.1f} → **{matched:.1f}**" for plain, matched in means), "-"]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert maker.PAGE.read_text(encoding="utf-8").startswith(text.rstrip("\n"))


@pytest.mark.parametrize("seeds", [{"SBS": 1, "SBS, matched": 1}, {"SBS": 2}], ids=["one seed", "plain alone"])
def test_one_seed_is_never_beyond_chance_and_a_page_in_the_making_is_read(
    maker: ModuleType, tmp_path: Path, seeds: dict[str, int]
) -> None:
    make_suite_page(tmp_path, seeds)
    assert maker.main([str(make_runs(tmp_path / "runs"))]) == 0
    rows = maker.cells((tmp_path / "README.md").read_text(encoding="utf-8").splitlines())[1:]
    assert len(rows) == len(seeds)
    assert "**" not in "".join(rows[1] if len(rows) > 1 else [])


def test_five_types_are_marked_and_an_unknown_set_is_refused(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(tmp_path / "runs")
    (runs / "net").rename(runs / "net, five types")
    assert maker.main([str(runs)]) == 0
    assert "| net | elsewhere | 37.5 → **77.5** (five types) |" in maker.README.read_text(encoding="utf-8")
    monkeypatch.delitem(maker.NAMES, "Streets")
    with pytest.raises(SystemExit):
        maker.main([])
    assert "no name for Streets" in capsys.readouterr().err


def test_a_readme_that_says_something_else_is_noticed(maker: ModuleType, tmp_path: Path) -> None:
    assert maker.main([str(make_runs(tmp_path / "runs"))]) == 0
    assert maker.main(["--check"]) == 0
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("77.5", "78.5"), encoding="utf-8")
    assert maker.main(["--check"]) == 1
    assert maker.main([]) == 0
    assert maker.main(["--check"]) == 0


def test_the_pages_hold_the_same_table() -> None:
    assert load_script(ROOT / "docs" / "make_results.py").main(["--check"]) == 0, "run python docs/make_results.py"
