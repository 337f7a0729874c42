"""Configurations of the fastreid adapter that train in seconds on one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from oamn_plugin.hosts.fastreid.config import load_config

RESNET18: dict[str, Any] = {
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__BACKBONE__DEPTH": "18x",
    "MODEL__BACKBONE__FEAT_DIM": 512,
}
"""Changes of :func:`tiny_config` for what needs a ResNet; its steps take three times as long."""
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY: dict[str, Any] = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_mobilenetv2_backbone",
    "MODEL.BACKBONE.DEPTH": "0.5x",
    "MODEL.BACKBONE.FEAT_DIM": 1280,
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "INPUT.PADDING.SIZE": 4,
    "DATASETS.NAMES": ["OccludedPedestrians"],
    "DATASETS.TESTS": ["OccludedPedestrians"],
    "DATASETS.EMBEDDED.SIZE": "tiny",
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.BASE_LR": 0.01,
    "SOLVER.SCHED": "CosineAnnealingLR",
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "TEST.EVAL_PERIOD": 50,
    "TEST.IMS_PER_BATCH": 16,
}


def tiny_config(base: str, root: Path, output: Path, **changes: Any) -> CfgNode:
    """``configs/Base-<base>.yml`` made small; ``changes`` are keys with ``__`` for the dot."""
    settings = TINY | {"DATASETS.ROOT": str(root), "OUTPUT_DIR": str(output)}
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    opts = [text for key, value in settings.items() for text in (key, str(value))]
    output.mkdir(parents=True, exist_ok=True)
    return load_config(str(CONFIGS / f"Base-{base}.yml") if base else "", opts)


def changed(cfg: CfgNode, **changes: Any) -> CfgNode:
    """A copy with other values, which no loader has checked."""
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in changes.items():
        *path, last = key.split("__")
        node = cfg
        for word in path:
            node = node[word]
        node[last] = value
    return cfg
