"""Mask and scorer against what really covers the person, known for the generated data set and for no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from torch import nn

from oamn_plugin.datasets.embedded import load_truth
from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.fastreid.loaders import build_test_loader
from oamn_plugin.retrieval.occlusion_scores import mask_scores, type_scores
from oamn_plugin.retrieval.unification import QueryDescriptors


def truth_scores(cfg: CfgNode, model: nn.Module, query: list[Record], queries: QueryDescriptors) -> dict[str, float]:
    """``mask_auc``, ``mask_iou``, ``type_accuracy``, ``side_accuracy`` in percent; empty where the truth is unknown."""
    folder = Path(query[0].path).parent.parent
    if not (folder / "visibility.npz").exists():
        return {}
    truth = load_truth(folder)
    known = [truth.get(Path(record.path).name) for record in query]
    if any(one is None for one in known):
        return {}
    found = type_scores(queries.types.numpy(), [one.type_name for one in known if one])
    core: Any = model.oamn
    if core.mask is not None:
        masks = []
        for _, images, _ in build_test_loader(cfg, query, shared=False):
            assert images is not None
            masks.append(core.attend(core.encode(model.normalise(images)))[0].cpu())  # type: ignore[operator]
        found.update(
            mask_scores(masks, [one.visible for one in known if one], [one.occluder_mask for one in known if one])
        )
    return found
