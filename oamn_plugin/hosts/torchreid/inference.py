"""A trained model of torchreid from its configuration and weight file, ready to describe images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import host_encoder
from oamn_plugin.hosts.shared.weights import load_weights
from oamn_plugin.hosts.torchreid.builders import build_model, register_from
from oamn_plugin.hosts.torchreid.compat import model_factory
from oamn_plugin.hosts.torchreid.config import load_config, unification
from oamn_plugin.hosts.torchreid.models import restore_pooling
from oamn_plugin.modeling import OAMN
from oamn_plugin.search.encoder import ImageEncoder


def load_encoder(config_file: str, weights: str, opts: Sequence[str] = ()) -> ImageEncoder:
    """The model of a configuration with a checkpoint of torchreid; see :func:`oamn_plugin.hosts.encoder.load_model`.

    A model other than OAMN is matched unless ``test.unification`` says otherwise.

    Args:
        config_file: path or name; empty: the defaults.
        weights: a checkpoint; empty: the host's ImageNet weights.
        opts: ``KEY VALUE`` pairs on top of the configuration.

    Raises:
        ConfigError: a wrong configuration, an unknown model, or ImageNet weights that cannot be fetched.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    # whatever it was trained from, or tests: these weights alone
    own = {"use_gpu": "False", "test.evaluate": "False", "model.init": "", "model.load_weights": "", "model.resume": ""}
    words = [word for pair in {**own, "model.pretrained": str(not weights)}.items() for word in pair]
    cfg = load_config(config_file, [*opts, *words])
    register_from(cfg)
    if cfg.model.name not in model_factory():
        raise ConfigError(f"torchreid has no model {cfg.model.name!r}.{did_you_mean(cfg.model.name, model_factory())}")
    model = build_model(cfg, 1).eval()
    if weights:
        restore_pooling(model, load_weights(model, weights))
    settings = unification(cfg)
    if not cfg.test.unification and not isinstance(model, OAMN):
        settings = replace(settings, kind="matched", place=cfg.test.blank or "features", fill=cfg.test.fill or "mean")
    return host_encoder(
        model,
        settings,
        normalised=cfg.test.normalize_feature,
        input_size=(cfg.data.height, cfg.data.width),
        pixel_mean=[255 * value for value in cfg.data.norm_mean],
        pixel_std=[255 * value for value in cfg.data.norm_std],
        name=weights or cfg.model.name,
    )
