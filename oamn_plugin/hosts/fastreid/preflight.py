"""Everything that would fail hours later, checked before the first step and told in one message."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from oamn_plugin.hosts.fastreid import data
from oamn_plugin.hosts.fastreid.config import ConfigError
from oamn_plugin.hosts.fastreid.ranges import (
    idle_settings,
    wrong_choices,
    wrong_combinations,
    wrong_lists,
    wrong_ranges,
)
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY, LOSS_REGISTRY, SAMPLER_REGISTRY, nearest
from oamn_plugin.hosts.fastreid.transforms import build_pipeline


class PreflightError(ConfigError):
    """What stands in the way of a run, one line a finding."""


def preflight(cfg: CfgNode, train: bool = True, processes: int = 1) -> None:
    """Checks names, ranges and combinations, then the data.

    Args:
        cfg: the configuration.
        train: False: only what a test needs is checked.
        processes: how many share a training batch.

    Raises:
        PreflightError: every finding in one message.
    """
    # data is read only when the settings can work
    for check in (lambda: check_settings(cfg, train, processes), lambda: check_data(cfg, train)):
        findings = check()
        if findings:
            raise PreflightError("this run cannot work:\n" + "\n".join(f"  - {finding}" for finding in findings))


def check_settings(cfg: CfgNode, train: bool, processes: int = 1) -> list[str]:
    """Findings that need no data."""
    found = _unknown_names(cfg) + wrong_ranges(cfg) + wrong_choices(cfg) + wrong_lists(cfg)
    if not found:  # combinations of values that are wrong alone would only repeat it
        found += wrong_combinations(cfg, processes if train else 1)
        found += idle_settings(cfg) + _wrong_pipeline(cfg) if train else []
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        found.append("MODEL.DEVICE is cuda and there is no CUDA device: add MODEL.DEVICE cpu")
    if cfg.MODEL.WEIGHTS and not os.path.isfile(cfg.MODEL.WEIGHTS):
        found.append(f"MODEL.WEIGHTS: there is no file {cfg.MODEL.WEIGHTS}")
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    if train and cfg.MODEL.BACKBONE.PRETRAIN and path and not os.path.isfile(path):
        hint = " (`make weights` makes it)" if path == "weights/mobilenetv2_imagenet.pth" else ""
        found.append(f"MODEL.BACKBONE.PRETRAIN_PATH: there is no file {path}{hint}")
    if not cfg.DATASETS.TESTS:
        found.append("DATASETS.TESTS is empty: nothing would be evaluated")
    output = next(
        folder for folder in [Path(cfg.OUTPUT_DIR), *Path(cfg.OUTPUT_DIR).absolute().parents] if folder.exists()
    )
    if not output.is_dir() or not os.access(output, os.W_OK):
        found.append(f"OUTPUT_DIR {cfg.OUTPUT_DIR} is not writable")
    return found


def _unknown_names(cfg: CfgNode) -> list[str]:
    registries = [
        ("MODEL.META_ARCHITECTURE", META_ARCH_REGISTRY, [cfg.MODEL.META_ARCHITECTURE]),
        ("MODEL.BACKBONE.NAME", BACKBONE_REGISTRY, [cfg.MODEL.BACKBONE.NAME]),
        ("MODEL.HEADS.NAME", REID_HEADS_REGISTRY, [cfg.MODEL.HEADS.NAME]),
        ("MODEL.LOSSES.NAME", LOSS_REGISTRY, list(cfg.MODEL.LOSSES.NAME)),
        ("DATALOADER.SAMPLER_TRAIN", SAMPLER_REGISTRY, [cfg.DATALOADER.SAMPLER_TRAIN]),
        ("TEST.EVALUATOR", EVALUATOR_REGISTRY, [cfg.TEST.EVALUATOR]),
    ]
    return [
        f"{key}: there is no {name!r}.{nearest(name, registry._obj_map)} Known: {', '.join(sorted(registry._obj_map))}"
        for key, registry, names in registries
        for name in names
        if name not in registry._obj_map
    ]


def _wrong_pipeline(cfg: CfgNode) -> list[str]:
    try:
        build_pipeline(cfg, is_train=True)
    except (ConfigError, KeyError) as error:
        return [f"INPUT: {error.args[0]}"]
    return []


def check_data(cfg: CfgNode, train: bool) -> list[str]:
    """Findings in the data: missing folders, empty splits, queries that nothing can find, too large batches."""
    found = []
    for name in cfg.DATASETS.TESTS:
        try:
            split = data.build_dataset(cfg, name)
        except (ValueError, RuntimeError, OSError) as error:
            found.append(f"{name}: {error}")
            continue
        query, gallery = [data.Record(*r) for r in split.query], [data.Record(*r) for r in split.gallery]
        if not query or not gallery:
            found.append(f"{name}: {len(query)} queries and {len(gallery)} gallery images")
            continue
        lost = data.without_match(query, gallery)
        if len(lost) == len(query):
            found.append(f"{name}: no query has its identity in the gallery under another camera")
        elif lost:
            data.logger.warning(
                "%s: %d of %d queries have no match under another camera and count in no score, such as %s",
                *(name, len(lost), len(query), lost[0].path),
            )
    return found + (_check_training(cfg) if train else [])


def _check_training(cfg: CfgNode) -> list[str]:
    try:
        records = data.training_records(cfg)
    except (ValueError, RuntimeError, OSError) as error:
        return [f"{' + '.join(cfg.DATASETS.NAMES)}: {error}"]
    if not records:
        return [f"{' + '.join(cfg.DATASETS.NAMES)}: no training images"]
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
