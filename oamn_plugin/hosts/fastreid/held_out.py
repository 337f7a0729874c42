"""A run scored on its held-out people, with queries occluded in seven ways; made for choosing options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oamn_plugin.datasets.occlude import ObjectOccluder
from oamn_plugin.datasets.validation import QueryCutter, QueryOccluder, StripOccluder
from oamn_plugin.hosts.fastreid.config import altered, load_config
from oamn_plugin.hosts.fastreid.inference import without_training
from oamn_plugin.hosts.fastreid.preflight import check_settings
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.truth import OccludeQuery
from oamn_plugin.hosts.shared.weights import load_weights

CONDITIONS = ("crops", "objects", *(f"{kind} strips" for kind in StripOccluder.kinds), "partial", "whole")
"""Queries behind crops of other people's images, drawn objects or strips, cut at one side, and as they are."""


def held_out_scores(run: Path, conditions: Sequence[str] | None, opts: Sequence[str], output: Path) -> dict[str, Any]:
    """Scores of a run's weights, the best ones as it takes them itself, on its own held-out identities.

    Args:
        run: folder of a training with ``DATASETS.VALIDATION.NUM_IDS`` above 0.
        conditions: some of :data:`CONDITIONS`; None: all.
        opts: ``KEY VALUE`` pairs on top of the run's configuration, of what concerns testing.
        output: where the scores of every query go.

    Returns:
        the scores of each condition, as in ``results.json``.

    Raises:
        ConfigError: an unknown condition, a folder that holds no run, a run that held out nobody, or an option that
            would change whom it held out.
        CheckpointError: weights that are missing or damaged.
    """
    conditions = conditions or CONDITIONS
    if unknown := [name for name in conditions if name not in CONDITIONS]:
        raise ConfigError(f"there is no condition {unknown[0]!r}: choose of {', '.join(CONDITIONS)}")
    if moved := [key for key in opts[::2] if key.startswith("DATASETS.") and key != "DATASETS.ROOT"]:
        raise ConfigError(f"{moved[0]} would change whom the run held out: only DATASETS.ROOT can be given")
    cfg = load_config(str(run / "config.yaml"), opts)
    if not cfg.DATASETS.VALIDATION.NUM_IDS:
        raise ConfigError(f"{run} held out nobody: train with DATASETS.VALIDATION.NUM_IDS, 160 for example")
    if findings := check_settings(cfg, train=False):
        raise ConfigError("; ".join(findings))
    held_out = Trainer.build_held_out(cfg)
    cfg = altered(without_training(cfg), {"OUTPUT_DIR": str(output)})
    model = Trainer.build_model(cfg)
    best = run / "model_best.pth"
    load_weights(model, best if best.is_file() else run / "model_final.pth")
    occluders = _occluders(cfg.DATASETS.VALIDATION.SEED, [record.path for record in held_out.train])
    evaluator = EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)
    return {
        name: evaluator(cfg, name, held_out.query, held_out.gallery, occluder=occluders[name]).run(model)
        for name in conditions
    }


def _occluders(seed: int, sources: Sequence[str]) -> Mapping[str, OccludeQuery | None]:
    strips = [StripOccluder(kind, sources, seed) for kind in StripOccluder.kinds]
    found = (QueryOccluder(sources, seed), ObjectOccluder(seed), *strips, QueryCutter(seed), None)
    return dict(zip(CONDITIONS, found, strict=True))
