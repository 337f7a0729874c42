"""Configurations and suites by name, from any folder; a file that exists wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from oamn_plugin.benchmark.schedule import plan_runs
from oamn_plugin.benchmark.suite import SuiteError, load_suite
from oamn_plugin.configurations import (
    CONFIGS,
    UnknownConfigError,
    UnreadableConfigError,
    config_files,
    describe_configs,
    find_config,
    is_config,
    read_keys,
)
from oamn_plugin.hosts.encoder import host_of_config
from oamn_plugin.hosts.toolboxes import TOOLBOXES


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["Market1501/oamn_R50", "market1501/oamn_r50", "configs/Market1501/oamn_R50.yml"])
def test_a_name_is_found_from_an_empty_folder(name: str) -> None:
    assert find_config(name) == CONFIGS / "Market1501" / "oamn_R50.yml"


def test_a_file_wins_over_a_name(empty_folder: Path) -> None:
    (empty_folder / "oamn").write_text("SEED: 1\n")
    assert find_config("oamn") == Path("oamn")
    (empty_folder / "own").mkdir()
    (empty_folder / "own" / "oamn").write_text("SEED: 2\n")
    assert find_config("oamn", beside=empty_folder / "own") == empty_folder / "own" / "oamn"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownConfigError, match=r"no configuration file 'oamm'.* Did you mean 'oamn'\?"):
        find_config("oamm")
    with pytest.raises(UnknownConfigError, match=r"In the package: ablation, demo"):
        find_config("x", "suites")
    assert not is_config("SEED")


def test_names_differ_in_more_than_case() -> None:
    names = [name.lower() for name in config_files()]
    assert len(names) == len(set(names)) > 30


def test_the_list_names_what_can_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    names = [line.split()[0] for line in describe_configs().splitlines()]
    assert {"oamn", "Market1501/oamn_R50", "torchreid/resnet50"} <= set(names)
    assert not any("Base-" in name or name.startswith("suites/") for name in names)


def test_the_list_cut_descriptions_at_the_end_of_a_line_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = describe_configs()
    assert max(map(len, listed.splitlines())) <= 80
    words = "OAMN on OSNet x0.25 from scratch, on the generated data set; minutes on a CPU "
    assert f"torchreid/oamn_osnet_x0_25 {words}torchreid/oamn_resnet50" in " ".join(listed.split())


def test_a_base_may_be_beside_a_file_or_a_name(empty_folder: Path) -> None:
    pytest.importorskip("fastreid")
    from oamn_plugin.hosts.fastreid.config import load_config

    (empty_folder / "mine.yml").write_text("_BASE_: embedded/oamn_plus\nSOLVER: {MAX_EPOCH: 3}\n")
    (empty_folder / "next.yml").write_text("_BASE_: mine.yml\nSEED: 7\n")
    cfg = load_config("next.yml")
    assert (cfg.SEED, cfg.SOLVER.MAX_EPOCH, cfg.MODEL.OAMN.PRESET) == (7, 3, "plus")
    assert load_config("oamn").MODEL.META_ARCHITECTURE == "OAMN"


@pytest.mark.parametrize("name", sorted(config_files("suites")))
def test_every_suite_is_planned_from_an_empty_folder(name: str) -> None:
    suite = load_suite(name)
    assert all(Path(method.config).is_file() for method in suite.methods)
    assert {job.state for job in plan_runs(suite, TOOLBOXES)} == {"new"}  # and no key is wrong


@pytest.mark.parametrize("name", sorted(config_files("suites")))
def test_suites_report_float32(name: str) -> None:
    """bfloat16 moves Rank-1 by up to two points."""
    suite = load_suite(name)
    for method in suite.methods:
        keys = TOOLBOXES[method.host].resolve(method.config, suite.options(method))
        assert not keys.get("TEST.AMP"), method.name


def test_a_suite_names_configurations_beside_it(empty_folder: Path) -> None:
    (empty_folder / "own").mkdir()
    (empty_folder / "own" / "method.yml").write_text("SEED: 1\n")
    methods = "[{name: a, config: method.yml}, {name: b, config: market_cpu/bagtricks}]"
    (empty_folder / "own" / "suite.yml").write_text(f"{{output: logs, baseline: a, methods: {methods}}}")
    first, second = load_suite("own/suite.yml").methods
    assert [Path(one.config) for one in (first, second)] == [
        Path("own/method.yml"),
        CONFIGS / "market_cpu/bagtricks.yml",
    ]


def test_the_toolbox_is_told_from_the_keys(empty_folder: Path) -> None:
    assert host_of_config(str(find_config("oamn")), []) == "fastreid"
    assert host_of_config(str(find_config("torchreid/resnet50")), []) == "torchreid"
    assert host_of_config("", ["model.name", "osnet_x1_0"]) == "torchreid"
    assert host_of_config("", []) == "fastreid"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("&a0 [x, x]", ""),
        ("&m {OAMN: *m}", "its references make more than 100,000 values"),
        ("[" * 5000, "nested too deeply"),
        ("[a, b]", "holds no keys"),
    ],
)
def test_a_text_that_holds_itself_ended_in_a_traceback(text: str, message: str, empty_folder: Path) -> None:
    (empty_folder / "a.yml").write_text(f"MODEL: {text}" if "[a" not in text else text)
    if not message:
        assert read_keys("a.yml") == {"MODEL": ["x", "x"]}
        return
    with pytest.raises(UnreadableConfigError, match=message):
        read_keys("a.yml")


def test_a_few_lines_of_references_filled_the_memory(empty_folder: Path) -> None:
    text = "&a0 [x, x]"
    for level in range(1, 30):
        text = f"&a{level} [{text}{f', *a{level - 1}' * 8}]"
    (empty_folder / "a.yml").write_text(f"output: {text}\nbaseline: b\nmethods: [{{name: b, config: c}}]")
    with pytest.raises(SuiteError, match="its references make more than 100,000 values"):
        load_suite("a.yml")
