"""Scores of masks and occlusion types against the true occluder, for queries that were occluded by a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from oamn_plugin.datasets.embedded import load_truth
from oamn_plugin.datasets.embedded.truth import nearest_type
from oamn_plugin.datasets.images import read_image
from oamn_plugin.datasets.records import Record
from oamn_plugin.datasets.validation import Occluded
from oamn_plugin.hosts.shared.evaluation import Batch, Evaluation
from oamn_plugin.occlusion import SIDES
from oamn_plugin.retrieval.occlusion_scores import mask_scores, type_scores

OccludeQuery = Callable[[Image.Image, str], Occluded]


class Known(NamedTuple):
    """The nearest type of an occluder, and the (H, W) pixels of the visible person and of the occluder."""

    type_name: str
    visible: NDArray[np.bool_]
    occluder_mask: NDArray[np.bool_]


def truth_scores(
    model: Any, found: Evaluation, query: Iterable[Batch], occluder: OccludeQuery | None = None
) -> dict[str, float]:
    """How well a model judges the occlusion of the queries; empty where the truth is unknown.

    Args:
        model: an embedding model, in evaluation mode.
        found: its evaluation. Where it was matched, the types are those of the posterior, else the scorer's.
        query: the same batches of queries again, for the masks of an OAMN.
        occluder: what has occluded the queries; None: the truth of the generated data set, if they are of it.

    Returns:
        ``type_accuracy`` and ``side_accuracy``; ``scorer_side_accuracy``, of the largest output, of a model with a
        scorer; ``mask_auc`` and ``mask_iou`` of a model with masks; in percent.
    """
    posterior, has_scorer = found.result.posterior, getattr(model, "scorer", None) is not None
    if posterior is None and not has_scorer:
        return {}
    known = _generated(found.query) if occluder is None else _occluded(found.query, occluder)
    if not known:
        return {}
    types = found.queries.types.numpy() if posterior is None else posterior.argmax(1)
    scores = type_scores(types, [one.type_name for one in known])
    sides = [one.type_name.split("_")[0] for one in known]
    if has_scorer and (rows := [row for row, side in enumerate(sides) if side in SIDES]):
        largest = found.queries.logits.argmax(1).tolist()
        scores["scorer_side_accuracy"] = 100 * float(np.mean([SIDES[largest[row]] == sides[row] for row in rows]))
    if getattr(model, "mask", None) is not None:
        device = next(model.parameters()).device
        with torch.inference_mode():
            masks = [model.attend(model.encode(b.images.to(device)))[0].cpu() for b in query if b.images is not None]
        scores.update(mask_scores(masks, [one.visible for one in known], [one.occluder_mask for one in known]))
    return scores


def _generated(query: Sequence[Record]) -> list[Known]:
    """The truth of images of the generated data set; empty for any other image."""
    folder = Path(query[0].path).parent.parent
    if not (folder / "visibility.npz").exists():
        return []
    truth = load_truth(folder)
    if any(Path(record.path).name not in truth for record in query):
        return []
    chosen = (truth[Path(record.path).name] for record in query)
    return [Known(one.type_name, one.visible, one.occluder_mask) for one in chosen]


def _occluded(query: Sequence[Record], occluder: OccludeQuery) -> list[Known]:
    """The truth for queries covered by ``occluder``, which repeats itself exactly; empty if it covers nothing."""
    layers = [occluder(read_image(record.path), record.path).covered for record in query]
    return [Known(nearest_type(one), ~one, one) for one in layers if one is not None]
