"""The benchmark command end to end: trainings are processes of their own that write run folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_tool import Result, Running, run_tool, start_tool
from tiny_fastreid import TINY

from oamn_plugin.locks import LOCK, holder

ROOT = Path(__file__).resolve().parents[2]
TRAINING = Path(__file__).parents[1] / "helpers" / "tiny_training.py"


OPTS = [word for key, value in TINY.items() for word in (key, value)]


@pytest.fixture(autouse=True)
def _data(embedded_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(embedded_root))


def write_suite(folder: Path, opts: Sequence[object] = (), **changes: Any) -> Path:
    (folder / "base.yml").write_text("SOLVER: {LOG_PERIOD: 1}\n")
    (folder / "method.yml").write_text("_BASE_: base.yml\n")
    config = str(folder / "method.yml")
    suite = {
        "name": "Tiny suite",
        "output": str(folder / "runs"),
        "baseline": "plain",
        "seeds": [0, 1],
        "command": ["python", str(TRAINING)],
        "opts": [*OPTS, *opts],
        "methods": [
            {"name": "plain", "config": config, "opts": ["SOLVER.BASE_LR", 0.3]},
            {"name": "ours", "config": config, "opts": ["SOLVER.BASE_LR", 0.8]},
        ],
    }
    path = folder / "suite.yml"
    path.write_text(yaml.safe_dump({**suite, **changes}))
    return path


def benchmark(suite: Path, *flags: str) -> Result:
    return run_tool("benchmark.py", suite, *flags)


def consoles(folder: Path) -> dict[str, str]:
    runs = (folder / "runs").glob("*/seed*/console.txt")
    return {f"{path.parent.parent.name}/{path.parent.name}": path.read_text() for path in runs}


def test_suite_runs_reports_and_skips_what_is_finished(tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    first = benchmark(suite)
    assert first.code == 0, first.out + first.err
    assert sorted(consoles(tmp_path)) == ["ours/seed0", "ours/seed1", "plain/seed0", "plain/seed1"]
    report = tmp_path / "runs" / "report"
    assert {path.name for path in report.iterdir()} >= {"report.html", "report.md", "scores.csv", "tables.tex"}
    assert "ours" in first.out
    assert "Rank-1" in first.out
    before = consoles(tmp_path)
    again = benchmark(suite)
    assert again.code == 0
    assert again.out.count("finished before") == 4
    assert consoles(tmp_path) == before


def test_changed_base_configuration_starts_afresh_and_keeps_the_old_run(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, seeds=[0])
    benchmark(suite, "--only", "ours")
    (tmp_path / "base.yml").write_text("SOLVER: {LOG_PERIOD: 2}\n")
    listed = benchmark(suite, "--dry-run", "--only", "ours").out
    assert "changed" in listed
    done = benchmark(suite, "--only", "ours")
    assert "its configuration changed (SOLVER.LOG_PERIOD 1 then, 2 now), starts afresh" in done.out
    assert (tmp_path / "runs" / "ours" / "seed0.old-1" / "results.json").exists()
    assert "--resume" not in consoles(tmp_path)["ours/seed0"]


def test_failed_run_is_reported_at_the_end_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    config = str(tmp_path / "method.yml")
    methods = [
        {"name": "broken", "config": config, "opts": ["DATASETS.CUSTOM.ROOT", "no such weights"]},
        {"name": "plain", "config": config},
    ]
    result = benchmark(write_suite(tmp_path, methods=methods, seeds=[0]))
    assert result.code == 1
    assert result.out.index("plain, seed 0: started") > result.out.index("failed: ended with exit code 3")
    assert "RuntimeError: no such weights" in result.out
    assert "broken, seed 0: failed" in (tmp_path / "runs" / "report" / "report.md").read_text()


def test_weights_are_shared_by_what_differs_in_testing_alone(tmp_path: Path) -> None:
    config = str(tmp_path / "method.yml")
    methods = [
        {"name": "ours", "config": config, "opts": ["SOLVER.BASE_LR", 0.8]},
        {"name": "plainly", "config": config, "opts": ["SOLVER.BASE_LR", 0.2], "weights_of": "ours"},
        {"name": "plain", "config": config, "starts_from": "ours"},
    ]
    suite = write_suite(tmp_path, methods=methods, seeds=[0], jobs=2)
    early = benchmark(suite, "--only", "plainly")
    assert early.code == 1
    assert "plainly, seed 0: failed: 'ours' has no weights of this seed: run it first" in early.out
    result = benchmark(suite)
    assert result.code == 0, result.out + result.err
    assert result.out.index("ours, seed 0: finished") < result.out.index("plainly, seed 0: started")
    printed = consoles(tmp_path)["plainly/seed0"]
    assert "'--eval-only'" in printed
    assert str(tmp_path / "runs" / "ours" / "seed0" / "model_final.pth") in printed
    scores = json.loads((tmp_path / "runs" / "plainly" / "seed0" / "results.json").read_text())
    assert scores["OccludedPedestrians"]["Rank-1"] < 50
    assert result.out.index("ours, seed 0: finished") < result.out.index("plain, seed 0: started")
    assert str(tmp_path / "runs" / "ours" / "seed0" / "model_final.pth") in consoles(tmp_path)["plain/seed0"]
    assert benchmark(suite).out.count("finished before") == 3


def test_a_report_is_written_without_the_picture_of_an_example_that_cannot_be_drawn(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, seeds=[0], example="ours", protocols=["OccludedPedestrians"])
    assert benchmark(suite).code == 0
    (tmp_path / "runs" / "ours" / "seed0" / "model_final.pth").write_bytes(b"damaged")
    result = benchmark(suite, "--report-only")
    assert result.code == 0, result.out + result.err
    assert "no picture of ours: " in result.out
    assert (tmp_path / "runs" / "report" / "report.html").exists()


@pytest.mark.parametrize(("other", "host"), [("nobody", "fastreid"), ("ours", "torchreid"), ("twice", "fastreid")])
def test_weights_of_nothing_that_fits_are_refused(other: str, host: str, tmp_path: Path) -> None:
    config = str(tmp_path / "method.yml")
    methods = [
        {"name": "plain", "config": config},
        {"name": "ours", "config": config},
        {"name": "twice", "config": config, "weights_of": "ours"},
        {"name": "last", "config": config, "weights_of": other, "host": host},
    ]
    result = benchmark(write_suite(tmp_path, methods=methods))
    assert result.code == 2
    assert "weights_of" in result.err


@pytest.mark.parametrize(
    "method", [{"starts_from": "later"}, {"starts_from": "twice"}, {"starts_from": "plain", "weights_of": "plain"}]
)
def test_a_start_from_nothing_that_fits_is_refused(method: dict[str, str], tmp_path: Path) -> None:
    config = str(tmp_path / "method.yml")
    methods: list[dict[str, Any]] = [
        {"name": "plain", "config": config},
        {"name": "twice", "config": config, "weights_of": "plain"},
        {"name": "ours", "config": config, **method},
        {"name": "later", "config": config},
    ]
    result = benchmark(write_suite(tmp_path, methods=methods))
    assert result.code == 2
    assert "starts_from" in result.err


def begun(suite: Path, *folders: str) -> Running:
    """The suite in the background, as soon as the runs in these folders are at their first step."""
    running = start_tool(suite.parent, "benchmark.py", suite)
    steps = [suite.parent / "runs" / folder / "steps.txt" for folder in folders]
    while not all(path.exists() for path in steps) and running.alive:
        time.sleep(0.02)
    return running


def test_several_runs_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, threads = tmp_path / "gate", os.environ.pop("OMP_NUM_THREADS", None)
    try:
        suite = write_suite(tmp_path, seeds=[0], jobs=2)
        monkeypatch.setenv("GATE", str(gate))
        running = begun(suite, "plain/seed0", "ours/seed0")  # the gate is closed: both at once, or neither ends
    finally:
        os.environ.update({} if threads is None else {"OMP_NUM_THREADS": threads})
    gate.touch()
    done = running.result()
    assert done.code == 0, done.out + done.err
    assert "[1/2] plain, seed 0: finished in" in done.out
    assert "[2/2] ours, seed 0: finished in" in done.out
    share = max(1, len(os.sched_getaffinity(0)) // 2) if hasattr(os, "sched_getaffinity") else ""
    assert f"threads {share}" in consoles(tmp_path)["ours/seed0"]


def test_one_failure_beside_other_runs_stops_none_of_them(tmp_path: Path) -> None:
    config = str(tmp_path / "method.yml")
    methods = [{"name": name, "config": config} for name in ("plain", "ours")]
    methods.insert(0, {"name": "broken", "config": config, "opts": ["DATASETS.CUSTOM.ROOT", "no such weights"]})  # type: ignore[dict-item]
    result = benchmark(write_suite(tmp_path, methods=methods, seeds=[0]), "--jobs", "2")
    assert result.code == 1
    assert "[1/3] broken, seed 0: failed: ended with exit code 3" in result.out
    assert result.out.count(": finished in") == 2


@pytest.mark.parametrize("request_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_reaches_every_run_once_and_all_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_to_stop: signal.Signals
) -> None:
    gate = tmp_path / "gate"
    suite = write_suite(tmp_path, seeds=[0], jobs=2, opts=["SOLVER.MAX_EPOCH", 4])
    monkeypatch.setenv("GATE", str(gate))
    running = begun(suite, "plain/seed0", "ours/seed0")
    running.send(request_to_stop)
    done = running.result()
    assert done.code == 130, done.out + done.err
    stopped = consoles(tmp_path)
    assert [stopped[name].splitlines()[-1] for name in ("plain/seed0", "ours/seed0")] == ["KeyboardInterrupt"] * 2
    assert all(text.count("KeyboardInterrupt") == 1 for text in stopped.values())
    listed = benchmark(suite, "--dry-run").out
    assert listed.count("interrupted") == 2
    assert "2 of 2 runs to do, 2 at a time, about" in listed
    gate.touch()
    assert benchmark(suite).code == 0
    assert all("--resume" in text for text in consoles(tmp_path).values())


def test_stopped_suite_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = write_suite(tmp_path, seeds=[0], opts=["SOLVER.MAX_EPOCH", 8])
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    steps = tmp_path / "runs" / "plain" / "seed0" / "steps.txt"
    running = begun(suite, "plain/seed0")
    running.send(signal.SIGINT)
    done = running.result()
    assert done.code == 130, done.out + done.err
    assert "goes on from here" in done.out
    reached = int(steps.read_text())
    assert 0 < reached < 8
    listed = benchmark(suite, "--dry-run").out
    assert "interrupted" in listed
    assert "its own log" in listed
    (tmp_path / "gate").touch()
    assert benchmark(suite).code == 0
    console = consoles(tmp_path)["plain/seed0"]
    assert "--resume" in console
    lines = (steps.parent / "metrics.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == list(range(8))


@pytest.mark.torture
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_suite_goes_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    suite = write_suite(tmp_path, seeds=[0], opts=["SOLVER.MAX_EPOCH", 4])
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    running = begun(suite, "plain/seed0")
    running.process.kill()
    running.process.join()
    (tmp_path / "gate").touch()
    assert benchmark(suite).code == 0
    assert "--resume" in consoles(tmp_path)["plain/seed0"]
    record_property("seen", "the same command goes on with --resume")


def test_new_protocol_tests_finished_runs_without_training_them_again(tmp_path: Path) -> None:
    benchmark(write_suite(tmp_path, seeds=[0]))
    suite = write_suite(tmp_path, seeds=[0], protocols=["OccludedPedestrians", "OccludedPedestriansHolistic"])
    result = benchmark(suite)
    assert result.code == 0, result.out
    assert "tested on new protocols" in result.out
    assert "--eval-only" in consoles(tmp_path)["ours/seed0"]
    assert "OccludedPedestriansHolistic" in (tmp_path / "runs" / "report" / "report.md").read_text()
    assert benchmark(suite).out.count("finished before") == 2


def test_an_evaluation_by_hand_made_a_finished_run_a_changed_one(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, seeds=[0], protocols=["OccludedPedestrians"])
    assert benchmark(suite).code == 0
    folder = tmp_path / "runs" / "ours" / "seed0"
    scores = (folder / "results.json").read_text()
    words = ["--eval-only", "--config-file", str(tmp_path / "method.yml"), "OUTPUT_DIR", str(folder), "SEED", "0"]
    by_hand = [*words, *map(str, OPTS), "SOLVER.BASE_LR", "0.1"]
    assert subprocess.run([sys.executable, str(TRAINING), *by_hand], check=False).returncode == 0
    assert (folder / "results.json").read_text() != scores
    benchmark(suite, "--report-only")
    report = (tmp_path / "runs" / "report" / "report.md").read_text()
    assert "ours, seed 0: left out, its results.json is of another test" in report
    assert "ours, seed 0: its results.json is of another test, tested again" in benchmark(suite).out
    assert (folder / "results.json").read_text() == scores
    assert benchmark(suite).out.count("finished before") == 2
    assert not list((tmp_path / "runs").rglob("*.old-*"))


def test_a_dry_run_drew_the_data_set_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "sets"))
    assert benchmark(write_suite(tmp_path), "--dry-run").code == 0
    assert not (tmp_path / "sets").exists()


def test_dry_run_runs_nothing_and_estimates_from_finished_runs(tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    listed = benchmark(suite, "--dry-run")
    assert listed.code == 0
    assert "4 of 4 runs to do, cost unknown" in listed.out
    assert not (tmp_path / "runs").exists()
    benchmark(write_suite(tmp_path, seeds=[0]))
    listed = benchmark(write_suite(tmp_path), "--dry-run")
    assert "2 of 4 runs to do, about" in listed.out
    assert "1 finished run of the method" in listed.out


def test_report_only_without_runs_says_so(tmp_path: Path) -> None:
    result = benchmark(write_suite(tmp_path), "--report-only")
    assert result.code == 2
    assert "no run folder holds a results.json" in result.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [0]}, "unknown key 'seed'. Did you mean 'seeds'?"),
        ({"baseline": "plane"}, "baseline 'plane' is not one of the methods. Did you mean 'plain'?"),
        ({"seeds": [0, 0]}, "a seed is listed twice"),
        ({"seeds": ["a"]}, "whole numbers"),
        ({"opts": ["A"]}, "KEY, VALUE"),
        ({"opts": ["SEED", 7]}, "SEED is the suite's to set, by `output` and `seeds`"),
        ({"example": "our"}, "Did you mean 'ours'?"),
        ({"parts": {"Mask": [["plain", "our"]]}}, "Did you mean 'ours'?"),
        ({"ablation": ["ours", "plain"]}, "'ablation' is no longer read: write `parts: {WHAT: [[method with it,"),
        ({"image_views": 9}, "'image_views' is no longer read: leave it out"),
        ({"published": {}}, "'published' is no longer read: leave it out"),
        ({"methods": [{"name": "a", "config": "b", "note": "c"}]}, "'note' is no longer read: write a comment of YAML"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"jobs": "two"}, "jobs must hold whole numbers"),
        ({"methods": []}, "methods must be a list"),
        ({"methods": [{"name": "plain", "config": "nowhere.yml"}]}, "there is no configuration file 'nowhere.yml'"),
        ({"methods": [{"name": "plain", "konfig": "x"}]}, "unknown key 'konfig'. Did you mean 'config'?"),
    ],
)
def test_mistake_in_a_suite_is_one_message(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    from oamn_plugin.benchmark.suite import SuiteError, load_suite

    with pytest.raises(SuiteError) as raised:
        load_suite(write_suite(tmp_path, **changes))
    assert message in str(raised.value)


def test_another_baseline_changes_the_report_and_runs_nothing(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, seeds=[0])
    assert benchmark(suite).code == 0
    before = consoles(tmp_path)
    result = benchmark(suite, "--baseline", "ours")
    assert result.code == 0, result.err
    assert consoles(tmp_path) == before
    report = (tmp_path / "runs" / "report" / "report.md").read_text()
    against = report.split("## Against ours")[1].split("\n## ")[0]
    assert "| plain" in against
    assert "| ours" not in against
    wrong = benchmark(suite, "--baseline", "our", "--report-only")
    assert wrong.code == 2
    assert "--baseline: there is no method 'our'. Did you mean 'ours'?" in wrong.err


def test_unknown_method_and_missing_suite_end_with_a_message(tmp_path: Path) -> None:
    result = benchmark(write_suite(tmp_path), "--only", "our", "--dry-run")
    assert result.code == 2
    assert "Did you mean 'ours'?" in result.err
    assert "there is no suite" in benchmark(tmp_path / "none.yml").err


def test_shipped_suites_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from oamn_plugin.benchmark.suite import load_suite

    monkeypatch.chdir(ROOT)  # configurations are named from the root of the repository
    paths = sorted((ROOT / "configs" / "suites").glob("*.yml"))
    assert len(paths) >= 4
    for path in paths:
        assert load_suite(path).methods


def test_a_misspelt_key_moved_finished_runs_which_all_trained_again_once_it_was_mended(tmp_path: Path) -> None:
    assert benchmark(write_suite(tmp_path, seeds=[0])).code == 0
    before = consoles(tmp_path)
    result = benchmark(write_suite(tmp_path, opts=["SOLVER.MAX_EPOK", 2], seeds=[0]))
    assert result.code == 1
    assert "plain, seed 0: failed: unknown key 'SOLVER.MAX_EPOK' on the command line." in result.out
    missing = write_suite(
        tmp_path, opts=["DATASETS.TESTS", "('CustomReID',)", "DATASETS.CUSTOM.CSV", "gone.csv"], seeds=[0]
    )
    assert "gone.csv" in benchmark(missing).out
    assert not list((tmp_path / "runs").rglob("*.old-*"))
    assert benchmark(write_suite(tmp_path, seeds=[0])).out.count("finished before") == 2
    assert consoles(tmp_path) == before


def test_a_run_that_was_set_aside_is_taken_back_when_it_fits_again(tmp_path: Path) -> None:
    benchmark(write_suite(tmp_path, seeds=[0]), "--only", "plain")
    first = consoles(tmp_path)["plain/seed0"]
    benchmark(write_suite(tmp_path, opts=["TEST.CHUNK_SIZE", 7], seeds=[0]), "--only", "plain")
    assert (tmp_path / "runs" / "plain" / "seed0.old-1").is_dir()
    suite = write_suite(tmp_path, seeds=[0])
    assert "taken back from seed0.old-1" in benchmark(suite, "--dry-run", "--only", "plain").out
    result = benchmark(suite, "--only", "plain")
    assert "seed0.old-1 is this very run: taken back" in result.out
    assert "finished before" in result.out
    assert consoles(tmp_path)["plain/seed0"] == first
    assert [path.name for path in (tmp_path / "runs" / "plain").glob("*.old-*")] == ["seed0.old-2"]


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"opts": ["SOLVER.MAX_EPOK", 2]}, [], "plain; ours: unknown key 'SOLVER.MAX_EPOK'"),
        ({"opts": ["DATASETS.TESTS", "('CustomReID',)", "DATASETS.CUSTOM.CSV", "gone.csv"]}, [], "gone.csv"),
        ({"protocols": ["Market1502"]}, [], "Market1502"),
        ({}, ["--seeds", "-1"], "whole numbers from 0, got -1"),
        ({"opts": ["SEED", -1]}, [], "SEED is the suite's to set"),
    ],
    ids=["misspelt key", "missing CSV", "unknown protocol", "seed -1", "seed in the options"],
)
def test_the_dry_run_passed_what_fails_later(
    tmp_path: Path, changes: dict[str, Any], flags: list[str], message: str
) -> None:
    result = benchmark(write_suite(tmp_path, **changes), "--dry-run", *flags)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_a_suite_waits_for_a_training_that_its_killed_forerunner_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    suite = write_suite(tmp_path, seeds=[0])
    folder = tmp_path / "runs" / "plain" / "seed0"
    words = ["--config-file", str(tmp_path / "method.yml"), "OUTPUT_DIR", str(folder), "SEED", "0", *map(str, OPTS)]
    training = subprocess.Popen([sys.executable, str(TRAINING), *words, "SOLVER.BASE_LR", "0.3"])
    while not (folder / "steps.txt").exists():
        time.sleep(0.02)
    owner = holder(folder / LOCK)
    assert f"interrupted, {owner} is at it" in benchmark(suite, "--dry-run").out
    other = write_suite(tmp_path, opts=["TEST.CHUNK_SIZE", 7], seeds=[0])  # another configuration, the same folders
    running = start_tool(tmp_path, "benchmark.py", other, "--only", "plain")
    while running.alive and not (running.out.exists() and running.out.read_text().endswith("\n")):
        time.sleep(0.02)
    assert running.out.read_text().splitlines()[0].endswith(f"seed 0: waits for {owner}, which is at work in {folder}")
    assert not list(folder.parent.glob("*.old-*"))
    (tmp_path / "gate").touch()
    assert training.wait(60) == 0
    assert "its configuration changed (TEST.CHUNK_SIZE 0 then, 7 now), starts afresh" in running.result().out
    assert (folder.with_name("seed0.old-1") / "results.json").exists()


@pytest.mark.torture
def test_two_suites_at_once_train_each_run_once(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    suite = write_suite(tmp_path)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    done = [running.result(240) for running in [start_tool(folder, "benchmark.py", suite) for folder in folders]]
    assert [result.code for result in done] == [0, 0], done
    assert len(consoles(tmp_path)) == 4
    assert all(text.count("training with") == 1 for text in consoles(tmp_path).values())
    assert not list((tmp_path / "runs").rglob("*.old-*"))
    waits = "".join(result.out for result in done).count(": waits for process")
    record_property("seen", f"both end well, each of 4 runs trained once; {waits} waits told")
