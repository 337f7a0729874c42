"""What the configurations of both hosts have in common: the YAML file, the names of keys, values of the method."""

from __future__ import annotations

import math
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any

from oamn_plugin.configurations import UnknownConfigError, UnreadableConfigError, find_config, flat, read_keys
from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.presets import REMOVED_OPTIONS, Options, preset, without_removed
from oamn_plugin.retrieval.unification import Unification

REMOVED_KEYS: dict[str, Any] = {
    **{f"MODEL.OAMN.{name.upper()}": value for name, value in REMOVED_OPTIONS.items()},
    **{f"oamn.{name}": value for name, value in REMOVED_OPTIONS.items()},
    "INPUT.OCCLUSION.PATCH_SHAPE": "strip",
    "data.occlusion_probability": 0.5,
    "TEST.OAMN.UNIFY": True,
    "TEST.OAMN.FAST": False,
    "TEST.OAMN.CHUNK_SIZE": 0,
    "test.unify": True,
    "test.fast": False,
}
"""Full name of a key of earlier versions that is gone, and the value that it has for good."""
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
    """The keys of a YAML file, without keys of earlier versions that have no effect; nothing in it is executed.

    Raises:
        ConfigError: missing, unreadable, no YAML, no mapping of keys, or a key that is gone with another value than
            the one it has for good.
    """
    try:
        content = read_keys(path)
    except UnreadableConfigError as error:
        raise ConfigError(str(error)) from error
    try:
        return without_removed(content, REMOVED_KEYS)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def merge_file(cfg: Any, content: Mapping[Any, Any], path: str) -> None:
    """Sets the keys of a file that was read in a configuration of yacs.

    Raises:
        ConfigError: a group of keys that is given a value; see :func:`merge_pairs`.
    """
    merge_pairs(cfg, _stated(content, cfg, path).items(), f"in {path}")


def merge_opts(cfg: Any, opts: Sequence[Any]) -> None:
    """Sets ``KEY VALUE`` pairs of the command line in a configuration of yacs.

    Raises:
        ConfigError: a key without a value; see :func:`merge_pairs`.
    """
    if len(opts) % 2:
        raise ConfigError(f"options on the command line come as KEY VALUE pairs, got {' '.join(opts)}")
    merge_pairs(cfg, zip(opts[::2], opts[1::2], strict=True), "on the command line")


def merge_pairs(cfg: Any, pairs: Iterable[tuple[str, Any]], where: str) -> None:
    """Sets keys by their full names; a word stands for a list of it, a whole number for one with a fraction.

    Raises:
        ConfigError: a key that is unknown (the nearest is named), given a value of another type, or no finite number.
    """
    known = flat(cfg)
    for key, value in pairs:
        if key not in known:
            raise ConfigError(f"unknown key {key!r} {where}.{nearest_key(key, list(known))}")
        value = _readable(value, known[key], f"{key} {where}")
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, AssertionError, SyntaxError) as error:
            raise ConfigError(f"{key} {where}: {error}") from error


def _readable(value: Any, default: Any, place: str) -> Any:
    """A value as yacs takes it for a key with this default; yacs lets None through for all, and no fraction missing."""
    if default is not None and (value is None or value == "None"):
        raise ConfigError(f"{place} must have a value, got None")
    if isinstance(default, list | tuple):
        value = _listed(value)
        if isinstance(value, list | tuple) and any(isinstance(one, float) and not math.isfinite(one) for one in value):
            raise ConfigError(f"{place} must hold finite numbers, got {value!r}")
        return value
    if not isinstance(default, float) or isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        number = float(value)  # YAML reads 1e-3 as a word
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{place} must be a number, got {value!r}")
    return number


def _listed(value: Any) -> Any:
    """The value that a text spells in Python; a name, such as market1501 or 3dpes, as a list of it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return [value] if text[:1].isalnum() or text.startswith("_") else value


def _stated(content: Mapping[Any, Any], cfg: Mapping[str, Any], path: str, prefix: str = "") -> dict[str, Any]:
    """Full names and values in a file; a mapping is a group only where the configuration has one of its name."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        name, group = f"{prefix}{key}", cfg.get(key)
        if not isinstance(group, Mapping):
            found[name] = value
        elif isinstance(value, dict):
            found |= _stated(value, group, path, f"{name}.")
        else:
            raise ConfigError(f"{name} in {path} must hold keys of its own, got {value!r}")
    return found


def altered(cfg: Any, changes: Mapping[str, Any]) -> Any:
    """A frozen copy of a configuration of yacs with other values, by full names."""
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in changes.items():
        *groups, name = key.split(".")
        reduce(getattr, groups, cfg)[name] = value
    cfg.freeze()
    return cfg


def nearest_key(key: str, known: Sequence[str]) -> str:
    """The words " Did you mean ...?": the key of that name in another place, or else the most similar one."""
    same_word = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    return did_you_mean(key, same_word or known, cutoff=0.0 if same_word else 0.5)


def given_options(section: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The fields of the method's options that a section of a configuration states.

    Args:
        section: field to value, None where the preset's is meant; names in upper case where the prefix is.
        prefix: of the full names, ``MODEL.OAMN.`` or ``oamn.``.

    Raises:
        ConfigError: a value of the wrong kind.
    """
    case = case_of(prefix)
    return {
        field.name: option_value(prefix + case(field.name), value, str(field.type))
        for field in fields(Options)
        if (value := section[case(field.name)]) is not None
    }


def method_options(section: Mapping[str, Any], prefix: str) -> Options:
    """The method's options as a section states them: its preset with the given fields replaced; arguments as above.

    Raises:
        ConfigError: unknown preset or a value out of range.
    """
    given = given_options(section, prefix)
    try:
        return preset(section[case_of(prefix)("preset")], **given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{prefix[:-1]}: {error}") from error


def stated_unification(section: Mapping[str, Any], prefix: str, options: Options, oamn: bool) -> Unification:
    """How a section unifies queries and gallery.

    Args:
        section: ``unification``, ``blank``, ``fill`` and the group ``matched``, in upper case where the prefix is.
        prefix: of the full names, ``TEST.`` or ``test.``.
        options: the method's.
        oamn: whether the model is an OAMN, which brings a unification of its own.

    Raises:
        ConfigError: an unknown word, a number out of range, or typed unification of a model without a scorer.
    """
    case = case_of(prefix)
    given, place, fill = (section[case(name)] for name in ("unification", "blank", "fill"))
    kind = given or (options.unification if oamn else "none")
    if kind == "typed" and not (oamn and options.mask_module):
        if given:
            key = prefix + case("unification")
            raise ConfigError(f"{key} typed reads OAMN's scorer: this model has none; choose matched or none")
        kind = "none"
    if not oamn:  # whatever the kind is: plain matching keeps them for who unifies later
        place, fill = place or "features", fill or "mean"
    matched = {name.lower(): value for name, value in section[case("matched")].items()}
    try:
        return Unification.of(options, kind, place, fill, **matched)
    except ValueError as error:
        raise ConfigError(f"{prefix[:-1]}: {error}") from error


def case_of(prefix: str) -> Callable[[str], str]:
    """The function that gives keys the case of a prefix of their full names: upper or lower, as the host has it."""
    return str.upper if prefix.isupper() else str.lower


def option_value(key: str, value: Any, kind: str) -> Any:
    """A YAML value as a field of :class:`oamn_plugin.presets.Options`: its keys take whatever YAML parses.

    Raises:
        ConfigError: of another kind than the field.
    """
    convert, accepted, words = _KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and convert is not bool):
        raise ConfigError(f"{key} must be {words}, got {value!r}")
    return convert(value)
