"""Any meta-architecture of fastreid as an embedding model, and a trained one from its configuration and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from torch import Tensor, nn

from oamn_plugin.hosts.fastreid.config import load_config, oamn_options, unification
from oamn_plugin.hosts.fastreid.transforms import build_pipeline
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import host_encoder
from oamn_plugin.hosts.shared.weights import SCORER_FIT, load_weights
from oamn_plugin.search.encoder import ImageEncoder


def encoder_of(cfg: CfgNode, model: nn.Module, name: str = "") -> ImageEncoder:
    """A built model with its input and how it is unified; it is put in evaluation mode.

    OAMN is the core's own; any other meta-architecture is wrapped, and normalises by itself.

    Args:
        cfg: the configuration that built the model.
        model: the meta-architecture.
        name: shown to people, such as the weight file's path.
    """
    settings = unification(cfg)
    images: dict[str, Any] = {
        "input_size": tuple(cfg.INPUT.SIZE_TEST),
        "resample": cfg.INPUT.RESAMPLE,
        "prepare": build_pipeline(cfg, is_train=False),
        "name": name,
    }
    if hasattr(model, "oamn"):
        pixels = {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
        return ImageEncoder(model.oamn, unification=settings, **pixels, **images)
    flip = cfg.TEST.FLIP.ENABLED

    def forward(images: Tensor) -> Tensor:
        found = model({"images": images.clone()}).float()  # a copy: the host normalises in place
        return (found + model({"images": images.flip(3)}).float()) / 2 if flip else found

    pixels = {"pixel_mean": (0.0, 0.0, 0.0), "pixel_std": (1.0, 1.0, 1.0)}
    return host_encoder(model, settings, forward, cfg.TEST.METRIC == "cosine", **pixels, **images)


def load_encoder(config_file: str, weights: str, opts: Sequence[str] = ()) -> ImageEncoder:
    """The model of a configuration with a checkpoint of fastreid; see :func:`oamn_plugin.hosts.encoder.load_model`.

    Its pixels are those of the evaluator; its scorer is calibrated where the checkpoint says how. A model other than
    OAMN, of any meta-architecture, is matched unless ``TEST.UNIFICATION`` says otherwise.
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
    return encoder_of(cfg, model.eval(), weights)


def without_training(cfg: CfgNode) -> CfgNode:
    """The configuration for use alone: no ImageNet weights are fetched, the classifier is as small as can be."""
    classes = cfg.MODEL.HEADS.NUM_CLASSES or 1
    return altered(cfg, {"MODEL.BACKBONE.PRETRAIN": False, "MODEL.HEADS.NUM_CLASSES": classes})
