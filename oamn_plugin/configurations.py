"""The configurations and suites that come with the package, found by name from any folder.

They lie in ``configs/`` of the repository, and in ``oamn_plugin/configs`` of an installed wheel. The name of one is its
path there without ``.yml``, upper or lower case: ``Market1501/oamn_R50``, ``suites/demo``.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from oamn_plugin.errors import ExpectedError, did_you_mean

_INSTALLED, _CLONE = Path(__file__).with_name("configs"), Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _CLONE
SUITES = "suites"
MAX_VALUES = 100_000
"""Values in one file, those of references counted each time: a few lines can refer to more than memory holds."""


class UnknownConfigError(ExpectedError, ValueError):
    """No file and no name of a configuration; the message names the nearest one, as ``hint`` does alone."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"there is no configuration file {name!r}, and none of that name in the package. {hint}")
        self.hint = hint


class UnreadableConfigError(ExpectedError, ValueError):
    """A file that cannot be read as keys and values."""


def read_keys(path: str | Path) -> dict[Any, Any]:
    """The keys of a YAML file; nothing in it is executed.

    Raises:
        UnreadableConfigError: missing, unreadable, no YAML, no mapping of keys, or endless by its references.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
        _count(content, {})
    except FileNotFoundError as error:
        raise UnreadableConfigError(f"there is no configuration file {str(path)!r}") from error
    except OSError as error:
        raise UnreadableConfigError(f"cannot read the configuration {str(path)!r}: {error.strerror}") from error
    except RecursionError as error:
        raise UnreadableConfigError(f"{path} is not readable as YAML: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # impossible dates and numbers are ValueErrors
        raise UnreadableConfigError(f"{path} is not readable as YAML: {' '.join(str(error).split())[:500]}") from error
    if not isinstance(content, dict):
        raise UnreadableConfigError(f"{path} holds no keys")
    return content


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of nested keys by its full name, such as ``MODEL.BACKBONE.DEPTH``.

    >>> flat({"SEED": 0, "INPUT": {"SIZE": (2, 1)}})
    {'SEED': 0, 'INPUT.SIZE': (2, 1)}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _count(value: Any, known: dict[int, int]) -> int:
    """Values in nested lists and mappings as they would be printed: what is referred to counts each time.

    Raises:
        ValueError: too many, or something holds itself.
    """
    if not isinstance(value, list | dict | set | tuple):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES  # while it is counted: met again, it holds itself
        inner = [*value, *value.values()] if isinstance(value, dict) else list(value)
        known[id(value)] = 1 + sum(_count(one, known) for one in inner)
    if known[id(value)] >= MAX_VALUES:
        raise ValueError(f"its references make more than {MAX_VALUES:,} values of it")
    return known[id(value)]


def config_files(folder: str = "") -> dict[str, Path]:
    """Names and files of the package's configurations, or of those below a folder such as ``suites``."""
    files = sorted((CONFIGS / folder).rglob("*.yml"))
    return {path.relative_to(CONFIGS / folder).with_suffix("").as_posix(): path for path in files}


def find_config(name: str, folder: str = "", beside: Path | None = None) -> Path:
    """The file that a path or a name means.

    Args:
        name: a path, which wins if there is a file; else a name, ``configs/`` in front and ``.yml`` behind allowed.
        folder: where in the package names are looked up, such as ``suites``.
        beside: a folder that the path may be relative to, before the working folder.

    Raises:
        UnknownConfigError: neither a file nor a name.
    """
    for path in (*([beside / Path(name).expanduser()] if beside else []), Path(name).expanduser()):
        if path.is_file():
            return path
    files = config_files(folder)
    known = {one.lower(): path for one, path in files.items()}
    word = name.replace("\\", "/").removeprefix("configs/").removesuffix(".yml").lower()
    word = word.removeprefix(f"{folder}/") if folder else word
    if word not in known:
        listed = f"In the package: {', '.join(known)}" if folder else "`oamn train --list` lists the names"
        raise UnknownConfigError(name, did_you_mean(word, files, 0.5).strip() or listed)
    return known[word]


def is_config(name: str) -> bool:
    """Whether a word is a configuration's path or name."""
    try:
        return find_config(name).is_file()
    except UnknownConfigError:
        return False


def trainable_configs() -> dict[str, Path]:
    """The configurations that can be trained, by name."""
    files = {name: path for name, path in config_files().items() if not name.startswith(f"{SUITES}/")}
    return {name: path for name, path in files.items() if not path.name.startswith("Base-")}


def describe_configs() -> str:
    """Every configuration that can be trained, with the first sentence of its comment, as wide as the terminal."""
    shown = trainable_configs()
    indent = max(map(len, shown), default=0) + 2
    columns = shutil.get_terminal_size((10_000, 0)).columns  # a line each for a file or another program
    lines = [f"{name:<{indent}}{_comment(path)}".rstrip() for name, path in shown.items()]
    return "\n".join(textwrap.fill(line, max(columns, 2 * indent), subsequent_indent=" " * indent) for line in lines)


def _comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"(?<=\.)\s", comment)[0].removesuffix(".")
