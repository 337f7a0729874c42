"""Checks before the first step everything that would fail hours later; all findings are one message."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, build_model

from oamn_plugin.configurations import flat
from oamn_plugin.datasets.embedded import drawing_nothing
from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.fastreid import data
from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.inference import without_training
from oamn_plugin.hosts.fastreid.ranges import (
    CHOICES,
    idle_settings,
    wrong_combinations,
    wrong_lists,
    wrong_ranges,
)
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY, LOSS_REGISTRY, SAMPLER_REGISTRY
from oamn_plugin.hosts.fastreid.transforms import build_pipeline
from oamn_plugin.hosts.shared import preflight as shared
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.random_state import same_random_numbers
from oamn_plugin.hosts.shared.weights import load_weights
from oamn_plugin.weights import how_to_get, missing_weights


def preflight(cfg: CfgNode, train: bool = True, processes: int = 1) -> None:
    """Checks names, ranges, combinations and that the data sets are there, then the weights, then the data.

    Args:
        cfg: the configuration.
        train: False: only what a test needs is checked.
        processes: how many share a training batch.

    Raises:
        PreflightError: every finding in one message.
    """
    found = check_settings(cfg, train, processes)
    names = [*cfg.DATASETS.TESTS, *(cfg.DATASETS.NAMES if train else ())]
    with drawing_nothing():  # that a data set is missing is said before weights are downloaded
        shared.refuse(found + shared.loaded(partial(data.build_dataset, cfg), names)[1])
    shared.refuse(check_weights(cfg, train))
    shared.refuse(check_data(cfg, train))


def check_configuration(config: str, options: Sequence[str], train: bool) -> None:
    """:func:`preflight` of a file and its options; without ``train`` that of a test, but not of its weights."""
    cfg = load_config(config, options)
    if train:
        preflight(cfg)
    else:
        shared.refuse(check_settings(cfg, train) or check_data(cfg, train))


def check_settings(cfg: CfgNode, train: bool, processes: int = 1) -> list[str]:
    """Findings that need no data."""
    found = _unknown_names(cfg) + wrong_ranges(cfg) + wrong_lists(cfg)
    if not found:  # combinations of values that are wrong alone would only repeat it
        found += wrong_combinations(cfg, processes if train else 1) + _wrong_pipeline(cfg, train)
        found += idle_settings(cfg) if train else []
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        found.append("MODEL.DEVICE is cuda and there is no CUDA device: add MODEL.DEVICE cpu to the command")
    for key in ("WEIGHTS", "INIT"):
        found += [f"MODEL.{key}: {wrong}" for wrong in missing_weights(cfg.MODEL[key])]
    if train and cfg.MODEL.INIT and cfg.MODEL.WEIGHTS:
        found.append("MODEL.INIT and MODEL.WEIGHTS both name weights: give one")
    found += shared.wrong_seed("SEED", cfg.SEED, -(2**31))
    if train:
        found += shared.too_small_batch("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH)
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    if train and cfg.MODEL.BACKBONE.PRETRAIN and path and not Path(path).expanduser().is_file():
        found.append(f"MODEL.BACKBONE.PRETRAIN_PATH: there is no file {path}{how_to_get(path)}")
    if not cfg.DATASETS.TESTS:
        found.append("DATASETS.TESTS is empty: nothing would be evaluated")
    return found + shared.unusable_folder("OUTPUT_DIR", cfg.OUTPUT_DIR, train)


def check_weights(cfg: CfgNode, train: bool) -> list[str]:
    """Findings in the files of weights: missing, damaged, of another model; ImageNet weights are downloaded here."""
    if not train and not cfg.MODEL.WEIGHTS:
        return ["--eval-only tests MODEL.WEIGHTS: name the file of the weights"]
    found = []
    alone = altered(without_training(cfg), {"MODEL.DEVICE": "cpu"})
    with same_random_numbers():
        if cfg.MODEL.WEIGHTS:
            found += shared.failure(lambda: load_weights(build_model(alone), cfg.MODEL.WEIGHTS))
        if train and cfg.MODEL.BACKBONE.PRETRAIN:
            found += shared.failure(lambda: build_backbone(cfg))
    return found


def _unknown_names(cfg: CfgNode) -> list[str]:
    values = flat(cfg)
    return shared.unknown_names(
        [
            ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY._obj_map),
            ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY._obj_map),
            ("MODEL.HEADS.NAME", cfg.MODEL.HEADS.NAME, REID_HEADS_REGISTRY._obj_map),
            *(("MODEL.LOSSES.NAME", name, LOSS_REGISTRY._obj_map) for name in cfg.MODEL.LOSSES.NAME),
            ("DATALOADER.SAMPLER_TRAIN", cfg.DATALOADER.SAMPLER_TRAIN, SAMPLER_REGISTRY._obj_map),
            ("TEST.EVALUATOR", cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY._obj_map),
            *((key, values[key], choices) for key, choices in CHOICES.items()),
        ]
    )


def _wrong_pipeline(cfg: CfgNode, train: bool) -> list[str]:
    try:
        build_pipeline(cfg, train)
    except ConfigError as error:
        return [str(error)]
    except KeyError as error:
        return [f"INPUT.TRANSFORMS: {error.args[0]}"]
    return []


def check_data(cfg: CfgNode, train: bool) -> list[str]:
    """Findings in the data: missing folders, empty splits, queries without a match, too large batches."""
    found = shared.wrong_objects("INPUT.OCCLUSION.OBJECTS", cfg.INPUT.OCCLUSION.OBJECTS) if train else []
    splits, missing = shared.loaded(partial(data.build_dataset, cfg), cfg.DATASETS.TESTS)
    parts = {
        (name, part): [Record(*one) for one in getattr(split, part)]
        for name, split in splits.items()
        for part in ("query", "gallery")
    }
    wrong = _check_training(cfg, parts) if train else []
    return found + missing + shared.wrong_splits(parts, data.logger.warning) + wrong


def _check_training(cfg: CfgNode, parts: dict[tuple[str, str], list[Record]]) -> list[str]:
    name = " + ".join(cfg.DATASETS.NAMES)
    try:
        parts[name, "train"] = records = data.training_records(cfg)
    except (ValueError, RuntimeError, OSError) as error:
        return [f"{name}: {error}"]
    if not records:
        return [f"{name}: no training images"]
    found = []
    people, held = len({record.pid for record in records}), cfg.DATASETS.VALIDATION.NUM_IDS
    if held >= people:
        return [f"DATASETS.VALIDATION.NUM_IDS {held} leaves none of {people} training identities"]
    images = len(records) * (people - held) // people
    if images < cfg.SOLVER.IMS_PER_BATCH:
        found.append(f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is larger than the {images} training images")
    batch_people = cfg.SOLVER.IMS_PER_BATCH // cfg.DATALOADER.NUM_INSTANCE
    if "Identity" in cfg.DATALOADER.SAMPLER_TRAIN and batch_people > people - held:
        found.append(
            f"a batch wants {batch_people} identities ({cfg.SOLVER.IMS_PER_BATCH} / {cfg.DATALOADER.NUM_INSTANCE}), "
            f"there are {people - held}"
        )
    return found
