"""The valid range of each number, word and list of a configuration, checked before any data is read.

yacs has checked the types by then; a key without a default takes anything and is checked in config.py.
"""

from __future__ import annotations

import math

import torch
from fastreid.config import CfgNode

from oamn_plugin.configurations import flat
from oamn_plugin.datasets.embedded import SIZES
from oamn_plugin.datasets.images import IMAGE_POLICIES
from oamn_plugin.hosts.fastreid.config import oamn_options, unification
from oamn_plugin.hosts.fastreid.solver import OAMN_SCHEDULE
from oamn_plugin.hosts.fastreid.transforms import PIPELINES
from oamn_plugin.hosts.shared.evaluation import EvaluationSettings
from oamn_plugin.hosts.shared.preflight import idle_occlusion, is_number, not_three
from oamn_plugin.presets import PATCH_SOURCES, preset
from oamn_plugin.retrieval import Reranking
from oamn_plugin.search.encoder import RESAMPLING

ABOVE_0 = (
    "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_EPOCH", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.CHECKPOINT_KEEP",
    "SOLVER.LOG_PERIOD", "SOLVER.BASE_LR", "TEST.IMS_PER_BATCH", "TEST.EVAL_PERIOD", "DATALOADER.NUM_INSTANCE",
)  # fmt: skip
FROM_0 = (
    "SOLVER.CHECKPOINT_STEPS", "SOLVER.WARMUP_ITERS", "SOLVER.DELAY_EPOCHS", "SOLVER.FREEZE_ITERS",
    "SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM", "SOLVER.WEIGHT_DECAY_BIAS", "SOLVER.BACKBONE_LR_FACTOR",
    "SOLVER.MASK_LR_FACTOR", "SOLVER.BIAS_LR_FACTOR", "SOLVER.HEADS_LR_FACTOR", "SOLVER.ETA_MIN_LR",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.MAX_TRAIN_IDS", "DATASETS.VALIDATION.NUM_IDS", "DATASETS.VALIDATION.SEED", "DATASETS.EMBEDDED.SEED",
    "INPUT.PADDING.SIZE", "MODEL.LOSSES.GROUPED.MARGIN", "MODEL.LOSSES.GROUPED.SCALE", "TEST.CHUNK_SIZE",
)  # fmt: skip
SHARES = (
    "INPUT.OCCLUSION.PROB", "INPUT.OCCLUSION.BLACK_SHARE", "INPUT.OCCLUSION.CUT_SHARE", "INPUT.FLIP.PROB",
    "INPUT.REA.PROB", "INPUT.CJ.PROB", "INPUT.AUTOAUG.PROB",
    "INPUT.AUGMIX.PROB", "INPUT.RPT.PROB", "SOLVER.GAMMA", "SOLVER.WARMUP_FACTOR",
)  # fmt: skip
BELOW_1 = ("SOLVER.MOMENTUM",)
SIZE_KEYS = ("INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST")
SMALLEST = 16
"""Pixels: a smaller image has no position left after a backbone's strides."""
CHOICES: dict[str, tuple[str, ...]] = {
    "INPUT.BAD_IMAGES": IMAGE_POLICIES,
    "INPUT.PIPELINE": PIPELINES,
    "INPUT.RESAMPLE": tuple(RESAMPLING),
    "INPUT.OCCLUSION.PATCH_SOURCE": PATCH_SOURCES,
    "TEST.METRIC": ("cosine", "euclidean"),
    "SOLVER.SCHED": ("MultiStepLR", "CosineAnnealingLR", OAMN_SCHEDULE),
    "DATASETS.EMBEDDED.SIZE": tuple(SIZES),
}


def wrong_ranges(cfg: CfgNode) -> list[str]:
    """A line for each number out of its range (NaN and infinity are out of all)."""
    rules = [
        (ABOVE_0, "be above 0", lambda x: x > 0),
        (FROM_0, "be 0 or above", lambda x: x >= 0),
        (SHARES, "lie in [0, 1]", lambda x: 0 <= x <= 1),
        (BELOW_1, "lie in [0, 1)", lambda x: 0 <= x < 1),
        (("INPUT.ROTATION",), "lie in [0, 180]", lambda x: 0 <= x <= 180),
    ]
    values = flat(cfg)
    return [
        f"{key} must {words}, got {values[key]}"
        for keys, words, holds in rules
        for key in keys
        if not (math.isfinite(values[key]) and holds(values[key]))
    ]


def wrong_lists(cfg: CfgNode) -> list[str]:
    """A line for each image size, pixel mean or standard deviation, and list of steps that cannot be used."""
    found, values = [], flat(cfg)
    for key in SIZE_KEYS:
        size = list(values[key])
        if len(size) != 2 or not all(isinstance(side, int) and side >= SMALLEST for side in size):
            found.append(f"{key} must be [height, width] in pixels, each {SMALLEST} or more, got {size}")
    found += not_three("MODEL.PIXEL_MEAN", cfg.MODEL.PIXEL_MEAN) + not_three("MODEL.PIXEL_STD", cfg.MODEL.PIXEL_STD, 0)
    steps = list(cfg.SOLVER.STEPS)
    if any(not is_number(step) or step < 0 for step in steps) or steps != sorted(steps):
        found.append(f"SOLVER.STEPS must be epochs in rising order, got {steps}")
    return found


def wrong_combinations(cfg: CfgNode, processes: int = 1) -> list[str]:
    """A line for each pair of settings, valid alone, that cannot work together. Ranges must have been checked."""
    solver, people, found = cfg.SOLVER, "Identity" in cfg.DATALOADER.SAMPLER_TRAIN, []
    if people and solver.IMS_PER_BATCH % cfg.DATALOADER.NUM_INSTANCE:
        found.append(
            f"SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH} must be a multiple of DATALOADER.NUM_INSTANCE "
            f"{cfg.DATALOADER.NUM_INSTANCE} with {cfg.DATALOADER.SAMPLER_TRAIN}"
        )
    if solver.IMS_PER_BATCH % processes:
        found.append(f"SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH} must be a multiple of the {processes} processes")
    if cfg.DATASETS.VALIDATION.NUM_IDS > 0 and cfg.TEST.EVAL_PERIOD > solver.MAX_EPOCH:
        found.append(
            f"TEST.EVAL_PERIOD {cfg.TEST.EVAL_PERIOD} lies beyond SOLVER.MAX_EPOCH {solver.MAX_EPOCH}: "
            "the held-out identities would never be evaluated"
        )
    settings = unification(cfg)
    if cfg.TEST.FLIP.ENABLED and settings.kind != "none":
        found.append("TEST.FLIP.ENABLED does not go with occlusion unification: a flip changes the sides")
    rerank = Reranking() if cfg.TEST.RERANK.ENABLED else None
    tests = EvaluationSettings(settings, rerank=rerank, expansion={} if cfg.TEST.AQE.ENABLED else None)
    found += [f"TEST: {problem}" for problem in tests.problems()]
    if solver.OPT == "SGD" and solver.NESTEROV and solver.MOMENTUM == 0:
        found.append("SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0")
    if solver.SCHED == OAMN_SCHEDULE and solver.WARMUP_ITERS:
        found.append(f"SOLVER.SCHED {OAMN_SCHEDULE} warms up by itself: it goes with SOLVER.WARMUP_ITERS 0 only")
    sizes = list(cfg.INPUT.SIZE_TRAIN), list(cfg.INPUT.SIZE_TEST)
    if cfg.MODEL.META_ARCHITECTURE == "OAMN" and sizes[0] != sizes[1]:
        found.append(
            f"INPUT.SIZE_TEST {sizes[1]} must be INPUT.SIZE_TRAIN {sizes[0]}: OAMN's mask is bound to the input size"
        )
    if not isinstance(getattr(torch.optim, solver.OPT, None), type):
        found.append(f"SOLVER.OPT: torch has no optimiser {solver.OPT!r}")
    return found


def idle_settings(cfg: CfgNode) -> list[str]:
    """A line for each training setting that has no effect because of another one."""
    oamn = cfg.MODEL.META_ARCHITECTURE == "OAMN"
    options = (oamn_options(cfg), preset(cfg.MODEL.OAMN.PRESET)) if oamn else None
    found = idle_occlusion("INPUT.OCCLUSION.", cfg.INPUT.OCCLUSION, "MODEL.OAMN.", options)
    if oamn and cfg.INPUT.REA.ENABLED and cfg.INPUT.PIPELINE == "device":
        found.append("INPUT.REA.ENABLED does nothing for OAMN with INPUT.PIPELINE device: its views are not erased")
    return found
