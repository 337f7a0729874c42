"""How well masks and occlusion types agree with the truth, where a generated data set knows it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES


def type_scores(predicted: np.ndarray, true_types: Sequence[str]) -> dict[str, float]:
    """Accuracy of occlusion types and of sides alone.

    Args:
        predicted: (N,) type indices that the scorer gave.
        true_types: N type names.

    Returns:
        ``type_accuracy`` and ``side_accuracy`` in percent; a side counts as right when both have none.
    """
    names = [OCCLUSION_TYPES[index] for index in predicted]
    pairs = list(zip(names, true_types, strict=True))
    sides = [(a.split("_")[0], b.split("_")[0]) for a, b in pairs]
    return {
        "type_accuracy": 100 * float(np.mean([a == b for a, b in pairs])),
        "side_accuracy": 100 * float(np.mean([a == b for a, b in sides])),
    }


def mask_scores(
    masks: Sequence[Tensor], visible: Sequence[np.ndarray], occluder: Sequence[np.ndarray]
) -> dict[str, float]:
    """How well a mask weights the visible person above the occluder.

    A mask position counts as body where the visible person covers most of it, as occluder where the occluder does;
    background and borders count as neither.

    Args:
        masks: batches (n, 1, h, w) in [0, 1], N in all.
        visible: N boolean (H, W) arrays: pixels of the visible person.
        occluder: N boolean (H, W) arrays: pixels of the occluder.

    Returns:
        ``mask_auc``: probability in percent that a body position of the set weighs more than an occluder position.
        ``mask_iou``: intersection over union, in percent, of the positions above the median weight of body and occluder
        positions of their image with its body positions, mean over images that have both. Empty without occluders.
    """
    weights, labels, overlaps = [], [], []
    for mask, *pixels in zip(chain.from_iterable(masks), visible, occluder, strict=True):
        body, cover = (_cells(one, mask.shape[-2:]) for one in pixels)
        chosen = (body > 0.5) | (cover > 0.5)
        if not (body > 0.5).any() or not (cover > 0.5).any():
            continue
        weight, label = mask[0][chosen].float().numpy(), (body > 0.5)[chosen].numpy()
        weights.append(weight)
        labels.append(label)
        above = weight > np.median(weight)
        overlaps.append((above & label).sum() / max(1, (above | label).sum()))
    if not weights:
        return {}
    auc = roc_auc_score(np.concatenate(labels), np.concatenate(weights))
    return {"mask_auc": 100 * float(auc), "mask_iou": 100 * float(np.mean(overlaps))}


def _cells(pixels: np.ndarray, size: torch.Size) -> Tensor:
    """Share of each mask cell's pixels that are set: (H, W) bool to (h, w)."""
    return F.adaptive_avg_pool2d(torch.from_numpy(np.asarray(pixels, np.float32))[None], (size[0], size[1]))[0]
