from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from oamn_plugin.configurations import flat
from oamn_plugin.hosts.fastreid import load_config
from oamn_plugin.hosts.fastreid.config import oamn_options
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.presets import Options, preset

OAMN_LOSSES = ["CrossEntropyLoss", "GroupedTripletLoss", "MaskConsistencyLoss", "OcclusionScoreLoss"]


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def options_of(*opts: str) -> Options:
    return oamn_options(load_config("", ["MODEL.META_ARCHITECTURE", "OAMN", *opts]))


def test_every_option_of_the_method_has_a_key() -> None:
    cfg = load_config()
    for field in fields(Options):
        assert cfg.MODEL.OAMN[field.name.upper()] is None
    assert set(cfg.MODEL.OAMN) == {"PRESET", *(field.name.upper() for field in fields(Options))}


def test_every_key_of_ours_is_commented_where_it_is_made() -> None:
    import oamn_plugin.hosts.fastreid.config as module

    source = Path(module.__file__).read_text()
    groups = source.split("\ndef oamn_options")[0].split("#")[1:]  # a comment, then the keys it speaks of
    documented = set(re.findall(r"cfg\.([A-Z_.]+) = ", "\n".join(groups)))
    made = set(re.findall(r"cfg\.([A-Z_.]+) = (?!CfgNode)", source))
    assert len(made) > 30
    assert made <= documented
    for line in source.splitlines():
        assert not re.match(r"    # .{0,9}$", line), "too short to say anything"


@pytest.mark.parametrize("name", ["paper", "official", "plus"])
def test_presets_come_through(name: str) -> None:
    assert options_of("MODEL.OAMN.PRESET", name) == preset(name)


def test_each_option_is_overridden_on_its_own_from_file_and_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yml", "MODEL: {META_ARCHITECTURE: OAMN, OAMN: {PRESET: official, MASK1_WEIGHT: 2}}")
    found = oamn_options(load_config(path, ["MODEL.OAMN.ALIGNED_VIEWS", "True", "TEST.UNIFICATION", "none"]))
    assert found == preset("official", mask1_weight=2.0, aligned_views=True)


@pytest.mark.parametrize(
    ("absent", "changes"),
    [
        ((), {}),
        (("MaskConsistencyLoss",), {"mask1_weight": 0.0, "mask2_weight": 0.0}),
        (("OcclusionScoreLoss",), {"score_weight": 0.0}),
        (("GroupedTripletLoss",), {"triplet_weight": 0.0}),
        (("CrossEntropyLoss",), {"identity_weight": 0.0}),
    ],
)
def test_a_loss_that_is_not_listed_has_no_weight(absent: tuple[str, ...], changes: dict[str, float]) -> None:
    names = [name for name in OAMN_LOSSES if name not in absent]
    assert options_of("MODEL.LOSSES.NAME", str(names)) == preset("paper", **changes)


def test_the_plain_triplet_is_a_loss_name() -> None:
    names = ["TripletLoss" if name == "GroupedTripletLoss" else name for name in OAMN_LOSSES]
    assert options_of("MODEL.LOSSES.NAME", str(names)) == preset("paper", triplet_grouping="plain")
    with pytest.raises(ConfigError, match="name one of TripletLoss and GroupedTripletLoss"):
        options_of("MODEL.LOSSES.NAME", "['TripletLoss', 'GroupedTripletLoss']")


def test_the_hosts_default_list_means_what_it_says_when_it_is_given() -> None:
    """It could not be told from no list, and kept every loss."""
    zero = dict.fromkeys(["triplet_weight", "mask1_weight", "mask2_weight", "score_weight"], 0.0)
    assert options_of("MODEL.LOSSES.NAME", "['CrossEntropyLoss']") == preset("paper", **zero)
    assert options_of("MODEL.LOSSES.NAME", "[]") == preset("paper")
    assert list(load_config().MODEL.LOSSES.NAME) == ["CrossEntropyLoss"]  # of the host's own methods


def test_a_list_of_losses_holds_for_plus_too() -> None:
    plus = ("MODEL.OAMN.PRESET", "plus", "MODEL.LOSSES.NAME")
    expected = preset("plus", position_weight=0.0, triplet_grouping="grouped")
    assert options_of(*plus, str(OAMN_LOSSES)) == expected
    names = ["CrossEntropyLoss", "TripletLoss", "MaskConsistencyLoss", "OcclusionScoreLoss", "PositionLoss"]
    assert options_of(*plus, str(names)) == preset("plus")


def test_the_position_loss_can_be_named_where_it_has_a_weight() -> None:
    names = ("MODEL.LOSSES.NAME", str([*OAMN_LOSSES, "PositionLoss"]))
    assert options_of(*names, "MODEL.OAMN.POSITION_WEIGHT", "2.0") == preset("paper", position_weight=2.0)
    with pytest.raises(ConfigError, match=r"PositionLoss has weight 0.*set MODEL\.OAMN\.POSITION_WEIGHT"):
        options_of(*names)


def test_an_earlier_runs_configuration_loads_unless_it_needs_what_is_gone(tmp_path: Path) -> None:
    old = write(
        tmp_path,
        "config.yaml",
        "MODEL: {META_ARCHITECTURE: OAMN, OAMN: {PRESET: plus, MASK_WARMUP: null, PATCH_SHAPE: strip, AXES: 1}}\n"
        "INPUT: {OCCLUSION: {PATCH_SHAPE: strip, PROB: 0.5}}",
    )
    cfg = load_config(old)
    assert (oamn_options(cfg), cfg.INPUT.OCCLUSION.PROB) == (preset("plus", axes=1), 0.5)
    other = write(tmp_path, "other.yaml", "MODEL: {OAMN: {MASK_WARMUP: 100}}")
    with pytest.raises(
        ConfigError, match=r"other\.yaml: MODEL\.OAMN\.MASK_WARMUP has been removed: it is 0 now, got 100"
    ):
        load_config(other)


def test_a_loss_that_oamn_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="OAMN does not take CircleLoss; it takes CrossEntropyLoss"):
        options_of("MODEL.LOSSES.NAME", "['CrossEntropyLoss', 'CircleLoss']")


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("MODEL: {OAMN: {PRESETT: paper}}", "MODEL.OAMN.PRESETT", "MODEL.OAMN.PRESET"),
        ("MODEL: {BACKBON: {DEPTH: 50x}}", "MODEL.BACKBON", "MODEL.BACKBONE."),
        ("INPUT: {OCCLUSION: {PROBA: 0.5}}", "INPUT.OCCLUSION.PROBA", "INPUT.OCCLUSION.PROB"),
        ("SEEDS: 3", "SEEDS", "SEED"),
        ("SOLVER: {EVAL_PERIOD: 3}", "SOLVER.EVAL_PERIOD", "TEST.EVAL_PERIOD"),
    ],
)
def test_a_misspelt_key_names_key_file_and_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    base = write(tmp_path, "base.yml", text)
    leaf = write(tmp_path, "leaf.yml", "_BASE_: base.yml\nSEED: 1")
    with pytest.raises(ConfigError) as caught:
        load_config(leaf)
    assert repr(key) in str(caught.value)
    assert base in str(caught.value)
    assert near in str(caught.value).split("Did you mean")[1]


def test_a_misspelt_key_on_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"'SOLVER.BASE_RL' on the command line. Did you mean 'SOLVER.BASE_LR'"):
        load_config("", ["SOLVER.BASE_RL", "0.1"])
    with pytest.raises(ConfigError, match="KEY VALUE pairs"):
        load_config("", ["SOLVER.BASE_LR"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.MAX_EPOCH", "many", "SOLVER.MAX_EPOCH on the command line"),
        ("SOLVER.MAX_EPOCH", "None", "SOLVER.MAX_EPOCH on the command line must have a value, got None"),
        ("INPUT.SIZE_TRAIN", "None", "INPUT.SIZE_TRAIN on the command line must have a value, got None"),
        ("MODEL.LOSSES.TRI.MARGIN", "nan", "MODEL.LOSSES.TRI.MARGIN on the command line must be a number, got 'nan'"),
        ("MODEL.PIXEL_STD", "[1e999, 1, 1]", "MODEL.PIXEL_STD on the command line must hold finite numbers"),
        ("SOLVER.BASE_LR", "1" + 400 * "0", "SOLVER.BASE_LR on the command line must be a number"),
        ("TEST.RERANK.LAMBDA", "inf", "TEST.RERANK.LAMBDA on the command line must be a number, got 'inf'"),
        ("MODEL.BACKBONE.DEPTH", "50", "MODEL.BACKBONE.DEPTH on the command line"),
        ("MODEL.OAMN.MASK_FLOOR", "high", "MODEL.OAMN.MASK_FLOOR must be a number, got 'high'"),
        ("MODEL.OAMN.AXES", "1.5", "MODEL.OAMN.AXES must be a whole number, got 1.5"),
        ("MODEL.OAMN.ALIGNED_VIEWS", "yes", "MODEL.OAMN.ALIGNED_VIEWS must be True or False, got 'yes'"),
        ("MODEL.OAMN.POOLING", "3", "MODEL.OAMN.POOLING must be a word, got 3"),
        ("TEST.UNIFICATION", "no", "TEST: kind of a unification must be one of none, typed, matched, got 'no'"),
        ("TEST.UNIFICATION", "typed", "TEST.UNIFICATION typed reads OAMN's scorer: this model has none"),
        ("MODEL.OAMN.POOLING", "median", "MODEL.OAMN: pooling must be one of max, avg"),
        ("MODEL.OAMN.PRESET", "papers", "unknown preset 'papers'"),
    ],
)
def test_a_wrong_value_names_its_key(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("", [key, value])


def test_a_word_stands_for_a_list_of_it_and_a_whole_number_for_any(tmp_path: Path) -> None:
    path = write(tmp_path, "c.yml", "SOLVER: {BASE_LR: 1, WEIGHT_DECAY: 1e-3}\nDATASETS: {NAMES: Market1501}")
    cfg = load_config(path, ["DATASETS.TESTS", "OccludedPedestrians"])
    assert (cfg.DATASETS.NAMES, cfg.DATASETS.TESTS) == (("Market1501",), ("OccludedPedestrians",))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY) == (1.0, 0.001)


def test_a_wrong_type_in_a_base_file_names_that_file(tmp_path: Path) -> None:
    base = write(tmp_path, "base.yml", "SOLVER: {MAX_EPOCH: many}")
    with pytest.raises(ConfigError, match=r"base.yml: Type mismatch.*SOLVER.MAX_EPOCH|base.yml: .*MAX_EPOCH") as caught:
        load_config(write(tmp_path, "leaf.yml", "_BASE_: base.yml"))
    assert base in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: absent.yml", "no configuration file"),
        ("_BASE_: leaf.yml", "_BASE_ leads back to"),
        ("- a\n- b", "holds no keys"),
        ("MODEL: [", "not readable as YAML"),
        ("MODEL: 3", "MODEL in .* must hold keys of its own"),
        ("", "holds no keys"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, "leaf.yml", text))


def test_bases_of_two_files_may_not_form_a_ring(tmp_path: Path) -> None:
    write(tmp_path, "a.yml", "_BASE_: b.yml")
    write(tmp_path, "b.yml", "_BASE_: a.yml")
    with pytest.raises(ConfigError, match=r"b.yml: _BASE_ leads back to .*a.yml"):
        load_config(str(tmp_path / "a.yml"))


def test_the_nearer_file_wins_and_the_command_line_over_all(tmp_path: Path) -> None:
    write(tmp_path, "a.yml", "SEED: 1\nSOLVER: {MAX_EPOCH: 3, BASE_LR: 0.5}")
    write(tmp_path, "b.yml", "_BASE_: a.yml\nSEED: 2\nSOLVER: {MAX_EPOCH: 4}")
    leaf = write(tmp_path, "c.yml", "_BASE_: b.yml\nOUTPUT_DIR: here\nDATASETS: {NAMES: [CUHK03, Market1501]}")
    cfg = load_config(leaf, ["SOLVER.BASE_LR", "0.25"])
    found = (cfg.SEED, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR, tuple(cfg.DATASETS.NAMES))
    assert found == (2, 4, 0.25, "here", ("CUHK03", "Market1501"))
    assert cfg.is_frozen()


def test_all_keys_are_full_names() -> None:
    keys = flat(load_config())
    assert {"SEED", "MODEL.BACKBONE.DEPTH", "DATASETS.VALIDATION.NUM_IDS"} <= set(keys)
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("base", "message"),
    [("b.yml", "_BASE_ leads back"), ("../{name}/b.yml", "_BASE_ leads back"), ("[1]", "must name one file"),
     ("3", "must name one file"), ("./", "cannot read the configuration")],
)  # fmt: skip
def test_a_base_that_is_no_file_or_a_circle_is_one_message(base: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(f"_BASE_: {base.format(name=tmp_path.name)}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / "b.yml"))
