"""The cost of a network: parameters and operations for one image; ``cost.json`` of a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from oamn_plugin.files import write_atomically
from oamn_plugin.retrieval.unification import evaluation_mode


def write_cost(cfg: CfgNode, model: nn.Module, folder: Path) -> None:
    """Writes parameters and 1e9 multiply-additions of one test image (plain, not unified) to ``cost.json``."""
    image = torch.zeros(1, 3, *cfg.INPUT.SIZE_TEST, device=torch.device(cfg.MODEL.DEVICE))
    with evaluation_mode(model), FlopCounterMode(display=False) as counter:
        model({"images": image})
    cost = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflops": counter.get_total_flops() / 2e9,  # a multiplication and an addition count as one
    }
    write_atomically(folder / "cost.json", (json.dumps(cost, indent=2) + "\n").encode())
