"""Configuration keys of earlier versions: a run's stored configuration still loads where they say nothing."""

from __future__ import annotations

from typing import Any

from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.presets import REMOVED_OPTIONS, without_removed

_GROUPS = (("MODEL.OAMN.", str.upper), ("oamn.", str.lower))  # fastreid's and torchreid's
REMOVED_KEYS: dict[str, Any] = {
    **{group + case(name): value for group, case in _GROUPS for name, value in REMOVED_OPTIONS.items()},
    "INPUT.OCCLUSION.PATCH_SHAPE": "strip",
    "data.occlusion_probability": 0.5,
    "TEST.OAMN.UNIFY": True,
    "TEST.OAMN.FAST": False,
    "TEST.OAMN.CHUNK_SIZE": 0,
    "test.unify": True,
    "test.fast": False,
}
"""Full name of a key that is gone, and the value that it has for good."""


def without_removed_keys(content: dict[str, Any], source: str) -> dict[str, Any]:
    """The keys of a YAML file, less those that are gone and said nothing.

    Raises:
        ConfigError: one had another value; the message names key and file.
    """
    try:
        return without_removed(content, REMOVED_KEYS)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
