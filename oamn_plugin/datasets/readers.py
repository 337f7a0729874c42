"""Readers of the published data sets: from a set's own folder to its ``Split``.

Identities keep their published numbers, cameras count from 0, every list is sorted by path: two machines agree. The
sets that pair occluded or partial images with whole ones publish no cameras: queries get camera 0 and gallery images
camera 1, so that nothing is dropped from the rank lists.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from oamn_plugin.datasets.images import is_image_name
from oamn_plugin.datasets.labels import label_number
from oamn_plugin.datasets.records import DataSetError, Record, Split

_logger = logging.getLogger(__name__)
_Read = TypeVar("_Read")
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
"""Train, query, gallery: the three folders of Market-1501's layout."""
_NAME = re.compile(r"(?P<pid>-1|\d+)_c(?P<camid>\d+)")
_PATTERN = "PPPP_cC..., as in 0002_c1s1_000451_03.jpg"
LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
OCCLUDED, WHOLE, PARTIAL = "occluded_body_images", "whole_body_images", "partial_body_images"
_LEADING_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class FolderLayout:
    """Where a data set lies and what its folder must hold.

    Attributes:
        title: the data set's name in the literature.
        folders: folder names under which it is handed round; compared by letters and digits, without case.
        required: sub-folders (or files) that must be there, with ``/``.
        advice: where a user gets it.
    """

    title: str
    folders: tuple[str, ...]
    required: tuple[str, ...]
    advice: str

    def find(self, root: str | os.PathLike[str]) -> Path:
        """The data set's folder: below ``root``, ``root`` itself, or in a folder of the same name once more.

        Raises:
            DataSetError: not there; the message lists every place that was looked at.
        """
        root = Path(root).expanduser()
        lacking: list[str] = []
        for folder in self._candidates(root):
            missing = [part for part in self.required if not (folder / part).exists()]
            if not missing:
                return folder
            if folder != root or len(missing) < len(self.required):
                lacking.append(f"{folder} (there, but without {', '.join(missing)})")
        absent = [str(root / name) for name in self.folders if not (root / name).is_dir()]
        raise DataSetError(
            f"{self.title} was not found: a folder holding {', '.join(self.required)} was looked for in "
            f"{'; '.join([*lacking, *absent, str(root)])}. "
            f"Put it there, or name the folder that holds it (FASTREID_DATASETS, --root). {self.advice}"
        )

    def _candidates(self, root: Path) -> Iterator[Path]:
        known = [plain_name(name) for name in self.folders]
        below = sorted(_folders(root), key=lambda path: (plain_name(path.name) not in known, path.name))
        for folder in below:
            if plain_name(folder.name) in known:
                yield folder
                # archives unpacked into a folder of their own name
                yield from (inner for inner in sorted(_folders(folder)) if plain_name(inner.name) in known)
        yield root


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except OSError:
        return []


def plain_name(name: str) -> str:
    """The name of a data set or its folder: its letters and digits, without case."""
    return "".join(filter(str.isalnum, name.lower()))


def list_images(folder: str | os.PathLike[str], recursive: bool = False) -> list[str]:
    """Paths of the image files in a folder, sorted; hidden files and other endings are left out.

    What bears an image's name and is none (a link to itself, a pipe) is listed: reading it tells what is wrong. Folders
    that link to one above them are not entered again.

    Raises:
        DataSetError: the folder cannot be read.
    """
    return sorted(_images(folder, recursive, ()))


def _images(folder: str | os.PathLike[str], recursive: bool, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        entries = [] if here in above else list(os.scandir(folder))
    except OSError as error:
        raise DataSetError(f"cannot list the folder {os.fspath(folder)}: {error.strerror or error}") from None
    for entry in entries:
        if _is_folder(entry):
            if recursive and not entry.name.startswith(("__MACOSX", ".")):
                yield from _images(entry.path, recursive, (*above, here))
        elif is_image_name(entry.name):
            yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def read_names(
    folder: str | os.PathLike[str], read: Callable[[str], _Read | None], pattern: str, recursive: bool = False
) -> list[tuple[str, _Read]]:
    """The images of a folder, each with what is read off its path; those with None are left out with a warning.

    Args:
        folder: as for :func:`list_images`.
        read: from a path to what it says; None where it is named otherwise.
        pattern: how images are named, for the messages.
        recursive: look into sub-folders too.

    Raises:
        DataSetError: the folder cannot be read, or none of its images is named so.
    """
    found, strange = [], []
    for path in list_images(folder, recursive):
        said = read(path)
        if said is None:
            strange.append(os.path.basename(path))
        else:
            found.append((path, said))
    first = ", ".join(map(repr, strange[:3])) + (", ..." if len(strange) > 3 else "")
    if not found:
        held = f"holds {len(strange)} images, none named so: {first}" if strange else "holds no image"
        raise DataSetError(f"{os.fspath(folder)} {held} (expected names like {pattern})")
    if strange:
        _logger.warning("%s: %d images left out, not named like %s: %s", folder, len(strange), pattern, first)
    return found


def read_market_layout(folder: str | os.PathLike[str]) -> Split:
    """A set laid out and named as Market-1501, from its own folder.

    Junk (pid -1) is dropped; distractors (pid 0) stay, in the gallery only.

    Raises:
        DataSetError: a sub-folder cannot be read, holds no image named ``PPPP_cC...``, or nothing but junk.
    """
    train, query, gallery = (read_market_folder(Path(folder) / part) for part in FOLDERS)
    for part, records in (("query", query), ("bounding_box_test", gallery)):
        if not records:
            raise DataSetError(f"{Path(folder) / part} holds nothing but junk (identity -1)")
    # distractors are people of no identity: neither a class to learn nor anyone to search for
    return Split([r for r in train if r.pid > 0], [r for r in query if r.pid > 0], gallery)


def read_market_folder(folder: str | os.PathLike[str]) -> list[Record]:
    """The images of one folder by their names, junk (pid -1) left out.

    Raises:
        DataSetError: the folder cannot be read, or holds no image named ``PPPP_cC...``.
    """
    found = read_names(folder, lambda path: _NAME.match(os.path.basename(path)), _PATTERN)
    pids = [label_number(name["pid"], f"{path}: the identity") for path, name in found]
    return [
        Record(path, pid, int(name["camid"]) - 1) for (path, name), pid in zip(found, pids, strict=True) if pid >= 0
    ]


def read_msmt17(folder: Path) -> Split:
    """MSMT17 (V1 or V2) from its own folder, without its validation list, as published figures use it.

    Test identities are numbered from 0 again in the lists; they keep those numbers here.

    Raises:
        DataSetError: the images are missing, or a line of a list is not ``path pid``.
    """
    train, test = (_first(folder, names) for names in (("train", "mask_train_v2"), ("test", "mask_test_v2")))
    lists = [_read_list(folder / name, images) for name, images in zip(LISTS, (train, test, test), strict=True)]
    return Split(*lists)


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataSetError(f"MSMT17 in {folder} lacks its images: neither {' nor '.join(names)} is there")


def _read_list(path: Path, images: Path) -> list[Record]:
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, pid = line.split()
            record = Record(str(images / name), label_number(pid, "pid"), int(name.split("_")[2]) - 1)
        except (ValueError, IndexError):
            raise DataSetError(f"{path}, line {number}: expected 'PPPP/PPPP_III_CC_... pid', got {line!r}") from None
        records.append(record)
    return sorted(records)


def read_pairs(folder: Path, query: str, gallery: str) -> Split:
    """Occluded or partial queries and whole gallery images, each in a sub-folder of its own; no training split.

    Raises:
        DataSetError: a sub-folder is empty or its images are named otherwise.
    """
    return Split([], _read_numbered(folder / query, 0), _read_numbered(folder / gallery, 1))


def read_p_duke(folder: Path) -> Split:
    """P-DukeMTMC-reID: occluded queries against whole gallery images; the identity is the folder's name.

    In training, occluded images count as camera 0 and whole ones as camera 1.

    Raises:
        DataSetError: a sub-folder is empty or its images are named otherwise.
    """
    occluded, whole = (
        [_read_numbered(folder / split / part, camid, by_folder=True) for split in ("train", "test")]
        for part, camid in ((OCCLUDED, 0), (WHOLE, 1))
    )
    return Split(occluded[0] + whole[0], occluded[1], whole[1])


def _read_numbered(folder: Path, camid: int, by_folder: bool = False) -> list[Record]:
    """Images whose file name (or whose folder's name) begins with the identity's number."""

    def number(path: str) -> re.Match[str] | None:
        return _LEADING_NUMBER.match(Path(path).parent.name if by_folder else os.path.basename(path))

    pattern = "PPP/..." if by_folder else "PPP_NN.jpg, beginning with the identity"
    found = read_names(folder, number, pattern, recursive=True)
    return [Record(path, label_number(match[0], f"{path}: the identity"), camid) for path, match in found]
