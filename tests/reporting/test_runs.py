from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from run_folders import make_run, make_truth

from oamn_plugin.reporting.runs import QueryScores, read_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", make_truth(tmp_path / "data", 50), seed=3)


def test_complete_run_is_read_without_notes(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert run.notes == []
    assert run.seed == 3
    assert len(run.queries["Streets"]) == 50
    assert run.cost["gflops"] == 4.1
    assert run.curve("total_loss")[0].tolist() == list(range(0, 200, 5))
    assert len(run.curve("nothing")[0]) == 0


def test_a_run_that_tests_given_weights_need_not_have_trained(run_folder: Path) -> None:
    (run_folder / "metrics.json").unlink()
    assert [note for note in read_run(run_folder).notes if "metrics.json" in note]
    for text in ("MODEL: {WEIGHTS: a.pth}", "model: {load_weights: a.pth}"):
        (run_folder / "config.yaml").write_text(text)
        assert read_run(run_folder).notes == []
    (run_folder / "config.yaml").rename(run_folder / "test_config.yaml")
    assert read_run(run_folder).notes == []


def test_missing_parts_become_notes(tmp_path: Path) -> None:
    run = read_run(tmp_path / "nowhere")
    assert run.results == {}
    assert any("results.json is missing" in note for note in run.notes)


def test_broken_files_become_notes(run_folder: Path) -> None:
    (run_folder / "results.json").write_text('{"Streets": ')
    (run_folder / "config.yaml").write_text("a: [1")
    (run_folder / "per_query" / "Streets.npz").write_bytes(b"not a zip")
    run = read_run(run_folder)
    assert run.queries == {}
    assert sum("unreadable" in note for note in run.notes) == 3


def test_pickled_arrays_are_refused(run_folder: Path) -> None:
    np.savez(run_folder / "per_query" / "Evil.npz", ap=np.array([{"a": 1}], dtype=object))
    run = read_run(run_folder)
    assert "Evil" not in run.queries
    assert any("Evil.npz is unreadable" in note for note in run.notes)


def test_resumed_run_keeps_the_later_line_and_drops_the_cut_one(run_folder: Path) -> None:
    points = [(1, 1.0), (2, 2.0), (2, 5.0), (3, float("nan"))]
    lines = [{"iteration": iteration, "x": value} for iteration, value in points]
    (run_folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)) + '\n{"iterat')
    iterations, values = read_run(run_folder).curve("x")
    assert iterations.tolist() == [1, 2]
    assert values.tolist() == [1, 5]


def test_later_evaluation_of_an_earlier_version_is_read_too(run_folder: Path) -> None:
    paths = [f"/d/query/{i}.jpg" for i in range(9)]
    make_run(run_folder / "evaluation", paths, data_sets=("Streets", "Stations"))
    run = read_run(run_folder)
    assert set(run.results) == {"Streets", "Stations"}
    assert (len(run.queries["Streets"]), len(run.queries["Stations"])) == (50, 9)


def test_scores_by_query_against_a_loop() -> None:
    ranks = np.array([1, 4, 0, 2, 30])
    arrays = {"first_rank": ranks, "valid": ranks > 0, "ap": np.arange(5) / 5, "inp": np.zeros(5)}
    scores = QueryScores(arrays)
    assert scores.score("Rank-3").tolist() == [1.0 if 0 < rank <= 3 else 0.0 for rank in ranks]
    with pytest.raises(KeyError):
        scores.score("mAP_trapezoid")


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "metrics.json", "cost.json"])
def test_nested_files_of_a_run_ended_the_report_in_a_traceback(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["/q/1.jpg", "/q/2.jpg"])
    (run / name).write_text("[" * 100_000)
    assert name == "metrics.json" or any(f"run/{name} is unreadable" in note for note in read_run(run).notes)
