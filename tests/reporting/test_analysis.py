from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_folders import make_run, make_truth

from oamn_plugin.reporting.analysis import Comparison, ComparisonError, holm, load_comparison
from oamn_plugin.reporting.runs import QueryScores, Run


def run_of(first_ranks: list[int], names: list[str] | None = None, seed: int | None = None) -> Run:
    ranks = np.array(first_ranks)
    arrays = {"first_rank": ranks, "valid": ranks > 0, "ap": 1 / np.maximum(ranks, 1)}
    if names:
        arrays["paths"] = np.array(names)
    return Run(seed, results={"S": {"Rank-1": 0.0}}, queries={"S": QueryScores(arrays)})


def test_seeds_are_averaged_query_by_query_without_those_without_a_match() -> None:
    comparison = Comparison({"a": [run_of([1, 3, 0]), run_of([2, 1, 0])]}, "a")
    assert comparison.per_query("a", "S", "Rank-1") == {"0": 50.0, "1": 50.0}


def test_queries_are_matched_by_file_whatever_their_order_and_root() -> None:
    ours = run_of([1, 5, 1], ["/a/q/1.jpg", "/a/q/2.jpg", "/a/q/3.jpg"])
    theirs = run_of([1, 5], ["/b/q/3.jpg", "/b/q/1.jpg"])
    gap = Comparison({"ours": [ours], "theirs": [theirs]}, "theirs").gap("ours", "theirs", "S", "Rank-1")
    assert gap is not None
    assert gap.points.mean == pytest.approx(50.0)  # on 1.jpg and 3.jpg


def test_cmc_counts_the_queries_with_a_match_alone() -> None:
    curve = Comparison({"a": [run_of([1, 4, 0, 2, 30])]}, "a").cmc("a", "S")
    assert curve is not None
    assert curve[:5].tolist() == [0.25, 0.5, 0.5, 0.75, 0.75]


def test_no_shared_query_gives_no_gap() -> None:
    pair = {"a": [run_of([1], ["/q/1.jpg"])], "b": [run_of([1], ["/q/2.jpg"])]}
    assert Comparison(pair, "a").gap("b", "a", "S", "Rank-1") is None


def test_real_difference_is_found_and_none_is_not(tmp_path: Path) -> None:
    paths = make_truth(tmp_path / "data", 150)
    skills = {"plain": 0.4, "better": 0.7}
    folders = {
        name: [make_run(tmp_path / f"{name}{seed}", paths, skill, seed) for seed in range(2)]
        for name, skill in skills.items()
    }
    folders["same"] = [make_run(tmp_path / f"same{seed}", paths, 0.4, seed) for seed in range(2)]
    gaps = load_comparison(folders, "plain").gaps("Streets", "Rank-1")
    assert gaps["better"].points.low > 10
    assert gaps["better"].adjusted < 0.01
    assert gaps["same"].points.mean == 0
    assert gaps["same"].p_value == 1.0


def test_interval_holds_the_score() -> None:
    interval = Comparison({"a": [run_of([1, 2] * 20)]}, "a").interval("a", "S", "Rank-1")
    assert interval is not None
    assert interval.low < 50 < interval.high
    assert interval.mean == pytest.approx(50)


def test_holm_against_its_definition() -> None:
    p_values = np.random.default_rng(0).random(7).tolist()
    ordered = sorted(p_values)
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        place = ordered.index(p)
        assert adjusted == pytest.approx(min(1.0, max((7 - k) * ordered[k] for k in range(place + 1))))
    assert holm([]) == []


def test_misspelt_baseline_names_the_nearest() -> None:
    with pytest.raises(ComparisonError, match="Did you mean 'bagtricks'"):
        load_comparison({"bagtricks": [], "OAMN": []}, "bagtrick")


def test_method_without_results_is_left_out_with_a_note(tmp_path: Path) -> None:
    done = make_run(tmp_path / "done", ["/q/1.jpg", "/q/2.jpg"])
    comparison = load_comparison({"done": [done], "pending": [tmp_path / "pending"]}, "pending")
    assert list(comparison.methods) == ["done"]
    assert comparison.baseline == "done"
    assert any("pending: no run has results yet" in note for note in comparison.notes)


def test_a_difference_between_different_trainings_passed_for_one_of_the_same_weights() -> None:
    plain = [run_of([1, 2] * 30, seed=0), run_of([2, 2] * 30, seed=1)]
    matched = [run_of([1, 1] * 30, seed=0)]
    gap = Comparison({"plain": plain, "matched": matched}, "plain", trained_as={"matched": "plain"}).gap(
        "matched", "plain", "S", "Rank-1"
    )
    assert gap is not None
    assert gap.points.mean == pytest.approx(50.0)  # of seed 0 alone; 75 with the other training
    assert (gap.seeds, gap.same_weights, gap.significant) == (1, True, True)


@pytest.mark.parametrize("seeds", [(0, 1), (0, None), (None, None)], ids=str)
def test_runs_without_a_seed_in_common_are_not_of_the_same_weights(seeds: tuple[int | None, int | None]) -> None:
    plain, matched = [run_of([2, 2] * 30, seed=seeds[0])], [run_of([1, 1] * 30, seed=seeds[1])]
    comparison = Comparison({"plain": plain, "matched": matched}, "plain", trained_as={"matched": "plain"})
    gap = comparison.gap("matched", "plain", "S", "Rank-1")
    assert gap is not None
    assert (gap.points.mean, gap.seeds, gap.same_weights) == (pytest.approx(100.0), 1, False)
    assert not gap.significant
    assert comparison.paired_runs("matched", "plain", "S") == {}
