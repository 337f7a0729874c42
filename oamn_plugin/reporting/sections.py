"""Sections of a comparison report, tables and pictures. One without data is left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from oamn_plugin.occlusion import SIDES

from . import plots
from .analysis import METRICS, TESTED, Comparison, Gap
from .occlusions import AREA_LABELS, read_occlusions, score_map
from .page import Picture, Section, slug
from .runs import Run
from .tables import Cell, Figure, Table, mean_and_spread

ONE_SEED = "one seed says nothing about trainings"
"""Said of a difference between two single trainings. Two tests of the same weights are judged from one seed on."""
_TRUTH_SCORES = {
    "mask_auc": "Mask AUC",
    "mask_iou": "Mask IoU",
    "type_accuracy": "Type accuracy",
    "side_accuracy": "Side accuracy",
    "scorer_side_accuracy": "Scorer's side accuracy",
}
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
_COSTS = (
    ("Parameters (M)", "parameters", 1e-6, 1),
    ("GFLOPs", "gflops", 1, 2),
    ("Training images / s", "images_per_second", 1, 1),
    ("Seconds / 1,000 gallery images", "seconds_per_1000_gallery", 1, 2),
)


def score_table(comparison: Comparison, data_set: str, methods: Sequence[str] = ()) -> Table:
    """Mean and spread over seeds of every metric, best in bold; methods not tested on the set are left out."""
    rows: list[list[Cell]] = []
    for name in methods or comparison.methods:
        figures = [comparison.score(name, data_set, metric) for metric in METRICS]
        if any(figures):
            seeds = sum(data_set in run.results for run in comparison.methods[name])
            rows.append([name, *figures, str(seeds)])
    header = ("Method", *(metric.replace("mAP_trapezoid", "mAP (trapezoid)") for metric in METRICS), "Seeds")
    return Table(header, rows, best=(0, *(1 for _ in METRICS), 0))


def scores_section(comparison: Comparison, data_set: str) -> Section:
    """The scores on a data set: a table, and Rank-1 as bars with intervals."""
    blocks: list[Table | Picture] = [score_table(comparison, data_set)]
    bars = {name: comparison.interval(name, data_set, "Rank-1") for name in comparison.methods}
    known = {name: bar for name, bar in bars.items() if bar is not None}
    if known:
        drawn = plots.score_bars(known, "Rank-1 (%), seeds averaged", comparison.baseline)
        caption = "Lines: 95 % interval when the queries are drawn again (bootstrap)."
        blocks.append(Picture(f"rank1-{slug(data_set)}", f"Rank-1 of every method on {data_set}", drawn, caption))
    return Section(f"Scores on {data_set}", [_counts(comparison, data_set)], blocks)


def _counts(comparison: Comparison, data_set: str) -> str:
    runs = [run.results[data_set] for runs in comparison.methods.values() for run in runs if data_set in run.results]
    queries, gallery = runs[0].get("num_query"), runs[0].get("num_gallery")
    sizes = f"{queries:,} queries, {gallery:,} gallery images. " if queries and gallery else ""
    return (
        f"{sizes}Percent; mean ± standard deviation over seeds where there are several. mAP is the sum of "
        "precisions at the hits, mAP (trapezoid) the area under the curve as in the original Market-1501 code."
    )


def significance_section(comparison: Comparison) -> list[Section]:
    """Every method against the baseline, query by query."""
    tables = [table for data_set in comparison.data_sets if (table := _gap_table(comparison, data_set))]
    text = [
        f"Difference to {comparison.baseline} in points with its 95 % interval over queries, averaged over the seeds "
        "that both have, over all where they share none; p-value of a paired test over queries, adjusted for the "
        "number of methods (Holm). These speak of the queries; how much a new training differs is in the spread over "
        "seeds above."
    ]
    pairs = [gap for data_set in comparison.data_sets for gap in comparison.gaps(data_set, "Rank-1").values()]
    if any(gap.one_training for gap in pairs):
        text.append(f"A difference between two single trainings (Seeds: 1) is no finding: {ONE_SEED}.")
    return [Section(f"Against {comparison.baseline}", text, tables)] if tables else []


def _gap_table(comparison: Comparison, data_set: str) -> Table | None:
    gaps = {metric: comparison.gaps(data_set, metric) for metric in TESTED}
    rows: list[list[Cell]] = [
        [name, *(cell for metric in TESTED for cell in _gap_cells(gaps[metric].get(name))), _seeds_text(gap)]
        for name, gap in gaps["Rank-1"].items()
    ]
    return Table(("Method", "Rank-1", "p", "mAP", "p ", "Seeds"), rows, data_set) if rows else None


def _gap_cells(gap: Gap | None) -> list[Cell]:
    return [None, None] if gap is None else [gap.points, p_text(gap.judged_by)]


def _seeds_text(gap: Gap) -> str:
    return f"{gap.seeds}, same weights" if gap.same_weights else str(gap.seeds)


def p_text(p_value: float) -> str:
    """A p-value as it is printed.

    >>> p_text(0.00001), p_text(0.0312)
    ('< 0.001', '0.031')
    """
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def truth_section(comparison: Comparison) -> list[Section]:
    """Mask and scorer against the known truth, where evaluations recorded it."""
    tables: list[Table] = []
    for data_set in comparison.data_sets:
        table = _optional_table(
            comparison,
            {
                title: [comparison.score(name, data_set, key) for name in comparison.methods]
                for key, title in _TRUTH_SCORES.items()
            },
            data_set,
        )
        tables += [table] if table else []
    text = [
        "How well the mask finds the person, and how often the occlusion that a query was compared under is the true "
        "one: as the nearest matches say under matched unification, the scorer under typed; plain matching says none. "
        "Measured on the data set's own truth. The scorer's side is its largest output, of occluded queries."
    ]
    return [Section("Mask and scorer against the truth", text, tables)] if tables else []


def cost_section(comparison: Comparison) -> list[Section]:
    """Parameters, computation, training throughput, encoding time."""
    columns = {
        title: [_cost(runs, key, factor, digits) for runs in comparison.methods.values()]
        for title, key, factor, digits in _COSTS
    }
    table = _optional_table(comparison, columns)
    return [Section("Cost", blocks=[table])] if table else []


def _cost(runs: Sequence[Run], key: str, factor: float, digits: int) -> Figure | None:
    values = [value * factor for value in (_measured(run, key) for run in runs) if value is not None]
    if len(set(values)) == 1:  # a constant of the model, not something measured with a spread
        return Figure(values[0], digits=digits)
    return mean_and_spread(values, digits)


def _measured(run: Run, key: str) -> float | None:
    """From cost.json, else from the evaluations, else the median of what training logged."""
    stated = (place.get(key) for place in (run.cost, *run.results.values()))
    logged = run.curve(key)[1]
    known = [float(value) for value in stated if isinstance(value, (int, float))]
    return known[0] if known else float(np.median(logged)) if len(logged) else None


def _optional_table(comparison: Comparison, columns: dict[str, list[Figure | None]], caption: str = "") -> Table | None:
    """A row a method; columns and rows without any figure are left out."""
    known = {title: cells for title, cells in columns.items() if any(cells)}
    rows: list[list[Cell]] = [
        [name, *(cells[index] for cells in known.values())]
        for index, name in enumerate(comparison.methods)
        if any(cells[index] for cells in known.values())
    ]
    return Table(("Method", *known), rows, caption) if known else None


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
    caption = f"{data_set}. Queries in each cell, from the smallest area: {counted}."
    pictures = [Picture(f"heat-{slug(data_set)}", alt, draw(maps), caption)]
    if comparison.baseline in maps and len(maps) > 1:
        gaps = {
            name: values - maps[comparison.baseline] for name, values in maps.items() if name != comparison.baseline
        }
        minus = f", minus {comparison.baseline}"
        drawn = draw(gaps, signed=True)
        pictures.append(Picture(f"heat-gap-{slug(data_set)}", f"{alt}{minus}", drawn, f"{data_set}{minus}."))
    return pictures


def cmc_section(comparison: Comparison) -> list[Section]:
    """CMC curves of every data set."""
    pictures: list[Picture] = []
    for data_set in comparison.data_sets:
        curves = {name: comparison.cmc(name, data_set) for name in comparison.methods}
        known = {name: curve for name, curve in curves.items() if curve is not None}
        if known:
            drawn = plots.cmc_curves(known, comparison.baseline)
            pictures.append(Picture(f"cmc-{slug(data_set)}", f"CMC curves on {data_set}", drawn, data_set))
    return [Section("CMC curves", blocks=pictures)] if pictures else []


def training_section(comparison: Comparison) -> list[Section]:
    """Training curves from metrics.json."""
    curves: dict[str, dict[str, list[plots.Curve]]] = {}
    for key, title in _CURVES.items():
        lines = {
            # a line, and not all 0 like that of a loss without weight
            name: [one for run in runs if len((one := run.curve(key))[1]) > 1 and one[1].any()]
            for name, runs in comparison.methods.items()
        }
        lines = {name: seeds for name, seeds in lines.items() if seeds}
        if lines:
            curves[title] = lines
    if not curves:
        return []
    drawn = plots.training_curves(curves, comparison.baseline)
    picture = Picture("training", "Training curves", drawn, "Against iterations; one line a seed.")
    return [Section("Training curves", blocks=[picture])]
