"""Mask and occlusion types against what really covers the person, known for the generated data set and for no other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from oamn_plugin.datasets.embedded import load_truth
from oamn_plugin.hosts.shared.evaluation import Batch, Evaluation
from oamn_plugin.retrieval.occlusion_scores import mask_scores, type_scores


def truth_scores(model: Any, found: Evaluation, query: Iterable[Batch]) -> dict[str, float]:
    """How well a model judges the occlusion of the queries; empty where the truth is unknown.

    Args:
        model: an embedding model, in evaluation mode.
        found: its evaluation. Where it was matched, the types are those of the posterior, else the scorer's.
        query: the same batches of queries again, for the masks of an OAMN.

    Returns:
        ``type_accuracy`` and ``side_accuracy``; ``mask_auc`` and ``mask_iou`` of a model with masks; in percent.
    """
    folder = Path(found.query[0].path).parent.parent
    posterior = found.result.posterior
    if not (folder / "visibility.npz").exists() or (posterior is None and getattr(model, "scorer", None) is None):
        return {}
    truth = load_truth(folder)
    if any(Path(record.path).name not in truth for record in found.query):
        return {}
    known = [truth[Path(record.path).name] for record in found.query]
    types = found.queries.types.numpy() if posterior is None else posterior.argmax(1)
    scores = type_scores(types, [one.type_name for one in known])
    if getattr(model, "mask", None) is not None:
        device = next(model.parameters()).device
        with torch.inference_mode():
            masks = [model.attend(model.encode(b.images.to(device)))[0].cpu() for b in query if b.images is not None]
        scores.update(mask_scores(masks, [one.visible for one in known], [one.occluder_mask for one in known]))
    return scores
