"""The page of a suite: its sentences say what the figures say, losses and chance included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_folders import make_run, make_truth

from oamn_plugin.reporting.analysis import load_comparison
from oamn_plugin.reporting.parts import contrasts, pair_text, verdict
from oamn_plugin.reporting.suite_page import write_suite_page

SKILLS = {"plain": 0.35, "good": 0.75, "same": 0.35, "bad": 0.1}
PAIRS = {"help": ["good", "plain"], "nothing": ["same", "plain"], "harm": ["bad", "plain"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    root = tmp_path_factory.mktemp("suite_page")
    paths = make_truth(root / "data", 150)
    found = {
        name: [make_run(root / name / f"seed{s}", paths, skill, s + 10 * (name == "same"), ("Streets", "Shops"))
               for s in range(3)]
        for name, skill in SKILLS.items()
    }  # fmt: skip
    for seed, folder in enumerate(found["same"]):  # other noise, the same seeds
        (folder / "config.yaml").write_text(f"SEED: {seed}\n")
    return found


def test_gain_loss_and_chance_are_told_apart(folders: dict[str, list[Path]]) -> None:
    comparison = load_comparison(folders, "plain")
    found = {part: contrasts(comparison, [pair]) for part, pair in PAIRS.items()}
    assert all(len(own) == 4 for own in found.values()), "two data sets, Rank-1 and mAP"
    assert verdict("The help", found["help"]).startswith("**The help: a gain beyond chance in 4 of 4 comparisons, +")
    assert verdict("The harm", found["harm"]).startswith("**The harm: a loss beyond chance in 4 of 4 comparisons, -")
    assert verdict("It", found["nothing"]) == "**It: no gain beyond chance**, in none of 4 comparisons."
    both = contrasts(comparison, [PAIRS["help"], PAIRS["harm"]])
    assert "a gain beyond chance in 4 of 8 comparisons" in verdict("It", both)
    assert "; a loss beyond chance in 4 of 8 comparisons" in verdict("It", both)
    assert pair_text(found["nothing"]) == "same against plain: no difference beyond chance on Streets, Shops."
    first = found["help"][0]
    points = first.gap.points
    assert f"Rank-1 on Streets {points.mean:+.1f} ({points.low:+.1f} to {points.high:+.1f})" in pair_text(found["help"])
    ours, theirs = (
        [run.results["Streets"]["Rank-1"] for run in comparison.methods[name]] for name in ("good", "plain")
    )
    assert points.mean == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_a_difference_that_one_seed_turns_round_is_chance(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    paths = make_truth(tmp_path / "data", 150)
    turned = [*folders["good"][:2], make_run(tmp_path / "seed2", paths, 0.1, 2, ("Streets", "Shops"))]
    found = contrasts(load_comparison({"good": turned, "plain": folders["plain"]}, "plain"), [("good", "plain")])
    assert not any(one.agreed for one in found)
    assert "no gain beyond chance" in verdict("It", found)


def test_one_seed_and_no_run_say_nothing(folders: dict[str, list[Path]]) -> None:
    single = {name: runs[:1] for name, runs in folders.items()}
    found = contrasts(load_comparison(single, "plain"), [PAIRS["help"]])
    assert verdict("It", found) == "**It: one seed says nothing about trainings.**"
    assert (
        verdict("It", contrasts(load_comparison(single, "plain"), [("good", "not run")])) == "**It: not measured yet.**"
    )


def test_one_seed_is_enough_for_two_tests_of_the_same_weights(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    single = {name: folders[name][:1] for name in ("plain", "good", "bad")}
    trained_as = {"good": "plain"}  # such as good: plain, matched
    found = contrasts(load_comparison(single, "plain", trained_as), [PAIRS["help"]])
    assert verdict("Matching", found).startswith("**Matching: a gain beyond chance in 4 of 4 comparisons, +")
    other = contrasts(load_comparison(single, "plain", trained_as), [PAIRS["harm"]])
    assert verdict("It", other) == "**It: one seed says nothing about trainings.**"
    path = tmp_path / "streets.md"
    pairs = {"help": [PAIRS["help"]], "harm": [PAIRS["harm"]]}
    write_suite_page(path, single, "plain", "Streets", "Lead.", pairs, {}, trained_as)
    page = path.read_text(encoding="utf-8")
    assert "- good against plain: Rank-1 on Streets +" in page
    assert "- bad against plain:" not in page
    assert "a difference between two single trainings never counts" in page


def test_single_trainings_were_counted_as_comparisons_without_a_gain(folders: dict[str, list[Path]]) -> None:
    single = {name: runs[:1] for name, runs in folders.items()}
    comparison = load_comparison(single, "plain", {"good": "plain", "same": "plain"})
    left = "; 4 more are of single trainings, and one seed says nothing about trainings."
    gain = verdict("It", contrasts(comparison, [PAIRS["help"], PAIRS["harm"]]))
    assert gain.startswith("**It: a gain beyond chance in 4 of 4 comparisons, +")
    assert gain.endswith(left)
    none = verdict("It", contrasts(comparison, [PAIRS["nothing"], PAIRS["harm"]]))
    assert none == f"**It: no gain beyond chance**, in none of 4 comparisons{left}"


def test_seeds_that_one_method_lacks_are_left_out(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    paths = make_truth(tmp_path / "data", 150)
    worse = make_run(tmp_path / "seed3", paths, 0.9, 3, ("Streets", "Shops"))
    unequal = {"plain": [*folders["plain"], worse], "good": folders["good"]}
    equal = {"plain": folders["plain"], "good": folders["good"]}
    found, wanted = (contrasts(load_comparison(runs, "plain"), [PAIRS["help"]]) for runs in (unequal, equal))
    assert found == wanted
    assert found[0].gap.seeds == 3


def test_the_page_holds_every_figure(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    path = tmp_path / "docs" / "streets.md"
    write_suite_page(
        path, folders, "plain", "Streets", "Lead.", {part: [pair] for part, pair in PAIRS.items()},
        {"good": "oamn train good"}, notes=["bad, seed 3: not run yet"],
    )  # fmt: skip
    page = path.read_text(encoding="utf-8")
    comparison = load_comparison(folders, "plain")
    for name in SKILLS:
        for data_set in ("Streets", "Shops"):
            rank, mean = (comparison.score(name, data_set, metric) for metric in ("Rank-1", "mAP"))
            assert rank is not None
            assert mean is not None
            shown = f"{rank.mean:.1f} / {mean.mean:.1f}"
            assert (f"**{shown}**" if name == "good" else f" {shown} ") in page
    for words in ("## What each part gives", "- **help: a gain", "- **harm: a loss", "## All scores on Shops",
                  "- good: `oamn train good`", "- bad, seed 3: not run yet"):  # fmt: skip
        assert words in page, words
