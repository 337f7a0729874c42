from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from oamn_plugin import presets
from oamn_plugin.benchmark.estimates import estimate
from oamn_plugin.benchmark.schedule import (
    CONSOLE,
    Job,
    RunRecord,
    command_text,
    plan_runs,
    read_record,
    training_command,
    write_record,
)
from oamn_plugin.benchmark.suite import Method, Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    config = tmp_path / "m.yml"
    config.write_text("A: 1\n")
    methods = (Method("plain", str(config)), Method("ours (osnet)", str(config), ("x.y", "a b"), "torchreid"))
    return Suite("S", str(tmp_path / "runs"), "plain", methods, (0,), opts=("K", "1"), protocols=("A", "B"))


def start(job: Job, seconds: float = 0.0, finished: bool = False, log: str = "") -> None:
    write_record(job.folder, RunRecord(job.fingerprint, finished, seconds, ["A", "B"]))
    (job.folder / CONSOLE).write_text(log)
    if finished:
        (job.folder / "results.json").write_text("{}")


def test_each_host_gets_its_own_option_names(suite: Suite) -> None:
    fastreid, torchreid = (training_command(suite, job)[1:] for job in plan_runs(suite))
    assert fastreid[:3] == ["-m", "oamn_plugin", "train"]
    assert fastreid[5:] == [
        "OUTPUT_DIR", str(Path(suite.output) / "plain" / "seed0"), "SEED", "0", "K", "1", "DATASETS.TESTS", "('A', 'B')"
    ]  # fmt: skip
    assert "train.seed" in torchreid
    assert "K" not in torchreid
    assert "'a b'" in command_text(suite, suite.methods[1])


def test_a_method_may_test_the_weights_of_another(suite: Suite) -> None:
    plainly = Method("plainly", suite.methods[0].config, ("U", "False"), weights_of="plain")
    suite = replace(suite, methods=(*suite.methods, plainly))
    _, _, job = plan_runs(suite)
    weights = str(Path(suite.output) / "plain" / "seed0" / "model_final.pth")
    for words in (training_command(suite, job), shlex.split(command_text(suite, plainly))):
        assert "--eval-only" in words
        assert words[-2:] == ["MODEL.WEIGHTS", weights]
        assert words[words.index("OUTPUT_DIR") + 1] == str(Path(suite.output) / "plainly" / "seed0")
        assert words[words.index("U") + 1] == "False"
    start(job, finished=True)
    assert plan_runs(suite)[2].state == "finished"
    other = replace(suite.methods[0], opts=("L", "2"))  # other weights: another result
    assert plan_runs(replace(suite, methods=(other, *suite.methods[1:])))[2].state == "changed"


def test_another_preset_is_another_run(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Path(suite.methods[0].config)
    config.write_text("MODEL: {OAMN: {PRESET: plus}}\n")
    by_file, _ = plan_runs(suite)
    official = replace(suite, methods=(replace(suite.methods[0], opts=("MODEL.OAMN.PRESET", "official")),))
    given = replace(suite, torchreid_opts=("oamn.preset", "plus"))
    before = plan_runs(official)[0].fingerprint, plan_runs(given)[1].fingerprint
    monkeypatch.setitem(presets._OVERRIDES["plus"], "cut_share", 0.125)
    assert plan_runs(suite)[0].fingerprint != by_file.fingerprint
    assert plan_runs(given)[1].fingerprint != before[1]
    assert plan_runs(official)[0].fingerprint == before[0], "another preset than the one that changed"
    config.write_text("A: 1  # no preset\n")
    plain = plan_runs(suite)[0].fingerprint
    monkeypatch.setitem(presets._OVERRIDES["plus"], "cut_share", 0.25)
    assert plan_runs(suite)[0].fingerprint == plain


def test_what_is_trained_comes_first(suite: Suite) -> None:
    plainly = Method("plainly", suite.methods[0].config, weights_of="plain")
    suite = replace(suite, methods=(plainly, *suite.methods), seeds=(0, 1))
    assert [(job.seed, job.method.name) for job in plan_runs(suite)] == [
        (0, "plain"), (0, "ours (osnet)"), (0, "plainly"), (1, "plain"), (1, "ours (osnet)"), (1, "plainly")
    ]  # fmt: skip


def test_the_best_weights_are_tested_where_a_run_has_chosen_some(suite: Suite) -> None:
    plainly = Method("plainly", suite.methods[0].config, weights_of="plain")
    suite = replace(suite, methods=(*suite.methods, plainly))
    trained, _, tested = plan_runs(suite)
    start(trained, finished=True)
    (trained.folder / "model_best.pth").touch()
    assert training_command(suite, tested)[-1] == str(trained.folder / "model_best.pth")


def test_tests_are_estimated_by_tests(suite: Suite) -> None:
    methods = [Method(f"test {i}", suite.methods[0].config, ("K", str(i)), weights_of="plain") for i in range(2)]
    suite = replace(suite, methods=(*suite.methods, *methods))
    trained, _, tested, _ = plan_runs(suite)
    start(trained, seconds=1000, finished=True)
    assert estimate(suite, plan_runs(suite))["test 1, seed 0"] == (None, "nothing measured yet")
    start(tested, seconds=20, finished=True)
    costs = estimate(suite, plan_runs(suite))
    assert costs["test 1, seed 0"][0] == 20
    assert costs["ours (osnet), seed 0"][0] == 1000


def test_states_follow_the_folder(suite: Suite) -> None:
    first, second = plan_runs(suite)
    assert first.state == second.state == "new"
    start(first, finished=True)
    second.folder.mkdir(parents=True)
    (second.folder / "something").touch()
    assert [job.state for job in plan_runs(suite)] == ["finished", "changed"]
    (first.folder / "results.json").unlink()
    assert plan_runs(suite)[0].state == "interrupted"
    Path(first.method.config).write_text("A: 2\n")
    assert plan_runs(suite)[0].state == "changed"


def test_interrupted_run_costs_what_its_log_says_is_left(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(job, log="epoch 1  step 3/9  1 day, 0:01:40 left  lr 1e-3\nsaved\n")
    assert estimate(suite, plan_runs(suite))[job.label] == (86500.0, "its own log")


def test_measured_throughput_gives_an_estimate(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(job)
    (job.folder / "metrics.json").write_text('{"images_per_second": 50.0}\n{"images_per_second": 50.0}\n{"iter')
    counted = Suite(**{**suite.__dict__, "image_views": 1000})
    assert estimate(counted, plan_runs(counted))[job.label] == (20.0, "50.0 images a second")


def test_other_methods_are_the_last_resort(suite: Suite) -> None:
    first, second = plan_runs(suite)
    assert estimate(suite, plan_runs(suite))[second.label] == (None, "nothing measured yet")
    start(first, seconds=30.0, finished=True)
    assert estimate(suite, plan_runs(suite)) == {second.label: (30.0, "the mean of other methods")}


def test_half_written_record_counts_as_none(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(job)
    (job.folder / "benchmark.json").write_text('{"fingerprint": "a')
    assert read_record(job.folder) is None
    assert plan_runs(suite)[0].state == "changed"
