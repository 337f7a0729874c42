"""A trained model from its configuration and weight file, ready to describe images outside of any evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model

from oamn_plugin.hosts.fastreid.config import load_config, oamn_options, unification
from oamn_plugin.hosts.fastreid.embedding import embedding_of
from oamn_plugin.hosts.fastreid.transforms import build_pipeline
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.weights import SCORER_FIT, load_weights
from oamn_plugin.search.encoder import ImageEncoder


def load_encoder(config_file: str, weights: str, opts: Sequence[str] = ()) -> ImageEncoder:
    """The model of a configuration, of any meta-architecture, with the weights of a checkpoint.

    Its pixels are those of the evaluator; its scorer is calibrated where the checkpoint says how. A model other than
    OAMN is matched unless ``TEST.UNIFICATION`` says otherwise.

    Args:
        config_file: YAML file, or the ``config.yaml`` of a run folder.
        weights: checkpoint of fastreid's form.
        opts: ``KEY VALUE`` pairs.

    Raises:
        ConfigError: an invalid configuration.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    cfg = without_training(load_config(config_file, opts))
    if not weights:
        raise ConfigError("no weight file was given")
    if cfg.MODEL.META_ARCHITECTURE != "OAMN" and not cfg.TEST.UNIFICATION:
        cfg = altered(cfg, {"TEST.UNIFICATION": "matched"})
    if not torch.cuda.is_available():  # what was trained on a GPU is of use on any machine
        cfg = altered(cfg, {"MODEL.DEVICE": "cpu"})
    model = build_model(cfg)
    fit = load_weights(model, weights).get(SCORER_FIT)
    if fit and hasattr(model, "oamn") and unification(cfg).kind != "typed":  # which keeps the published thresholds
        keys = {f"MODEL.OAMN.{name.upper()}": value for name, value in fit.items()}
        cfg = altered(cfg, {key: value for key, value in keys.items() if key not in opts})
        model.oamn.options = oamn_options(cfg)
    return encoder_of(cfg, model, weights)


def encoder_of(cfg: CfgNode, model: Any, name: str = "") -> ImageEncoder:
    """A built model with the input that its configuration describes."""
    embedding = embedding_of(cfg, model.eval())
    return ImageEncoder(
        embedding.model,
        input_size=tuple(cfg.INPUT.SIZE_TEST),
        pixel_mean=embedding.mean,
        pixel_std=embedding.std,
        resample=cfg.INPUT.RESAMPLE,
        prepare=build_pipeline(cfg, is_train=False),
        unification=embedding.unification,
        name=name,
    )


def without_training(cfg: CfgNode) -> CfgNode:
    """The configuration for use alone: no ImageNet weights are fetched, the classifier is as small as can be."""
    classes = cfg.MODEL.HEADS.NUM_CLASSES or 1
    return altered(cfg, {"MODEL.BACKBONE.PRETRAIN": False, "MODEL.HEADS.NUM_CLASSES": classes})
