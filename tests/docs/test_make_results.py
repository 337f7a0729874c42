"""docs/make_results.py: the table of a folder of runs, and no table without any."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from load_script import load_script
from run_folders import make_run

ROOT = Path(__file__).resolve().parents[2]
PAGE = "before\n<!-- matched:begin -->\nold\n<!-- matched:end -->\nafter\n"


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which writes a page of this test."""
    script = load_script(ROOT / "docs" / "make_results.py")
    (tmp_path / "results.md").write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", tmp_path / "results.md")
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
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
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
