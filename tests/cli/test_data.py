"""The command line that prepares and checks data sets, as a user runs it."""

from __future__ import annotations

import os
import signal
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
        (["check", "Partial_iLIDZ"], "Did you mean 'PartialiLIDS'"),
        (["check", "Market1501", "--root", "nowhere"], "Market-1501 was not found"),
        (["occlude", "nowhere"], "has no bounding_box_train"),
        (["occluded-duke", "none.zip", "nowhere"], "cannot read the list of names"),
        (["embedded", "--size", "dmo"], "demo"),
        (["occluders", "out", "--number", "0"], "at least 1"),
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


def configuration(tmp_path: Path, *names: str) -> str:
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8)).save(tmp_path / "mine" / name)
    keys = {"NAMES": "[CustomReID]", "TESTS": "[CustomReID]", "CUSTOM": f"{{ROOT: '{tmp_path / 'mine'}'}}"}
    lines = ["MODEL: {DEVICE: cpu, BACKBONE: {PRETRAIN: False}}", "SOLVER: {IMS_PER_BATCH: 4}", "DATASETS:"]
    lines += [f"  {key}: {value}" for key, value in keys.items()]
    lines.append(f"OUTPUT_DIR: '{tmp_path / 'run'}'")
    path = tmp_path / "my.yml"
    path.write_text("\n".join(lines))
    return str(path)


def test_check_counts_the_splits_of_ones_own_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [f"train/{pid}_c{camid}.png" for pid in (5, 6, 7) for camid in (1, 2)]
    config = configuration(tmp_path, *train, "query/1_c1.png", "gallery/1_c2.png", "gallery/2_c3.png")
    code = main(["check", "--config-file", config])
    output = capsys.readouterr().out
    rows = {words[0]: words[1:] for line in output.splitlines() if (words := line.split())}
    assert code == 0, output
    assert (rows["train"], rows["query"], rows["gallery"]) == (["6", "3", "2"], ["1", "1", "1"], ["2", "2", "2"])
    assert "unreadable images: 0 of 9" in output


def test_check_finds_in_ones_own_set_what_training_would_stop_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration(tmp_path, "train/5_c1.png", "query/1_c1.png", "gallery/2_c2.png")
    (tmp_path / "mine/query/1_c1.png").write_bytes(b"")
    assert main(["check", "--config-file", config]) == 1
    output = capsys.readouterr().out
    assert "PROBLEM  CustomReID: no query has its identity in the gallery under another camera" in output
    assert "SOLVER.IMS_PER_BATCH 4 is larger than the 1 training images" in output
    assert "1_c1.png: the file is empty" in output


def test_list_shows_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--root", str(make_ilids(tmp_path, 1))]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["PartialiLIDS"].endswith("Partial_iLIDS")
    assert lines["OccludedDuke"].endswith("-")
    assert lines["OccludedMarket1501"].split()[-2:] == ["OccludedMarket1501", "-"]  # no column runs into the next


def test_occlude_makes_a_set_beside_the_given_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "market" / part).mkdir(parents=True)
        Image.new("RGB", (32, 64)).save(tmp_path / "market" / part / "0001_c1s1_000151_00.jpg")
    assert main(["occlude", str(tmp_path / "market")]) == 0
    assert "1 occluded queries" in capsys.readouterr().out
    assert (tmp_path / "market-occluded" / "annotations.csv").is_file()
    assert main(["occlude", str(tmp_path / "market")]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_occlude_with_75_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "market" / part).mkdir(parents=True)
        Image.new("RGB", (32, 64)).save(tmp_path / "market" / part / "0001_c1s1_000151_00.jpg")
    monkeypatch.setattr("oamn_plugin.datasets.occlude._bring", lambda *_: signal.raise_signal(number))
    with pytest.raises(SystemExit) as stop:
        main(["occlude", str(tmp_path / "market")])
    assert stop.value.code == 75
    assert "run again" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["market"]


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
    for name in ("list", "check", "occluded-duke", "occlude", "embedded", "occluders"):
        assert name in result.stdout


def test_names_beyond_ascii_and_utf_8_are_printed_where_the_terminal_knows_ascii_alone(tmp_path: Path) -> None:
    make_ilids(tmp_path / "ü", 3)
    folder = tmp_path / "ü" / "Partial_iLIDS" / "Probe"
    (folder / "3_\udce9\x1b[31m.jpg").write_bytes(b"")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, str(SCRIPT), "check", "PartialiLIDS", "--root", os.fsencode(tmp_path / "ü")]
    result = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert result.returncode == 1, result.stderr
    assert b"\\xe9\\x1b[31m.jpg: the file is empty" in result.stdout
