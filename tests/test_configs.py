"""Every configuration file of the fastreid side loads, names only what is registered, and builds its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from oamn_plugin.benchmark.suite import load_suite
from oamn_plugin.hosts.fastreid.config import config_chain, load_config, oamn_options
from oamn_plugin.hosts.fastreid.preflight import check_settings
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.presets import preset

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
OTHERS = ("suites", "torchreid")  # not configurations of fastreid
FILES = sorted(p for p in CONFIGS.rglob("*.yml") if p.relative_to(CONFIGS).parts[0] not in OTHERS)
RECIPES = ("oamn_R50", "oamn_official_R50", "bagtricks_R50", "AGW_R50", "SBS_R50", "MGN_R50")
SMALL = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.HEADS.NUM_CLASSES", "5"]


def load(path: Path, *opts: str) -> Any:
    return load_config(str(path), [*SMALL, *opts])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_file_loads_and_builds_its_model(path: Path) -> None:
    cfg = load(path)
    oamn = cfg.MODEL.META_ARCHITECTURE == "OAMN"  # its cut is checked by a forward pass, which needs real numbers
    device = "cpu" if oamn else "meta"
    with torch.device(device):
        model = Trainer.build_model(load(path, "MODEL.DEVICE", device))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 100_000 < count < 80_000_000
    if oamn:
        assert model.oamn.options == oamn_options(cfg)
        assert model.oamn.feature_dim == cfg.MODEL.BACKBONE.FEAT_DIM


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_file_names_what_exists(path: Path) -> None:
    assert check_settings(load(path, "MODEL.DEVICE", "cpu"), train=True) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_lists_are_yaml_lists_and_runs_have_folders_of_their_own(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    lists = [content.get("DATASETS", {}).get(key) for key in ("NAMES", "TESTS")]
    lists.append(content.get("MODEL", {}).get("LOSSES", {}).get("NAME"))
    assert all(isinstance(one, list) for one in lists if one is not None)
    if not path.name.startswith("Base-"):
        assert load(path).OUTPUT_DIR.startswith("logs/")


def test_no_two_runs_share_a_folder() -> None:
    folders = [load(path).OUTPUT_DIR for path in FILES if not path.name.startswith("Base-")]
    assert len(folders) == len(set(folders))


@pytest.mark.parametrize("name", ["Market1501", "OccludedDuke"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_published_sets_have_every_recipe(name: str, recipe: str) -> None:
    cfg = load(CONFIGS / name / f"{recipe}.yml")
    assert (list(cfg.DATASETS.NAMES), list(cfg.DATASETS.TESTS)) == ([name], [name])
    assert cfg.MODEL.DEVICE == "cuda"
    assert load_config(str(CONFIGS / name / f"{recipe}.yml")).MODEL.BACKBONE.PRETRAIN


def test_the_official_reading_in_the_released_layout() -> None:
    cfg = load(CONFIGS / "Market1501" / "oamn_official_R50.yml")
    backbone = cfg.MODEL.BACKBONE
    assert oamn_options(cfg) == preset("official")
    assert (backbone.NAME, backbone.ARCH, backbone.LAST_STRIDE) == ("torchvision", "resnet50", 2)
    assert (cfg.INPUT.RESAMPLE, list(cfg.INPUT.SIZE_TEST)) == ("bilinear", [256, 128])


def test_the_published_optimisation_of_oamn() -> None:
    cfg = load(CONFIGS / "Market1501" / "oamn_R50.yml")
    solver, options = cfg.SOLVER, oamn_options(cfg)
    assert options == preset("paper")
    assert (solver.OPT, solver.MOMENTUM, solver.NESTEROV, solver.WEIGHT_DECAY) == ("SGD", 0.9, True, 5e-4)
    assert (solver.SCHED, solver.MAX_EPOCH, solver.BASE_LR) == ("OAMNSteps", 30, 0.1)
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, solver.BACKBONE_LR_FACTOR) == (64, 2, 0.1)
    assert (cfg.INPUT.PADDING.SIZE, cfg.INPUT.ROTATION, cfg.INPUT.FLIP.PROB) == (10, 5.0, 0.5)


@pytest.mark.parametrize("recipe", ["AGW", "SBS", "MGN"])
def test_the_stronger_baselines_rest_on_the_bag_of_tricks(recipe: str) -> None:
    chain = [Path(path).name for path in config_chain(str(CONFIGS / f"Base-{recipe}.yml"))]
    assert chain[-1] == "Base-bagtricks.yml"


@pytest.mark.parametrize("path", sorted((CONFIGS / "suites").glob("*.yml")), ids=lambda path: path.stem)
def test_options_of_every_suite_are_keys_with_possible_values(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)  # configurations are named from the root of the repository
    suite = load_suite(path)
    for method in (one for one in suite.methods if one.host == "fastreid"):
        opts = [*SMALL, "MODEL.DEVICE", "cpu", *suite.opts, *method.opts]
        assert check_settings(load_config(method.config, opts), train=True) == [], method.name


def test_every_method_of_the_embedded_suites_sees_as_many_image_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    for name, epochs in (("demo", 10), ("embedded", 10), ("ablation", 10)):
        suite = load_suite(CONFIGS / "suites" / f"{name}.yml")
        for method in (one for one in suite.methods if one.host == "fastreid"):
            cfg = load_config(method.config, [*SMALL, *suite.opts, *method.opts])
            views = oamn_options(cfg).num_views if cfg.MODEL.META_ARCHITECTURE == "OAMN" else 1
            assert cfg.SOLVER.MAX_EPOCH * views == epochs, method.name


def test_the_two_budgets_of_the_market_suite_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    # images, epochs, views
    budgets = {"market_cpu": {(60, 15, 1), (12, 3, 5)}, "market_cpu_epochs": {(60, 4, 1), (60, 4, 3)}}
    for name, expected in budgets.items():
        suite, found = load_suite(CONFIGS / "suites" / f"{name}.yml"), set()
        for method in suite.methods:
            cfg = load_config(method.config, [*SMALL, *suite.opts, *method.opts])
            views = oamn_options(cfg).num_views if cfg.MODEL.META_ARCHITECTURE == "OAMN" else 1
            found.add((cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_EPOCH, views))
        assert found == expected


def test_methods_of_the_market_suite_differ_in_one_part_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    suite = load_suite(CONFIGS / "suites" / "market_cpu.yml")
    loaded = {one.name: load_config(one.config, [*SMALL, *suite.opts, *one.opts]) for one in suite.methods}
    trained = [one.name for one in suite.methods if not one.weights_of]
    assert sorted(one.weights_of for one in suite.methods if one.weights_of) == sorted(trained)
    assert len(trained) == 7
    assert suite.seeds == (0, 1, 2)
    for one in suite.methods:
        cfg = loaded[one.name]
        kind = "matched" if one.weights_of else "none"
        assert kind == cfg.TEST.UNIFICATION
        assert not cfg.SOLVER.AMP.ENABLED
        assert not cfg.TEST.AMP
        if one.weights_of:
            assert _differing(cfg, loaded[one.weights_of]) == {"UNIFICATION"}
    plus, maskless = (loaded[name] for name in ("OAMN plus", "OAMN plus without mask module"))
    assert _differing(plus, maskless) == {"MASK_MODULE"}
    assert Trainer.build_model(maskless).oamn.mask is None
    options = oamn_options(plus)
    augmentation = (options.occluded_share, options.patch_source, options.black_share, options.cut_share)
    for name in (name for name in trained if "plus's augmentation" in name):
        given = loaded[name].INPUT.OCCLUSION
        stated = (given.PROB, given.PATCH_SOURCE, given.BLACK_SHARE, given.CUT_SHARE)
        assert stated == augmentation, name
    average = _differing(loaded["SBS + plus's augmentation"], loaded["SBS + plus's augmentation, average pooling"])
    assert average == {"NECK_FEAT", "POOL_LAYER"}


def test_methods_of_the_field_suite_have_one_budget_and_one_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    suite = load_suite(CONFIGS / "suites" / "market_field.yml")
    loaded = {one.name: load_config(one.config, [*SMALL, *suite.options(one)]) for one in suite.methods}
    budgets: dict[bool, set[tuple[int, ...]]] = {False: set(), True: set()}
    given = loaded["SBS"].INPUT.OCCLUSION
    for one in suite.methods:
        cfg = loaded[one.name]
        assert not cfg.SOLVER.AMP.ENABLED
        assert (cfg.DATASETS.MAX_TRAIN_IDS, cfg.DATASETS.VALIDATION.NUM_IDS) == (0, 51)
        if one.weights_of:
            assert _differing(cfg, loaded[one.weights_of]) == {"UNIFICATION"}
            continue
        options = oamn_options(cfg)
        oamn = cfg.MODEL.META_ARCHITECTURE == "OAMN"
        views = options.num_views if oamn else 1
        budgets[bool(one.starts_from)].add(
            (*cfg.INPUT.SIZE_TRAIN, cfg.SOLVER.IMS_PER_BATCH * views, cfg.SOLVER.MAX_EPOCH)
        )
        stated = (options.occluded_share, options.patch_source, options.black_share, options.cut_share) if oamn else (
            cfg.INPUT.OCCLUSION.PROB, cfg.INPUT.OCCLUSION.PATCH_SOURCE, cfg.INPUT.OCCLUSION.BLACK_SHARE,
            cfg.INPUT.OCCLUSION.CUT_SHARE,
        )  # fmt: skip
        assert stated == (given.PROB, given.PATCH_SOURCE, given.BLACK_SHARE, given.CUT_SHARE)
        assert cfg.INPUT.OCCLUSION.OBJECTS == given.OBJECTS == "logs/occluders"
    assert budgets == {False: {(128, 64, 60, 12)}, True: {(256, 128, 60, 2)}}


def _differing(first: Any, second: Any) -> set[str]:
    """Last names of the keys whose values differ."""
    names: set[str] = set()
    for key in first:
        if isinstance(first[key], dict):
            names |= _differing(first[key], second[key])
        elif first[key] != second[key]:
            names.add(key)
    return names
