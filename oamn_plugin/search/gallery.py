"""The images of a search: found in a folder, or listed in a CSV file with identities, cameras and whatever else."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from oamn_plugin.datasets.readers.layout import list_images
from oamn_plugin.datasets.records import DataSetError

PATTERN = r"^(?P<pid>-?\d+)_c(?P<camid>\d+)"
"""File names as in Market-1501: identity and camera."""
JUNK = "-1"
"""Identity of the boxes that Market-1501 leaves out of its gallery."""


class GalleryImage(NamedTuple):
    """One image and what is known of it; empty strings where nothing is."""

    path: str
    """Absolute."""
    pid: str = ""
    camid: str = ""
    extra: Mapping[str, str] = {}
    """Further columns of the CSV file."""

    @property
    def name(self) -> str:
        """Its file name."""
        return Path(self.path).name


def read_gallery(source: str | os.PathLike[str], pattern: str = PATTERN) -> list[GalleryImage]:
    """The images of a folder with its sub-folders, of a CSV file, or a single image.

    Args:
        source: a folder; a ``.csv`` file whose first line names its columns, ``path`` among them and, if known,
            ``pid`` and ``camid`` (paths are relative to the CSV file's folder; other columns are kept as they are);
            or an image file.
        pattern: regular expression searched for in the file names of folders and single images; its groups ``pid``
            and ``camid`` give identity and camera. Names that it does not match have none. Images with the identity -1
            (Market-1501's junk) are left out.

    Raises:
        DataSetError: there is no such file or folder, no image in it, or the CSV file lacks a column or an entry.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() == ".csv":
        images = _read_csv(path)
    elif path.is_dir():
        expression = _compile(pattern)
        images = [_named(Path(found), expression) for found in list_images(path, recursive=True)]
    elif path.exists():
        images = [_named(path, _compile(pattern))]
    else:
        raise DataSetError(f"there is no folder, CSV file or image {path}")
    images = [image for image in images if image.pid != JUNK]
    if not images:
        raise DataSetError(f"there is no image in {path}")
    return images


def numbered(*lists: Iterable[str]) -> list[list[int]]:
    """Names as numbers, the same number for the same name in all lists.

    >>> numbered(["7", "b"], ["b", "c"])
    [[0, 1], [1, 2]]
    """
    numbers: dict[str, int] = {}
    return [[numbers.setdefault(name, len(numbers)) for name in names] for names in lists]


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DataSetError(f"the pattern {pattern!r} is not a regular expression: {error}") from None


def _named(path: Path, expression: re.Pattern[str]) -> GalleryImage:
    match = expression.search(path.name)
    groups = match.groupdict() if match else {}
    return GalleryImage(str(path.absolute()), _plain(groups.get("pid")), _plain(groups.get("camid")))


def _plain(name: str | None) -> str:
    """A number without leading zeros, so that 0007 of a file name is 7 of a table; other names as they are."""
    text = (name or "").strip()
    return str(int(text)) if re.fullmatch(r"-?\d+", text) else text


def _read_csv(path: Path) -> list[GalleryImage]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"cannot read the CSV file {path}: {error}") from None
    header = text.partition("\n")[0].strip()
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    known = {name.lower(): name for name in reader.fieldnames}
    if "path" not in known:
        raise DataSetError(f"{path} lacks the column path; its first line is {header!r}")
    images = []
    for row in reader:
        values = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
        own = {key: values.pop(known[key], "") for key in ("path", "pid", "camid") if key in known}
        if not own["path"]:
            raise DataSetError(f"{path}, line {reader.line_num}: no path")
        place = os.path.abspath(path.parent / own["path"])
        images.append(GalleryImage(place, _plain(own.get("pid")), _plain(own.get("camid")), values))
    return images
