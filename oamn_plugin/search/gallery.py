"""The images of a search: found in a folder, or listed in a CSV file with identities, cameras and whatever else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from oamn_plugin.datasets.labels import JUNK, MARKET_PATTERN, compile_pattern, labels_of, plain_label
from oamn_plugin.datasets.readers import list_images
from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.datasets.tables import read_table
from oamn_plugin.errors import did_you_mean, printable
from oamn_plugin.retrieval.protocol import Protocol
from oamn_plugin.search.files import GalleryIndexError


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
        """Its file name, to be shown."""
        return printable(Path(self.path).name)


def read_gallery(source: str | os.PathLike[str], pattern: str = MARKET_PATTERN) -> list[GalleryImage]:
    """The images of a folder with its sub-folders, of a CSV file, or a single image.

    Args:
        source: a folder; a ``.csv`` file whose first line names its columns, ``path`` among them and, if known,
            ``pid`` and ``camid`` (paths are relative to the CSV file's folder; other columns are kept as they are);
            or an image file.
        pattern: regular expression searched for in each image's path below the folder (a single image's name), as in
            :func:`oamn_plugin.datasets.custom.read_custom`; its groups ``pid`` and ``camid`` give identity and camera.
            Images that it does not match have none. Those of identity -1 (Market-1501's junk) are left out.

    Raises:
        DataSetError: there is no such file or folder, no image in it, the pattern is wrong, or the CSV file lacks a
            column or an entry.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() == ".csv":
        images = _read_csv(path)
    elif path.is_dir():
        expression = compile_pattern(pattern)
        images = [_named(found, path, expression) for found in list_images(path, recursive=True)]
    elif path.exists():
        images = [_named(str(path), path.parent, compile_pattern(pattern))]
    else:
        raise DataSetError(no_such_place("folder, CSV file or image", path))
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


def numbered_labels(
    queries: Sequence[GalleryImage], gallery: Sequence[GalleryImage]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Identities of queries and gallery, then their cameras, as numbers for an evaluation.

    Without cameras, queries and gallery count as taken by two.
    """
    pids = numbered([image.pid for image in queries], [image.pid for image in gallery])
    camids = numbered([image.camid or "query" for image in queries], [image.camid or "gallery" for image in gallery])
    return pids[0], pids[1], camids[0], camids[1]


def check_labels(queries: Sequence[GalleryImage], gallery: Sequence[GalleryImage]) -> None:
    """Makes sure that an evaluation of these images means something, by their labels alone.

    Raises:
        GalleryIndexError: an identity is missing, without which scores would be wrong, or no query has a match.
    """
    named = {"query": queries, "gallery": gallery}
    counts = {what: (sum(bool(image.pid) for image in images), len(images)) for what, images in named.items()}
    if any(known < count for known, count in counts.values()):
        told = " and ".join(f"{known} of {count} {what} images" for what, (known, count) in counts.items())
        raise GalleryIndexError(
            f"cannot score these queries: identities are known of {told}. Give --pattern to index and query, or CSV "
            "files with the column pid"
        )
    if gallery:
        try:
            protocol = Protocol(*numbered_labels(queries, gallery))
            protocol.require_match(protocol.has_match())
        except ValueError as error:
            raise GalleryIndexError(f"cannot score these queries: {error}") from error


def no_such_place(what: str, path: Path) -> str:
    """That there is no such file or folder, and the one beside it that was meant, if one is like it."""
    try:
        beside = os.listdir(path.parent)
    except OSError:
        beside = []
    return f"there is no {what} {path}.{did_you_mean(path.name, beside, 0.75)}".removesuffix(".")


def _named(path: str, folder: Path, expression: re.Pattern[str]) -> GalleryImage:
    return GalleryImage(os.path.abspath(path), *(labels_of(path, folder, expression) or ()))


def _read_csv(path: Path) -> list[GalleryImage]:
    images = []
    for line, values, extra in read_table(path, ("path",), ("pid", "camid")):
        if not values["path"]:
            raise DataSetError(f"{path}, line {line}: no path")
        place = os.path.abspath(path.parent / values["path"])
        images.append(GalleryImage(place, plain_label(values["pid"]), plain_label(values["camid"]), extra))
    return images
