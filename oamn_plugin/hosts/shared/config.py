"""What the configurations of both hosts have in common: the YAML file, the names of keys, values of the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oamn_plugin.configurations import UnknownConfigError, UnreadableConfigError, find_config, read_keys
from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.errors import ConfigError

_KINDS: dict[str, tuple[type, tuple[type, ...], str]] = {
    "bool": (bool, (bool,), "True or False"),
    "float": (float, (int, float), "a number"),
    "int": (int, (int,), "a whole number"),
    "str": (str, (str,), "a word"),
}


def config_file_of(name: str, beside: Path | None = None) -> str:
    """The file that a path, or the name of a configuration of the package, means.

    Args:
        name: see :func:`oamn_plugin.configurations.find_config`.
        beside: a folder that the path may be relative to.

    Raises:
        ConfigError: neither a file nor a name.
    """
    if Path(name).expanduser().is_dir():
        raise ConfigError(f"cannot read the configuration {name!r}: it is a folder")
    try:
        return str(find_config(name, beside=beside))
    except UnknownConfigError as error:
        raise ConfigError(str(error)) from error


def read_yaml(path: str) -> dict[Any, Any]:
    """The keys of a YAML file; nothing in it is executed.

    Raises:
        ConfigError: missing, unreadable, no YAML or no mapping of keys.
    """
    try:
        return read_keys(path)
    except UnreadableConfigError as error:
        raise ConfigError(str(error)) from error


def all_keys(cfg: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Full names of every key of a configuration, such as ``MODEL.BACKBONE.DEPTH``."""
    names: list[str] = []
    for key, value in cfg.items():
        names += all_keys(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [prefix + key]
    return names


def nearest_key(key: str, known: Sequence[str]) -> str:
    """The words " Did you mean ...?": the key of that name in another place, or else the most similar one."""
    same_word = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    return did_you_mean(key, same_word or known, cutoff=0.0 if same_word else 0.5)


def option_value(key: str, value: Any, kind: str) -> Any:
    """A YAML value as a field of :class:`oamn_plugin.presets.Options`: its keys take whatever YAML parses.

    Raises:
        ConfigError: of another kind than the field.
    """
    convert, accepted, words = _KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and convert is not bool):
        raise ConfigError(f"{key} must be {words}, got {value!r}")
    return convert(value)
