"""Settings that the host's builders cannot take as arguments: its functions take a name only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class BuildSettings:
    """Arguments for everything that the host builds by name after :func:`oamn_plugin.hosts.torchreid.register`.

    Attributes:
        input_size: image height and width in pixels, which the mask module is bound to.
        preset: reading of the method.
        options: fields of :class:`oamn_plugin.presets.Options` that differ from the preset.
        embedded_size, embedded_seed: the generated data set.
        custom: arguments of :func:`oamn_plugin.datasets.custom.read_custom` for ``CustomReID``.
    """

    input_size: tuple[int, int] = (256, 128)
    preset: str = "paper"
    options: dict[str, Any] = field(default_factory=dict)
    embedded_size: str = "demo"
    embedded_seed: int = 0
    custom: dict[str, str] = field(default_factory=lambda: {"train": "train"})


SETTINGS = BuildSettings()
"""The settings in force; :func:`oamn_plugin.hosts.torchreid.register` changes them."""
