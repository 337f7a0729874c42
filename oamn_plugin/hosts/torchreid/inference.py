"""A trained model of torchreid from its configuration and weight file, ready to describe images."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import embedded
from oamn_plugin.hosts.shared.weights import fetching, load_weights
from oamn_plugin.hosts.torchreid.builders import build_model, register_from
from oamn_plugin.hosts.torchreid.compat import install, model_factory
from oamn_plugin.hosts.torchreid.config import load_config, unification
from oamn_plugin.hosts.torchreid.models import restore_pooling
from oamn_plugin.hosts.torchreid.registration import register
from oamn_plugin.modeling import OAMN
from oamn_plugin.search.encoder import ImageEncoder


def load_encoder(config_file: str, weights: str, opts: Sequence[str] = ()) -> ImageEncoder:
    """The model of a configuration with a checkpoint of torchreid; see :func:`oamn_plugin.hosts.encoder.load_model`.

    A model other than OAMN is matched unless ``test.unification`` says otherwise.
    """
    cfg = load_config(config_file, [*opts, "model.pretrained", "False", "use_gpu", "False"])
    register_from(cfg)
    model = build_model(cfg, 1).eval()
    restore_pooling(model, load_weights(model, weights))
    settings, size = unification(cfg), (cfg.data.height, cfg.data.width)
    if not cfg.test.unification and not isinstance(model, OAMN):
        settings = replace(settings, kind="matched", place=cfg.test.blank or "features", fill=cfg.test.fill or "mean")
    core, settings = embedded(model, settings, size, normalised=cfg.test.normalize_feature)
    return ImageEncoder(
        core,
        input_size=size,
        pixel_mean=[255 * value for value in cfg.data.norm_mean],
        pixel_std=[255 * value for value in cfg.data.norm_std],
        unification=settings,
        name=weights,
    )


def load_named(
    name: str, weights: str, input_size: tuple[int, int], pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> ImageEncoder:
    """The encoder of a model by the name that torchreid, or this plugin in it, gives it.

    Args:
        name: such as ``osnet_x1_0`` or ``oamn_osnet_x1_0``.
        weights: a checkpoint; empty: the host's ImageNet weights.
        input_size: image (height, width) in pixels.
        pixel_mean, pixel_std: normalisation, in 0..1.

    Raises:
        ConfigError: an unknown name, or ImageNet weights that cannot be fetched.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    install()
    register(input_size)
    if name not in model_factory():
        raise ConfigError(f"torchreid has no model {name!r}.{did_you_mean(name, model_factory())}")
    with contextlib.nullcontext() if weights else fetching(name, "Give model_path"):
        model = model_factory()[name](num_classes=1, loss="softmax", pretrained=not weights, use_gpu=False)
    if weights:
        restore_pooling(model, load_weights(model, weights))
    return ImageEncoder(
        model,
        input_size=input_size,
        pixel_mean=[255 * value for value in pixel_mean],
        pixel_std=[255 * value for value in pixel_std],
        name=weights or name,
    )
