"""Everything that would fail hours later, checked before the first step and told in one message."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from oamn_plugin.datasets.images import IMAGE_POLICIES
from oamn_plugin.hosts.fastreid import data
from oamn_plugin.hosts.fastreid.config import ConfigError
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY, LOSS_REGISTRY, SAMPLER_REGISTRY, nearest


class PreflightError(ConfigError):
    """What stands in the way of a run, one line a finding."""


def preflight(cfg: CfgNode, train: bool = True) -> None:
    """Checks names, ranges and combinations, then the data.

    Raises:
        PreflightError: every finding in one message.
    """
    for check in (check_settings, check_data):  # data is read only when the settings can work
        findings = check(cfg, train)
        if findings:
            raise PreflightError("this run cannot work:\n" + "\n".join(f"  - {finding}" for finding in findings))


def check_settings(cfg: CfgNode, train: bool) -> list[str]:
    """Findings that need no data."""
    found = _unknown_names(cfg) + _wrong_values(cfg)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        found.append("MODEL.DEVICE is cuda and there is no CUDA device: add MODEL.DEVICE cpu")
    if cfg.SOLVER.AMP.ENABLED and not cfg.MODEL.DEVICE.startswith("cuda"):
        found.append("SOLVER.AMP.ENABLED needs MODEL.DEVICE cuda: add SOLVER.AMP.ENABLED False")
    if cfg.MODEL.WEIGHTS and not os.path.isfile(cfg.MODEL.WEIGHTS):
        found.append(f"MODEL.WEIGHTS: there is no file {cfg.MODEL.WEIGHTS}")
    path = cfg.MODEL.BACKBONE.PRETRAIN_PATH
    if train and cfg.MODEL.BACKBONE.PRETRAIN and path and not os.path.isfile(path):
        found.append(f"MODEL.BACKBONE.PRETRAIN_PATH: there is no file {path}")
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


def _wrong_values(cfg: CfgNode) -> list[str]:
    solver, ranges = cfg.SOLVER, []
    positive = {
        "SOLVER.IMS_PER_BATCH": solver.IMS_PER_BATCH,
        "SOLVER.MAX_EPOCH": solver.MAX_EPOCH,
        "SOLVER.CHECKPOINT_PERIOD": solver.CHECKPOINT_PERIOD,
        "SOLVER.CHECKPOINT_KEEP": solver.CHECKPOINT_KEEP,
        "SOLVER.BASE_LR": solver.BASE_LR,
        "TEST.IMS_PER_BATCH": cfg.TEST.IMS_PER_BATCH,
        "TEST.EVAL_PERIOD": cfg.TEST.EVAL_PERIOD,
        "DATALOADER.NUM_INSTANCE": cfg.DATALOADER.NUM_INSTANCE,
    }
    ranges += [f"{key} must be above 0, got {value}" for key, value in positive.items() if value <= 0]
    shares = {
        "INPUT.OCCLUSION.PROB": cfg.INPUT.OCCLUSION.PROB,
        "INPUT.FLIP.PROB": cfg.INPUT.FLIP.PROB,
        "INPUT.REA.PROB": cfg.INPUT.REA.PROB,
    }
    ranges += [f"{key} must lie in [0, 1], got {value}" for key, value in shares.items() if not 0 <= value <= 1]
    if cfg.INPUT.BAD_IMAGES not in IMAGE_POLICIES:
        ranges.append(f"INPUT.BAD_IMAGES must be one of {', '.join(IMAGE_POLICIES)}, got {cfg.INPUT.BAD_IMAGES!r}")
    if "Identity" in cfg.DATALOADER.SAMPLER_TRAIN and solver.IMS_PER_BATCH % cfg.DATALOADER.NUM_INSTANCE:
        ranges.append(
            f"SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH} must be a multiple of DATALOADER.NUM_INSTANCE "
            f"{cfg.DATALOADER.NUM_INSTANCE} with {cfg.DATALOADER.SAMPLER_TRAIN}"
        )
    if cfg.DATASETS.VALIDATION.NUM_IDS > 0 and cfg.TEST.EVAL_PERIOD > solver.MAX_EPOCH:
        ranges.append(
            f"TEST.EVAL_PERIOD {cfg.TEST.EVAL_PERIOD} lies beyond SOLVER.MAX_EPOCH {solver.MAX_EPOCH}: "
            "the held-out identities would never be evaluated"
        )
    return ranges


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
