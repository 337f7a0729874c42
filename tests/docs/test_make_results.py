"""docs/make_results.py: the table of a folder of runs, no table without any, and the table that gathers them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from load_script import load_script
from run_folders import make_run

ROOT = Path(__file__).resolve().parents[2]
GLANCE = "<!-- glance:begin -->\n<!-- glance:end -->\n"
PAGE = GLANCE + "before\n<!-- matched:begin -->\nold\n<!-- matched:end -->\nafter\n"
SUITE_PAGE = """
## At a glance

| Trained and tested as | PartialREIDOccluded | PartialREID |
|:---|---:|---:|
| SBS | 40.0 / 30.0 | **45.0 / 31.0** |
| SBS, matched | **50.0 / 33.0** | 44.0 / 31.5 |
| paper | 20.0 / 10.0 | 21.0 / 11.0 |

## Matched unification

| With | Without | Queries | Rank-1 | p | in every seed | mAP | p | in every seed |
|:---|:---|:---|---:|---:|---:|---:|---:|---:|
| SBS, matched | SBS | PartialREIDOccluded | +10.0 (+8.0 to +12.0) | < 0.001 | yes | +3.0 | 0.01 | yes |
| SBS, matched | SBS | PartialREID | -1.0 (-2.0 to +1.0) | 0.04 | no | +0.5 | 0.5 | yes |

## All scores on PartialREID
"""


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which writes a page of this test."""
    script = load_script(ROOT / "docs" / "make_results.py")
    for name, text in (("results.md", PAGE), ("README.md", GLANCE), ("suite.md", SUITE_PAGE)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, file in (("PAGE", "results.md"), ("README", "README.md"), ("SUITE", "suite.md"), ("PICTURE", "x.png")):
        monkeypatch.setattr(script, name, tmp_path / file)
    monkeypatch.setattr(script, "BLOCKS", {"matched": "elsewhere"})
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
    assert maker.main([str(make_runs(tmp_path / "runs"))]) == 0
    shown = maker.cells((tmp_path / "README.md").read_text(encoding="utf-8").splitlines())
    assert shown[0] == ["network", "trained on", "Partial-REID, occluded", "Partial-REID, partial", "Streets, whole"]
    (net,) = (row for row in shown if row[0] == "net")
    (row,) = (
        line for line in maker.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| net | Streets")
    )
    plain, matched, _, p = (cell.strip() for cell in row.strip("|").split("|")[2:])
    told = matched.split(" / ")[0]
    assert net[1:] == ["elsewhere", "-", "-", f"{plain.split(' / ')[0]} → {f'**{told}**' if float(p) < 0.05 else told}"]
    assert shown[2][0] == "SBS"
    assert shown[2][2:] == ["40.0 → **50.0**", "45.0 → 44.0", "-"]  # -1.0 has not the same sign in every seed
    assert not [row for row in shown if row[0] == "paper"]  # it was not matched
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_readme_that_says_something_else_is_noticed(maker: ModuleType, tmp_path: Path) -> None:
    assert maker.main([str(make_runs(tmp_path / "runs"))]) == 0
    assert maker.main(["--check"]) == 0
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("50.0", "51.0"), encoding="utf-8")
    assert maker.main(["--check"]) == 1
    assert maker.main([]) == 0
    assert maker.main(["--check"]) == 0


def test_the_pages_hold_the_same_table() -> None:
    assert load_script(ROOT / "docs" / "make_results.py").main(["--check"]) == 0, "run python docs/make_results.py"
