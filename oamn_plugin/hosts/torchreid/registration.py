"""Registers models and data sets in the host, by name."""

from __future__ import annotations

from functools import partial
from typing import Any

from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.torchreid.compat import image_datasets, model_factory
from oamn_plugin.hosts.torchreid.data import DATASETS, RecordDataset
from oamn_plugin.hosts.torchreid.models import PREFIX, REGISTERED, build_oamn, carriers
from oamn_plugin.presets import preset as make_options


def register(
    input_size: tuple[int, int] = (256, 128),
    preset: str = "paper",
    *,
    embedded_size: str = "demo",
    embedded_seed: int = 0,
    custom: dict[str, str] | None = None,
    **options: Any,
) -> list[str]:
    """Adds OAMN to torchreid: models ``oamn_<backbone>`` and the occluded data sets.

    May be called again: later builds take the new arguments, what is built already stays as it is.

    Args:
        input_size: image (height, width) in pixels of the models built by name; the data manager's height and width.
        preset: reading of the method: ``paper``, ``official`` or ``plus``.
        embedded_size: size of the generated data set ``OccludedPedestrians``: ``tiny``, ``demo`` or ``benchmark``.
        embedded_seed: its seed.
        custom: arguments of :func:`oamn_plugin.datasets.custom.read_custom` for ``CustomReID``.
        **options: fields of :class:`oamn_plugin.presets.Options` that differ from the preset.

    Returns:
        The names of the models that can be built.

    Raises:
        ConfigError: unknown preset or option (the nearest is named), or a value out of range.
    """
    try:
        make_options(preset, **options)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error
    REGISTERED.update(input_size=(int(input_size[0]), int(input_size[1])), preset=preset, options=options)
    RecordDataset.size, RecordDataset.seed = embedded_size, embedded_seed
    RecordDataset.custom = {"train": "train"} if custom is None else dict(custom)
    for name in carriers():
        model_factory()[PREFIX + name] = partial(build_oamn, name)
    image_datasets().update({**DATASETS, **image_datasets()})  # those that are there already stay
    return [PREFIX + name for name in carriers()]
