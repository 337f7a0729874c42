from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from oamn_plugin.benchmark.estimates import estimate
from oamn_plugin.benchmark.runner import write_docs
from oamn_plugin.benchmark.schedule import (
    CONSOLE,
    RECORD,
    Job,
    RunRecord,
    code_state,
    command_text,
    read_record,
    results_digest,
    training_command,
    write_record,
)
from oamn_plugin.benchmark.schedule import plan_runs as plan
from oamn_plugin.benchmark.schedule import (
    testing_command as evaluation_command,
)
from oamn_plugin.benchmark.suite import Method, Suite, SuiteError, load_suite
from oamn_plugin.configurations import find_config

DEFAULTS: dict[str, Any] = {"A": 0, "K": 0, "L": 0, "U": "", "x.y": "", "SEED": 0, "train.seed": 0}


class Words:
    """A toolbox of a few keys, whose defaults may change."""

    def resolve(self, config: str, options: Sequence[str]) -> dict[str, Any]:
        given = dict(zip(options[::2], map(yaml.safe_load, options[1::2]), strict=True))
        return {**DEFAULTS, **yaml.safe_load(Path(config).read_text()), **given}

    def check(self, config: str, options: Sequence[str], train: bool) -> None:
        """Nothing is wrong."""


TOOLBOXES = {"fastreid": Words(), "torchreid": Words()}


def plan_runs(suite: Suite) -> list[Job]:
    return plan(suite, TOOLBOXES)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    config = tmp_path / "m.yml"
    config.write_text("A: 1\n")
    methods = (Method("plain", str(config)), Method("ours (osnet)", str(config), ("x.y", "a b"), "torchreid"))
    return Suite("S", str(tmp_path / "runs"), "plain", methods, (0,), opts=("K", "1"), protocols=("A", "B"))


def start(suite: Suite, job: Job, seconds: float = 0.0, finished: bool = False, log: str = "") -> None:
    """What a run leaves in its folder."""
    write_record(job.folder, RunRecord(finished, seconds, ["A", "B"], job.record.weights))
    (job.folder / CONSOLE).write_text(log)
    key = "train.seed" if job.method.host == "torchreid" else "SEED"
    used = Words().resolve(job.method.config, suite.options(job.method)) | {key: job.seed}
    (job.folder / "config.yaml").write_text(yaml.safe_dump(used))
    if finished:
        (job.folder / "results.json").write_text("{}")


def test_each_host_gets_its_own_option_names(suite: Suite) -> None:
    fastreid, torchreid = (training_command(suite, job)[1:] for job in plan_runs(suite))
    assert fastreid[:3] == ["-m", "oamn_plugin", "train"]
    assert fastreid[5:] == [
        "OUTPUT_DIR", str(Path(suite.output) / "plain" / "seed0"), "SEED", "0", "K", "1", "DATASETS.TESTS", '["A", "B"]'
    ]  # fmt: skip
    assert "train.seed" in torchreid
    assert "K" not in torchreid
    assert "'a b'" in command_text(suite, suite.methods[1])
    packaged = replace(suite.methods[0], config=str(find_config("oamn")))
    assert command_text(suite, packaged).startswith("oamn train --config-file oamn OUTPUT_DIR ")


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
    start(suite, job, finished=True)
    assert plan_runs(suite)[2].state == "finished"
    start(suite, plan_runs(suite)[0], finished=True)
    other = replace(suite.methods[0], opts=("L", "2"))  # other weights: another result
    assert plan_runs(replace(suite, methods=(other, *suite.methods[1:])))[2].state == "changed"


def test_a_training_may_start_from_the_weights_of_another(suite: Suite) -> None:
    config = suite.methods[0].config
    stage2 = Method("stage 2", config, ("L", "2"), starts_from="plain")
    tested = Method("stage 2, tested", config, ("L", "2", "U", "yes"), weights_of="stage 2")
    suite = replace(suite, methods=(suite.methods[0], stage2, tested))
    stage1, job, _ = plan_runs(suite)
    weights = str(stage1.folder / "model_final.pth")
    words = training_command(suite, job)
    assert "--eval-only" not in words
    assert words[-2:] == ["MODEL.INIT", weights]
    assert "--eval-only" in evaluation_command(suite, job)
    assert evaluation_command(suite, job)[-2:] == ["MODEL.WEIGHTS", str(job.folder / "model_final.pth")]
    for one in plan_runs(suite):
        start(suite, one, finished=True)
        if one.method.starts_from:  # as a training writes it
            path = one.folder / "config.yaml"
            path.write_text(path.read_text() + f"MODEL.INIT: {weights}\n")
    assert [one.state for one in plan_runs(suite)] == ["finished"] * 3
    other = replace(
        suite.methods[0], opts=("L", "1")
    )  # other weights to begin with: all that follows is another result
    jobs = plan_runs(replace(suite, methods=(other, *suite.methods[1:])))
    assert [one.state for one in jobs] == ["changed"] * 3
    assert jobs[1].reason == "the weights of plain are of another configuration"


def staged(suite: Suite, **changes: str) -> Suite:
    """Two stages, the second as ``changes`` say."""
    config = suite.methods[0].config
    return replace(suite, methods=(suite.methods[0], Method("stage 2", config, ("L", "2"), **changes)))  # type: ignore[arg-type]


def test_a_finished_training_became_the_second_stage_of_another(suite: Suite) -> None:
    alone, after = staged(suite), staged(suite, starts_from="plain")
    for job in plan_runs(alone):
        start(alone, job, finished=True)
    job = plan_runs(after)[1]
    assert (job.state, job.reason) == ("changed", "it did not start from plain")
    start(after, job, finished=True)
    assert plan_runs(after)[1].state == "finished"
    job = plan_runs(alone)[1]
    assert (job.state, job.reason) == ("changed", "it used the weights of another method")


def test_a_second_stage_that_never_began_starts_from_the_first_of_today(suite: Suite) -> None:
    suite = staged(suite, starts_from="plain")
    write_record(plan_runs(suite)[1].folder, plan_runs(suite)[1].record)
    changed = replace(suite, methods=(replace(suite.methods[0], opts=("L", "1")), suite.methods[1]))
    job = plan_runs(changed)[1]
    assert job.state == "interrupted"
    start(changed, job, finished=True)
    assert plan_runs(changed)[1].state == "finished"


def test_a_wrong_first_stage_ended_the_whole_suite(suite: Suite) -> None:
    class Careful(Words):
        def resolve(self, config: str, options: Sequence[str]) -> dict[str, Any]:
            if "WRONG" in options:
                raise SuiteError("unknown key 'WRONG'")
            return super().resolve(config, options)

    suite = staged(suite, starts_from="plain")
    wrong = replace(suite.methods[0], name="wrong", opts=("WRONG", "1"))
    suite = replace(suite, methods=(suite.methods[0], wrong, replace(suite.methods[1], starts_from="wrong")))
    jobs = plan(suite, {"fastreid": Careful()})
    assert [(job.state, job.reason) for job in jobs] == [("new", "there is no configuration in it")] + 2 * [
        ("wrong", "unknown key 'WRONG'")
    ]


@pytest.mark.parametrize(
    ("method", "key"),
    [({"starts_from": "plain"}, "MODEL.INIT"), ({"starts_from": "plain"}, "MODEL.WEIGHTS"),
     ({"weights_of": "plain"}, "MODEL.WEIGHTS")],
)  # fmt: skip
def test_weights_beside_those_of_another_method_are_refused(suite: Suite, method: dict[str, str], key: str) -> None:
    with pytest.raises(SuiteError, match=f"last: {key} is the suite's to set, by `weights_of` or `starts_from`"):
        replace(suite, methods=(suite.methods[0], Method("last", "m.yml", (key, "own.pth"), **method)))  # type: ignore[arg-type]


def test_a_changed_default_kept_stale_results(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    start(suite, plan_runs(suite)[0], finished=True)
    assert plan_runs(suite)[0].state == "finished"
    monkeypatch.setitem(DEFAULTS, "U", "other")  # a value that no file and no option states
    changed = plan_runs(suite)[0]
    assert (changed.state, changed.reason) == ("changed", "U  then, other now")


def test_the_classes_that_a_training_has_counted_are_no_change(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    job, key = plan_runs(suite)[0], "MODEL.HEADS.NUM_CLASSES"
    start(suite, job, finished=True)
    path = job.folder / "config.yaml"
    path.write_text(path.read_text() + f"{key}: 150\n")
    monkeypatch.setitem(DEFAULTS, key, 0)
    assert plan_runs(suite)[0].state == "finished"
    monkeypatch.setitem(DEFAULTS, key, 99)
    assert plan_runs(suite)[0].state == "changed"


def test_words_that_say_the_same_retrain_nothing(suite: Suite) -> None:
    start(suite, plan_runs(suite)[0], finished=True)
    Path(suite.methods[0].config).write_text("A: 1  # a comment\nL: 0\n")
    assert plan_runs(suite)[0].state == "finished"


def test_a_record_of_an_earlier_version_is_read(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(suite, job, finished=True)
    (job.folder / RECORD).write_text('{"fingerprint": "0123", "finished": true, "seconds": 5.0, "tested": ["A", "B"]}')
    assert plan_runs(suite)[0].state == "finished"


def test_results_of_another_test_were_taken_for_the_suites(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(suite, job, finished=True)
    write_record(job.folder, replace(read_record(job.folder) or RunRecord(), results=results_digest(job.folder)))
    assert plan_runs(suite)[0].state == "finished"
    (job.folder / "results.json").write_text('{"A": {"Rank-1": 99.0}}')  # an evaluation by hand, with other options
    assert plan_runs(suite)[0].state == "overwritten"


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
    start(suite, trained, finished=True)
    (trained.folder / "model_best.pth").touch()
    assert training_command(suite, tested)[-1] == str(trained.folder / "model_best.pth")


def test_tests_are_estimated_by_tests(suite: Suite) -> None:
    methods = [Method(f"test {i}", suite.methods[0].config, ("K", str(i)), weights_of="plain") for i in range(2)]
    suite = replace(suite, methods=(*suite.methods, *methods))
    trained, _, tested, _ = plan_runs(suite)
    start(suite, trained, seconds=1000, finished=True)
    assert estimate(plan_runs(suite))["test 1, seed 0"] == (None, "nothing measured yet")
    start(suite, tested, seconds=20, finished=True)
    costs = estimate(plan_runs(suite))
    assert costs["test 1, seed 0"][0] == 20
    assert costs["ours (osnet), seed 0"][0] == 1000


def test_states_follow_the_folder(suite: Suite) -> None:
    first, second = plan_runs(suite)
    assert first.state == second.state == "new"
    start(suite, first, finished=True)
    second.folder.mkdir(parents=True)
    (second.folder / "something").touch()
    assert [job.state for job in plan_runs(suite)] == ["finished", "changed"]
    (first.folder / "results.json").unlink()
    assert plan_runs(suite)[0].state == "interrupted"
    Path(first.method.config).write_text("A: 2\n")
    assert plan_runs(suite)[0].state == "changed"


def test_interrupted_run_costs_what_its_log_says_is_left(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(suite, job, log="epoch 1  step 3/9  1 day, 0:01:40 left  lr 1e-3\nsaved\n")
    assert estimate(plan_runs(suite))[job.label] == (86500.0, "its own log")


def test_other_methods_are_the_last_resort(suite: Suite) -> None:
    first, second = plan_runs(suite)
    assert estimate(plan_runs(suite))[second.label] == (None, "nothing measured yet")
    start(suite, first, seconds=30.0, finished=True)
    assert estimate(plan_runs(suite)) == {second.label: (30.0, "the mean of other methods")}


def test_half_written_record_counts_as_none(suite: Suite) -> None:
    job = plan_runs(suite)[0]
    start(suite, job)
    (job.folder / "benchmark.json").write_text('{"fingerprint": "a')
    assert read_record(job.folder) is None
    assert plan_runs(suite)[0].state == "interrupted"


def test_the_page_of_a_suite_pairs_what_shares_weights_and_names_what_is_missing(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched = replace(suite.methods[0], name="plain, matched", opts=("U", "yes"), weights_of="plain")
    suite = replace(
        suite, methods=(*suite.methods, matched), parts={"Matching": (("plain, matched", "plain"),), "Luck": ()},
        about="Two cores.",
    )  # fmt: skip
    for job, score in zip(plan_runs(suite), (40, 50, 60), strict=True):
        if job.method.name != "ours (osnet)":
            start(suite, job, finished=True)
            (job.folder / "results.json").write_text(json.dumps({"A": {"Rank-1": score, "mAP": score / 2}}))
    folder = Path(suite.output).parent / "docs"
    page = write_docs(suite, TOOLBOXES, folder, "tiny").read_text(encoding="utf-8")
    told = f"`oamn benchmark tiny --docs {folder.as_posix()}` from 2 run folders, seed 0, in float32"
    assert f"Two cores. Written by {told}" in page
    assert "one state of the code (unknown)" in page
    assert page.index("| plain ") < page.index("| plain, matched ")
    assert "| **60.0 / 30.0** " in page
    assert "- **Luck: not measured yet.**" in page
    assert "- ours (osnet), seed 0: not run yet" in page
    assert "not tested" not in page
    more = write_docs(replace(suite, protocols=(*suite.protocols, "C")), TOOLBOXES, folder, "tiny")
    assert "- C: 2 runs are not tested on it" in more.read_text(encoding="utf-8")
    monkeypatch.setitem(DEFAULTS, "SOLVER.AMP.ENABLED", True)
    assert "in mixed precision" in write_docs(suite, TOOLBOXES, folder, "tiny").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("[a, b]", "parts must map"),
        ("{Mask: [[plain]]}", "parts, Mask: give a list of pairs of methods"),
        (
            "{Mask: [plain, plain]}",
            "give a list of pairs of methods, [[with it, without it], ...], got ['plain', 'plain']",
        ),
        ("{Mask: [[plain, plan]]}", "parts, Mask: 'plan' is not one of the methods. Did you mean 'plain'"),
    ],
)
def test_parts_that_are_no_pairs_of_methods(parts: str, message: str, suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "suite.yml"
    path.write_text(f"output: runs\nbaseline: plain\nmethods: [{{name: plain, config: m.yml}}]\nparts: {parts}\n")
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert message in str(caught.value)


def test_the_state_of_the_code_is_that_of_its_files() -> None:
    assert re.fullmatch(r"[0-9a-f]{10}", code_state())
    assert code_state() == code_state()
