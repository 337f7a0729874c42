"""A model of torchreid with its weights, ready to describe images outside of any evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from oamn_plugin.hosts.shared.errors import ConfigError, nearest
from oamn_plugin.hosts.shared.evaluation import PlainModel
from oamn_plugin.hosts.torchreid.checkpoint import load_weights
from oamn_plugin.hosts.torchreid.compat import install, model_factory
from oamn_plugin.modeling import OAMN
from oamn_plugin.presets import Options
from oamn_plugin.retrieval.encoder import ImageEncoder


def load_encoder(
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
    from oamn_plugin.hosts.torchreid.registration import register

    register(input_size)
    if name not in model_factory():
        raise ConfigError(f"torchreid has no model {name!r}.{nearest(name, model_factory())}")
    try:
        model = model_factory()[name](num_classes=1, loss="softmax", pretrained=not weights, use_gpu=False)
    except OSError as error:
        raise ConfigError(f"the ImageNet weights of {name} could not be fetched ({error}): give model_path") from error
    if weights:
        load_weights(model, weights)
    oamn = isinstance(model, OAMN)
    return ImageEncoder(
        model if oamn else PlainModel(model, normalised=True),
        input_size=input_size,
        pixel_mean=[255 * value for value in pixel_mean],
        pixel_std=[255 * value for value in pixel_std],
        options=None if oamn else Options(mask_module=False),
        name=weights or name,
    )
