"""What pretrained weights there are: read from ``catalogue.yml`` beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from oamn_plugin.errors import ExpectedError, did_you_mean

CATALOGUE = Path(__file__).with_name("catalogue.yml")


class WeightsError(ExpectedError, ValueError):
    """Weights that cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class File:
    """One file of an entry.

    Attributes:
        name: on disk.
        url: where it comes from.
        sha256: of its content; empty where nobody published it.
        sha256_prefix: the first digits, as torchvision and IBN-Net write them into the file name.
    """

    name: str
    url: str
    sha256: str = ""
    sha256_prefix: str = ""


@dataclass(frozen=True)
class Entry:
    """Weights under one name.

    Attributes:
        name: as in ``oamn weights get NAME``.
        files: one file, or several that belong together; weights are in the first.
        host: toolbox of the file's own model: fastreid, torchreid, torchvision or openvino.
        licence: of the weights, as their publisher states it.
        trained_on: data set.
        scores: data set to published scores in percent, Rank-1 and mAP.
        source: where the scores are published.
        config: configuration of the model itself, relative to ``configs/``; a model's name for torchreid.
        note: what else to know.
    """

    name: str
    files: tuple[File, ...]
    host: str
    licence: str
    trained_on: str
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str = ""
    config: str = ""
    note: str = ""


@cache
def catalogue(path: Path = CATALOGUE) -> dict[str, Entry]:
    """Every entry by name, in the order of the file.

    Raises:
        WeightsError: the file is not as expected.
    """
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: _entry(name, dict(one)) for name, one in content.items()}
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"the catalogue {path} is damaged: {error}") from error


def _entry(name: str, content: dict[str, Any]) -> Entry:
    urls, hashes, prefix = content.pop("url"), content.pop("sha256", {}), content.pop("sha256_prefix", "")
    given = content.pop("file", "")  # where the address does not end in a name
    named = [(given or url.rpartition("/")[2], url) for url in ([urls] if isinstance(urls, str) else urls)]
    return Entry(name, tuple(File(file, url, hashes.get(file, ""), prefix) for file, url in named), **content)


def entry_of(name: str) -> Entry:
    """The entry of a name.

    Raises:
        WeightsError: there is none; the nearest is named.
    """
    known = catalogue()
    if name not in known:
        hint = did_you_mean(name, known) or " `oamn weights list` shows all names."
        raise WeightsError(f"there is no file {name}, nor weights of that name.{hint}")
    return known[name]
