from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_torchreid import CONFIGS, require_torchreid, tiny_config

require_torchreid()

from oamn_plugin.configurations import flat  # noqa: E402
from oamn_plugin.hosts.shared.errors import ConfigError  # noqa: E402
from oamn_plugin.hosts.shared.preflight import PreflightError  # noqa: E402
from oamn_plugin.hosts.torchreid.builders import build_datamanager, register_from  # noqa: E402
from oamn_plugin.hosts.torchreid.config import default_config, load_config, oamn_options, unification  # noqa: E402
from oamn_plugin.hosts.torchreid.preflight import check_data, check_settings  # noqa: E402
from oamn_plugin.presets import preset  # noqa: E402


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yml")), ids=lambda path: path.stem)
def test_every_configuration_file_can_run(path: Path, tmp_path: Path) -> None:
    cfg = load_config(str(path), ["data.save_dir", str(tmp_path)])
    register_from(cfg)
    check_settings(cfg)


def test_the_hosts_keys_are_all_there() -> None:
    keys = set(flat(default_config()))
    assert {
        "model.name", "model.pretrained", "model.load_weights", "model.resume", "data.root", "data.sources",
        "data.targets", "data.workers", "data.height", "data.width", "data.combineall", "data.transforms",
        "data.save_dir", "sampler.train_sampler", "sampler.num_instances", "train.optim", "train.lr",
        "train.weight_decay", "train.max_epoch", "train.start_epoch", "train.batch_size", "train.fixbase_epoch",
        "train.open_layers", "train.staged_lr", "train.new_layers", "train.base_lr_mult", "train.lr_scheduler",
        "train.stepsize", "train.gamma", "train.print_freq", "train.seed", "loss.name", "loss.softmax.label_smooth",
        "loss.triplet.margin", "loss.triplet.weight_t", "loss.triplet.weight_x", "test.batch_size",
        "test.dist_metric", "test.normalize_feature", "test.ranks", "test.evaluate", "test.eval_freq",
        "test.start_eval", "test.rerank", "test.visrank", "use_gpu", "sgd.momentum", "adam.beta1", "rmsprop.alpha",
    } <= keys  # fmt: skip


def test_options_of_the_method_by_key() -> None:
    cfg = load_config(
        "", ["oamn.preset", "plus", "oamn.mask_floor", "0.25", "oamn.axes", "2", "test.unification", "none"]
    )
    assert oamn_options(cfg) == preset("plus", mask_floor=0.25, axes=2)
    assert (unification(cfg).kind, unification(load_config()).kind) == ("none", "typed")
    matched = unification(load_config("", ["model.name", "osnet_x1_0", "test.unification", "matched"]))
    assert (matched.kind, matched.place, matched.fill) == ("matched", "features", "mean")
    assert oamn_options(load_config()) == preset("paper")


def test_values_are_read_as_the_host_reads_them(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("train: {lr: 1e-3, stepsize: [20, 40]}\ndata: {sources: OccludedDuke}\n")
    cfg = load_config(str(tmp_path / "c.yml"), ["data.targets", "['A', 'B']", "data.transforms", "random_flip"])
    assert (cfg.train.lr, list(cfg.train.stepsize)) == (0.001, [20, 40])
    assert (list(cfg.data.sources), list(cfg.data.targets)) == (["OccludedDuke"], ["A", "B"])
    assert list(cfg.data.transforms) == ["random_flip"]


@pytest.mark.parametrize("word", ["market1501", "3dpes", "_mine", "a,b"])
def test_a_word_stands_for_a_list_of_it_also_one_that_begins_with_a_digit(word: str) -> None:
    assert list(load_config("", ["data.sources", word]).data.sources) == [word]
    for broken in ("[a,", "15", ""):
        with pytest.raises(ConfigError, match=r"data\.sources on the command line"):
            load_config("", ["data.sources", broken])


@pytest.mark.parametrize(
    ("content", "opts", "message"),
    [
        (
            "train: {max_epochs: 3}",
            [],
            r"unknown key 'train\.max_epochs' in .*c\.yml\. Did you mean 'train\.max_epoch'",
        ),
        ("max_epoch: 3", [], r"unknown key 'max_epoch' in .*Did you mean 'train\.max_epoch'"),
        ("train: 3", [], "train in .* must hold keys of its own, got 3"),
        ("- 3", [], "holds no keys"),
        ("a: [", [], "not readable as YAML"),
        ("", ["train.lr"], "KEY VALUE pairs, got train.lr"),
        ("", ["train.lr", "fast"], r"train\.lr on the command line must be a number, got 'fast'"),
        ("", ["train.lr", "nan"], r"train\.lr on the command line must be a number, got 'nan'"),
        ("", ["data.norm_std", "[1e999, 1, 1]"], r"data\.norm_std on the command line must hold finite numbers, got"),
        ("", ["data.transforms", "None"], r"data\.transforms on the command line must have a value, got None"),
        ("data: {sources: null}", [], r"data\.sources in .*c\.yml must have a value, got None"),
        ("", ["train.batch_size", "many"], r"train\.batch_size on the command line"),
        ("", ["oamn.preset", "pluss"], "oamn: unknown preset 'pluss'"),
        ("", ["oamn.pooling", "sum"], "oamn: pooling must be one of max, avg"),
        ("", ["oamn.aligned_views", "3"], r"oamn\.aligned_views must be True or False, got 3"),
        ("", ["test.unification", "typ"], "kind of a unification must be one of none, typed, matched, got 'typ'"),
        ("", ["model.name", "osnet_x1_0", "test.unification", "typed"], "this model has none"),
        ("", ["test.unification", "matched", "test.matched.none_prior", "2.0"], "none_prior must lie in"),
        ("", ["oamn.mask_floor", "True"], r"oamn\.mask_floor must be a number"),
        ("", ["oamn.axes", "1.5"], r"oamn\.axes must be a whole number"),
    ],
)
def test_a_wrong_configuration_is_one_message(content: str, opts: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / "c.yml") if content else "", opts)


def test_an_earlier_runs_configuration_loads_unless_it_needs_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("oamn: {mask_warmup: null, axes: 1}\ndata: {occlusion_probability: 0.5}\n")
    assert oamn_options(load_config(str(tmp_path / "config.yaml"))) == preset("paper", axes=1)
    (tmp_path / "other.yaml").write_text("oamn: {cross_weight: 1.0}")
    with pytest.raises(
        ConfigError, match=r"other\.yaml: oamn\.cross_weight has been removed: it is 0\.0 now, got 1\.0"
    ):
        load_config(str(tmp_path / "other.yaml"))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration file 'nowhere\.yml'"):
        load_config("nowhere.yml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__name": "oamn_osnet_x0_255"}, "Did you mean 'oamn_osnet_x0_25'"),
        ({"data__transforms": "random_fliP"}, "Did you mean 'random_flip'"),
        ({"data__transforms": "random_occlusion"}, r"take it out and set occlusion\.prob"),
        (
            {"occlusion__prob": 0.5},
            r"occlusion, but for objects, is for other methods: OAMN's views are set by oamn\.occ",
        ),
        ({"oamn__axes": 1, "oamn__cut_share": 0.3}, r"oamn\.cut_share does nothing with oamn\.axes above 0"),
        ({"config": "resnet50", "occlusion__prob": 1.5}, r"occlusion\.prob must lie in \[0, 1\], got 1\.5"),
        (
            {"config": "resnet50", "occlusion__cut_share": 0.2},
            r"occlusion\.cut_share does nothing while occlusion\.prob",
        ),
        ({"config": "resnet50", "occlusion__patch_source": "large"}, r"occlusion\.patch_source: there is no 'large'"),
        ({"data__sources": "OccludedPedestrian"}, "Did you mean 'OccludedPedestrians'"),
        ({"train__optim": "adamm"}, "Did you mean 'adam'"),
        ({"train__lr_scheduler": "oamn_step"}, "Did you mean 'oamn_steps'"),
        ({"data__type": "video"}, r"data\.type: there is no 'video'"),
        ({"train__batch_size": 9}, "must be a multiple of sampler.num_instances 2"),
        ({"train__max_epoch": 0}, r"train\.max_epoch must be above 0"),
        ({"test__evaluate": True}, "name the file of the weights"),
        ({"model__load_weights": "gone.pth"}, r"there is no file gone\.pth"),
        ({"data__norm_std": "[1.0, 0.0, 1.0]"}, r"data.norm_std must be three numbers above 0, got \[1.0, 0.0, 1.0\]"),
        ({"data__norm_mean": "[1.0, 1.0]"}, r"data.norm_mean must be three numbers, got \[1.0, 1.0\]"),
        ({"test__visrank": True}, "draw rank lists with `oamn visualize ranks`"),
    ],
)
def test_what_would_fail_later_fails_before(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    cfg = tiny_config(tmp_path, tmp_path, **changes)
    register_from(cfg)
    with pytest.raises(PreflightError, match=message):
        check_settings(cfg)


def test_several_findings_come_at_once(tmp_path: Path) -> None:
    cfg = tiny_config(tmp_path, tmp_path, train__optim="adamm", train__batch_size=9)
    register_from(cfg)
    with pytest.raises(PreflightError, match=r"this run cannot work:\n  - train\.optim.*\n  - train\.batch_size"):
        check_settings(cfg)


def test_data_that_cannot_fill_a_batch(embedded_root: Path, tmp_path: Path) -> None:
    large = tiny_config(embedded_root, tmp_path, train__batch_size=64, sampler__train_sampler="RandomSampler")
    register_from(large)
    with pytest.raises(PreflightError, match="64 is larger than the training data"):
        check_data(large, build_datamanager(large))
    wide = tiny_config(embedded_root, tmp_path, train__batch_size=26)
    with pytest.raises(ConfigError, match="a batch wants batch_size / num_instances identities"):
        build_datamanager(wide)


def test_queries_that_nothing_can_find(embedded_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = tiny_config(embedded_root, tmp_path)
    register_from(cfg)
    manager = build_datamanager(cfg)
    parts = manager.test_dataset["OccludedPedestrians"]
    parts["query"] = [("lost.jpg", 999, 0, 0), *parts["query"]]
    check_data(cfg, manager)
    told = capsys.readouterr().out
    assert "1 of 13 queries have no match under another camera" in told
    assert ["OccludedPedestrians", "train", "12", "48", "4"] in [line.split() for line in told.splitlines()], told
    parts["query"] = parts["query"][:1]
    with pytest.raises(PreflightError, match="no query has its identity in the gallery under another camera"):
        check_data(cfg, manager)


def test_missing_data_is_a_message_of_the_reader(tmp_path: Path) -> None:
    cfg = tiny_config(tmp_path, tmp_path, data__sources="OccludedDuke", data__targets="OccludedDuke")
    register_from(cfg)
    with pytest.raises(ValueError, match="Occluded-DukeMTMC was not found"):
        build_datamanager(cfg)


def test_the_default_folder_of_runs_is_not_committed() -> None:
    ignored = (CONFIGS.parents[1] / ".gitignore").read_text().splitlines()
    assert f"/{load_config().data.save_dir}/" in ignored
