"""A run scored on its held-out people, with queries occluded in seven ways; made for choosing options."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from tabulate import tabulate
from torch import nn

from oamn_plugin.datasets.embedded.occluders import KINDS
from oamn_plugin.datasets.embedded.truth import nearest_type
from oamn_plugin.datasets.images import read_image
from oamn_plugin.datasets.occlude import ObjectOccluder
from oamn_plugin.datasets.records import Split
from oamn_plugin.datasets.validation import QueryCutter, QueryOccluder, StripOccluder
from oamn_plugin.hosts.fastreid.config import load_config, unification
from oamn_plugin.hosts.fastreid.inference import encoder_of, without_training
from oamn_plugin.hosts.fastreid.loaders import build_test_loader
from oamn_plugin.hosts.fastreid.preflight import check_settings
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, save_checkpoint
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.galleries import sharing_galleries
from oamn_plugin.hosts.shared.truth import OccludeQuery
from oamn_plugin.hosts.shared.weights import SCORER_FIT, load_weights
from oamn_plugin.occlusion import NONE
from oamn_plugin.retrieval.scorer_fit import ScorerFit, fit_scorer, types_right

logger = logging.getLogger("fastreid.oamn")
CONDITIONS = ("crops", "objects", *(f"{kind} strips" for kind in StripOccluder.kinds), "partial", "whole")
"""Queries behind crops of other people's images, drawn objects or strips, cut at one side, and as they are."""
_COLUMNS = {"mask AUC": "mask_auc", "scorer's side": "scorer_side_accuracy", "match's side": "side_accuracy"}


_Run = tuple[CfgNode, nn.Module, Path, Split, Mapping[str, OccludeQuery | None]]
"""A run's configuration, model and weights, its held-out people, and what hides them in each condition."""


def held_out_scores(run: Path, conditions: Sequence[str] | None, opts: Sequence[str], output: Path) -> dict[str, Any]:
    """Scores of a run's weights, the best ones as it takes them itself, on its own held-out identities.

    Args:
        run: folder of a training with ``DATASETS.VALIDATION.NUM_IDS`` above 0.
        conditions: some of :data:`CONDITIONS`; None: all.
        opts: ``KEY VALUE`` pairs on top of the run's configuration, of what concerns testing.
        output: where the scores of every query go.

    Returns:
        the scores of each condition, as in ``results.json``; where queries are unified, ``NAME, plain`` has those of
        plain matching.

    Raises:
        ConfigError: an unknown condition, a folder that holds no run, a run that held out nobody, or an option that
            would change whom it held out.
        CheckpointError: weights that are missing or damaged.
    """
    conditions = conditions or CONDITIONS
    if unknown := [name for name in conditions if name not in CONDITIONS]:
        raise ConfigError(f"there is no condition {unknown[0]!r}: choose of {', '.join(CONDITIONS)}")
    cfg, model, _, people, occluders = _open(run, opts)
    cfg = altered(cfg, {"OUTPUT_DIR": str(output)})
    evaluator = EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)
    ways = {"": cfg}
    if unification(cfg).kind != "none":
        ways[", plain"] = altered(cfg, {"TEST.UNIFICATION": "none"})
    scores = {}
    for suffix, one in ways.items():
        with sharing_galleries():  # conditions differ in their queries alone
            for name in conditions:
                images = (people.query, people.gallery, occluders[name])
                scores[name + suffix] = evaluator(one, name + suffix, *images, judged=not suffix).run(model)
    return {name + suffix: scores[name + suffix] for name in conditions for suffix in ways}


def calibrate_scorer(run: Path, opts: Sequence[str]) -> str:
    """Fits a run's scorer to its held-out people, whole and hidden in all ways but cut, and stores it with the weights.

    Returns:
        what was found and where it is, in a sentence.

    Raises:
        ConfigError: as :func:`held_out_scores`, or a model without a scorer.
    """
    cfg, model, weights, people, occluders = _open(run, opts)
    encoder = encoder_of(cfg, model.eval())
    if not encoder.has_scorer:
        raise ConfigError(f"{run} has no scorer to calibrate: that is an OAMN's, trained with its mask module")
    logits, truth = [], []
    for name, occluder in occluders.items():
        if name == "partial":  # nothing covers a cut image, and a part is missing all the same
            continue
        for places, images, _ in build_test_loader(cfg, people.query, occluder):
            paths = [people.query[place].path for place in places]
            logits.append(encoder.queries([images]).logits)
            truth += [NONE if occluder is None else _hidden(occluder, path) for path in paths]
    every = torch.cat(logits)
    fit = fit_scorer(every, truth)
    save_checkpoint(weights, load_checkpoint(weights) | {SCORER_FIT: fit._asdict()})
    before, after = (100 * types_right(every, truth, one) for one in (ScorerFit(), fit))
    return (
        f"scorer: temperature {fit.score_temperature:.3f}, a quarter above {fit.quarter_threshold:.3f}, a half above "
        f"{fit.half_threshold:.3f}; it names {after:.0f} % of the types, {before:.0f} % before; stored in {weights}"
    )


def judged_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """What is known of mask and sides in each condition, in percent; empty without either."""
    columns = {title: key for title, key in _COLUMNS.items() if any(key in one for one in scores.values())}
    rows = [[name, *map(one.get, columns.values())] for name, one in scores.items() if name in CONDITIONS]
    return tabulate(rows, ["condition", *columns], floatfmt=".1f", missingval="-") if columns else ""


def _open(run: Path, opts: Sequence[str]) -> _Run:
    if moved := [key for key in opts[::2] if key.startswith("DATASETS.") and key != "DATASETS.ROOT"]:
        raise ConfigError(f"{moved[0]} would change whom the run held out: only DATASETS.ROOT can be given")
    cfg = load_config(str(run / "config.yaml"), opts)
    if not cfg.DATASETS.VALIDATION.NUM_IDS:
        raise ConfigError(f"{run} held out nobody: train with DATASETS.VALIDATION.NUM_IDS, 160 for example")
    if findings := check_settings(cfg, train=False):
        raise ConfigError("; ".join(findings))
    people = Trainer.build_held_out(cfg)
    cfg = without_training(cfg)
    model = Trainer.build_model(cfg)
    best = run / "model_best.pth"
    weights = best if best.is_file() else run / "model_final.pth"
    load_weights(model, weights)
    return cfg, model, weights, people, _occluders(cfg, [record.path for record in people.train])


def _occluders(cfg: CfgNode, sources: Sequence[str]) -> Mapping[str, OccludeQuery | None]:
    seed = cfg.DATASETS.VALIDATION.SEED
    strips = [StripOccluder(kind, sources, seed) for kind in StripOccluder.kinds]
    objects = ObjectOccluder(seed, _unseen_kinds(cfg.INPUT.OCCLUSION.OBJECTS))
    return dict(zip(CONDITIONS, (QueryOccluder(sources, seed), objects, *strips, QueryCutter(seed), None), strict=True))


def _unseen_kinds(cutouts: str) -> tuple[str, ...]:
    """The kinds of drawn objects of which a run has no cut-outs (``KIND_SIDE_NUMBER.png``)."""
    shown = {path.name.split("_")[0] for path in Path(cutouts).expanduser().glob("*")} if cutouts else set()
    unseen = tuple(kind for kind in KINDS if kind not in shown)
    if not unseen:
        logger.warning("every kind of drawn object was trained on (%s): objects hide nothing unseen", cutouts)
    return unseen or KINDS


def _hidden(occluder: OccludeQuery, path: str) -> str:
    covered = occluder(read_image(path), path).covered
    assert covered is not None
    return nearest_type(covered)
