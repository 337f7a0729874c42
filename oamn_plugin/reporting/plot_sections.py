"""Sections of a comparison report that are pictures: by true occlusion, CMC curves, training curves."""

from __future__ import annotations

from functools import partial

import numpy as np

from oamn_plugin.occlusion import SIDES

from . import plots
from .analysis import Comparison
from .occlusions import AREA_LABELS, read_occlusions, score_map
from .page import Picture, Section, slug, themed

_CURVES = {
    "total_loss": "total loss",
    "cls_accuracy": "accuracy of the classifier",
    "loss_identity": "identity loss",
    "loss_cls": "identity loss (baselines)",
    "loss_triplet": "triplet loss",
    "loss_mask1": "mask loss 1",
    "loss_mask2": "mask loss 2",
    "loss_score": "score loss",
    "loss_position": "position loss",
    "validation_rank1": "validation Rank-1",
    "validation_mAP": "validation mAP",
    "lr": "learning rate",
}


def occlusion_section(comparison: Comparison) -> list[Section]:
    """Rank-1 by the true side and area of the occlusion, on data sets that record it."""
    pictures: list[Picture] = []
    for data_set in comparison.data_sets:
        pictures += _heat_maps(comparison, data_set)
    text = [
        "Rank-1 (%) of the queries whose occluder is known: the side it comes in from, and the share of the image that "
        "it covers. The second picture is the difference to the baseline in points."
    ]
    return [Section("By true side and area", text, pictures)] if pictures else []


def _heat_maps(comparison: Comparison, data_set: str) -> list[Picture]:
    paths = comparison.query_paths(data_set)
    truth = dict(zip(paths, read_occlusions(list(paths.values())), strict=True))
    if not any(occlusion and occlusion.side in SIDES for occlusion in truth.values()):
        return []
    maps, count = {}, np.zeros(())
    for name in comparison.methods:
        scores = comparison.per_query(name, data_set, "Rank-1")
        if scores:
            values, counts = score_map(np.array(list(scores.values())), [truth.get(query) for query in scores])
            if counts.any():  # a method tested on other queries has none here
                maps[name], count = values, counts
    if not maps:
        return []
    draw = partial(plots.heat_maps, rows=SIDES, columns=AREA_LABELS, label="covered (%)")
    counted = "; ".join(f"{side} {', '.join(map(str, row))}" for side, row in zip(SIDES, count, strict=True))
    alt = f"Rank-1 by side and area of the occlusion on {data_set}"
    pictures = [
        themed(f"heat-{slug(data_set)}", alt, partial(draw, maps),
               f"{data_set}. Queries in each cell, from the smallest area: {counted}.")
    ]  # fmt: skip
    if comparison.baseline in maps and len(maps) > 1:
        gaps = {
            name: values - maps[comparison.baseline] for name, values in maps.items() if name != comparison.baseline
        }
        pictures.append(
            themed(f"heat-gap-{slug(data_set)}", f"{alt}, minus {comparison.baseline}",
                   partial(draw, gaps, signed=True), f"{data_set}, minus {comparison.baseline}.")
        )  # fmt: skip
    return pictures


def cmc_section(comparison: Comparison) -> list[Section]:
    """CMC curves of every data set."""
    pictures: list[Picture] = []
    for data_set in comparison.data_sets:
        curves = {name: comparison.cmc(name, data_set) for name in comparison.methods}
        known = {name: curve for name, curve in curves.items() if curve is not None}
        if known:
            draw = partial(plots.cmc_curves, known, comparison.baseline)
            pictures.append(themed(f"cmc-{slug(data_set)}", f"CMC curves on {data_set}", draw, data_set))
    return [Section("CMC curves", blocks=pictures)] if pictures else []


def _shows(curve: plots.Curve) -> bool:
    """Whether a curve is a line, and not all 0 like that of a loss without weight."""
    return len(curve[1]) > 1 and bool(curve[1].any())


def training_section(comparison: Comparison) -> list[Section]:
    """Training curves from metrics.json."""
    curves: dict[str, dict[str, list[plots.Curve]]] = {}
    for key, title in _CURVES.items():
        lines = {
            name: [c for c in (run.curve(key) for run in runs) if _shows(c)]
            for name, runs in comparison.methods.items()
        }
        lines = {name: seeds for name, seeds in lines.items() if seeds}
        if lines:
            curves[title] = lines
    if not curves:
        return []
    draw = partial(plots.training_curves, curves, comparison.baseline)
    picture = themed("training", "Training curves", draw, "Against iterations; one line a seed.")
    return [Section("Training curves", blocks=[picture])]
