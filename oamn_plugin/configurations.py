"""The configurations and suites that come with the package, found by name from any folder.

They lie in ``configs/`` of the repository, and in ``oamn_plugin/configs`` of an installed wheel. The name of one is its
path there without ``.yml``, upper or lower case: ``market1501/oamn_R50``, ``suites/demo``.
"""

from __future__ import annotations

from pathlib import Path

from oamn_plugin.errors import ExpectedError, did_you_mean

_INSTALLED, _CLONE = Path(__file__).with_name("configs"), Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _CLONE
SUITES = "suites"


class UnknownConfigError(ExpectedError, ValueError):
    """No file and no name of a configuration; the message names the nearest one, as ``hint`` does alone."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"there is no configuration file {name!r}, and none of that name in the package. {hint}")
        self.hint = hint


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
    known = {one.lower(): path for one, path in config_files(folder).items()}
    word = name.replace("\\", "/").removeprefix("configs/").removesuffix(".yml").lower()
    word = word.removeprefix(f"{folder}/") if folder else word
    if word not in known:
        listed = f"In the package: {', '.join(known)}" if folder else "`oamn train --list` lists the names"
        raise UnknownConfigError(name, did_you_mean(word, known, 0.5).strip() or listed)
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
    """A line for every configuration that can be trained, with the first words of its comment."""
    shown = trainable_configs()
    width = max(map(len, shown), default=0)
    return "\n".join(f"{name:<{width}}  {_comment(path)}".rstrip() for name, path in shown.items())


def _comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ") if first.startswith("#") else ""
