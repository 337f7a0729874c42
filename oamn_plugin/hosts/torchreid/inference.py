"""A trained model of torchreid from its configuration and weight file, ready to describe images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from oamn_plugin.hosts.torchreid.builders import build_model, register_from
from oamn_plugin.hosts.torchreid.checkpoint import load_weights
from oamn_plugin.hosts.torchreid.config import load_config, unification
from oamn_plugin.hosts.torchreid.testing import embedding_of
from oamn_plugin.modeling import OAMN
from oamn_plugin.search.encoder import ImageEncoder


def load_encoder(config_file: str, weights: str, opts: Sequence[str] = ()) -> ImageEncoder:
    """The model of a configuration with the weights of a checkpoint.

    A model other than OAMN is matched unless ``test.unification`` says otherwise.

    Args:
        config_file: YAML file, or the ``config.yaml`` of a run folder.
        weights: checkpoint of torchreid's form.
        opts: ``KEY VALUE`` pairs.

    Raises:
        ConfigError: an invalid configuration.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    cfg = load_config(config_file, [*opts, "model.pretrained", "False", "use_gpu", "False"])
    register_from(cfg)
    model = build_model(cfg, 1).eval()
    load_weights(model, weights)
    settings, size = unification(cfg), (cfg.data.height, cfg.data.width)
    if not cfg.test.unification and not isinstance(model, OAMN):
        settings = replace(settings, kind="matched", place=cfg.test.blank or "features", fill=cfg.test.fill or "mean")
    core, settings = embedding_of(model, settings, size, cfg.test.normalize_feature)
    return ImageEncoder(
        core,
        input_size=size,
        pixel_mean=[255 * value for value in cfg.data.norm_mean],
        pixel_std=[255 * value for value in cfg.data.norm_std],
        unification=settings,
        name=weights,
    )
