"""The command line that prepares and checks data sets, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from oamn_plugin.cli.main import command

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "prepare_data.py"


main = command("data")


def make_ilids(root: Path, number: int = 119) -> Path:
    for part in ("Probe", "Gallery"):
        (root / "Partial_iLIDS" / part).mkdir(parents=True)
        for pid in range(1, number + 1):
            Image.new("RGB", (4, 8)).save(root / "Partial_iLIDS" / part / f"{pid}.jpg")
    return root


def test_check_says_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "partial-ilids", "--root", str(make_ilids(tmp_path))]) == 0
    output = capsys.readouterr().out
    assert "119 / 119" in output
    assert "unreadable images: 0 of 238" in output
    assert "all as published" in output


def test_check_finds_missing_and_unreadable_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ilids(tmp_path, 118)
    (tmp_path / "Partial_iLIDS/Probe/7.jpg").write_bytes(b"")
    assert main(["check", "PartialiLIDS", "--root", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "query: 118 images, published 119 (-1)" in output
    assert "7.jpg: the file is empty" in output
    assert "unreadable images: 1 of 236" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "Partial_iLIDZ"], "Did you mean PartialiLIDS"),
        (["check", "Market1501", "--root", "nowhere"], "Market-1501 was not found"),
        (["occlude", "nowhere"], "has no bounding_box_train"),
        (["occluded-duke", "none.zip", "nowhere"], "cannot read the list of names"),
        (["embedded", "--size", "dmo"], "demo"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("oamn data: ")
    assert error.count("\n") == 1


def test_list_shows_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--root", str(make_ilids(tmp_path, 1))]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["PartialiLIDS"].endswith("Partial_iLIDS")
    assert lines["OccludedDuke"].endswith("-")


def test_occlude_makes_a_set_beside_the_given_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "market" / part).mkdir(parents=True)
        Image.new("RGB", (32, 64)).save(tmp_path / "market" / part / "0001_c1s1_000151_00.jpg")
    assert main(["occlude", str(tmp_path / "market")]) == 0
    assert "1 occluded queries" in capsys.readouterr().out
    assert (tmp_path / "market-occluded" / "annotations.csv").is_file()
    assert main(["occlude", str(tmp_path / "market")]) == 2
    assert "there already" in capsys.readouterr().err


def test_occluded_duke_reports_what_differs_from_the_published_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, name in (("bounding_box_train", "train"), ("query", "query"), ("bounding_box_test", "gallery")):
        file = f"000{len(name)}_c2_f0046182.jpg"
        (tmp_path / "duke" / part).mkdir(parents=True)
        (tmp_path / "duke" / part / file).write_bytes(b"x")
        (tmp_path / f"{name}.list").write_text(file + "\n")
    assert main(["occluded-duke", str(tmp_path / "duke"), str(tmp_path), "--root", str(tmp_path)]) == 1
    assert "train: 1 images, published 15,618" in capsys.readouterr().out
    assert (tmp_path / "Occluded_Duke" / "query").is_dir()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    script = f"import sys; sys.argv = [{str(SCRIPT)!r}, '--help']\n{code}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for name in ("list", "check", "occluded-duke", "occlude", "embedded"):
        assert name in result.stdout
