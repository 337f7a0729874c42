"""Any meta-architecture of fastreid as an embedding model, and a trained one from its configuration and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from torch import Tensor, nn

from oamn_plugin.hosts.fastreid.config import load_config, oamn_options, unification
from oamn_plugin.hosts.fastreid.transforms import build_pipeline
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import embedded
from oamn_plugin.hosts.shared.weights import SCORER_FIT, load_weights
from oamn_plugin.retrieval.strips import fill_colour
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search.encoder import ImageEncoder


class Embedding(NamedTuple):
    """A model with what retrieval needs to know of it.

    Attributes:
        model: the embedding model.
        unification: what the configuration asks for, as far as the model can be cut.
        mean, std: what its images are normalised by before ``encode``, in 0..255; 0 and 1 where the host normalises.
    """

    model: Any
    unification: Unification
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images in 0..255 as ``encode`` takes them."""
        mean, std = (
            images.new_tensor(values, dtype=torch.float64).float().view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        return (images.float() - mean) / std

    @property
    def colour(self) -> Tensor:
        """(3,) colour of strips on the image."""
        return fill_colour(self.unification.fill, self.mean, self.std, 255)


def embedding_of(cfg: CfgNode, model: nn.Module) -> Embedding:
    """A built model, in evaluation mode, and how it is unified.

    OAMN is the core's own; any other meta-architecture is wrapped by :func:`embedded`.
    """
    settings = unification(cfg)
    if hasattr(model, "oamn"):
        return Embedding(model.oamn, settings, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    flip = cfg.TEST.FLIP.ENABLED

    def forward(images: Tensor) -> Tensor:
        found = model({"images": images.clone()}).float()  # a copy: the host normalises in place
        return (found + model({"images": images.flip(3)}).float()) / 2 if flip else found

    core, settings = embedded(model, settings, tuple(cfg.INPUT.SIZE_TEST), forward, cfg.TEST.METRIC == "cosine")
    return Embedding(core, settings, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


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
    embedding = embedding_of(cfg, model.eval())
    return ImageEncoder(
        embedding.model,
        input_size=tuple(cfg.INPUT.SIZE_TEST),
        pixel_mean=embedding.mean,
        pixel_std=embedding.std,
        resample=cfg.INPUT.RESAMPLE,
        prepare=build_pipeline(cfg, is_train=False),
        unification=embedding.unification,
        name=weights,
    )


def without_training(cfg: CfgNode) -> CfgNode:
    """The configuration for use alone: no ImageNet weights are fetched, the classifier is as small as can be."""
    classes = cfg.MODEL.HEADS.NUM_CLASSES or 1
    return altered(cfg, {"MODEL.BACKBONE.PRETRAIN": False, "MODEL.HEADS.NUM_CLASSES": classes})
