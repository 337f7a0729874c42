"""Finding a data set's folder under its several names, and listing the images in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from oamn_plugin.datasets.images import is_image_name
from oamn_plugin.datasets.records import DataSetError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Where a data set lies and what its folder must hold.

    Attributes:
        title: the data set's name in the literature.
        folders: folder names under which it is handed round; compared without regard to case, ``-``, ``_`` and ``.``.
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
        known = [_plain(name) for name in self.folders]
        below = sorted(_folders(root), key=lambda path: (_plain(path.name) not in known, path.name))
        for folder in below:
            if _plain(folder.name) in known:
                yield folder
                # archives unpacked into a folder of their own name
                yield from (inner for inner in sorted(_folders(folder)) if _plain(inner.name) in known)
        yield root


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except OSError:
        return []


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "-_. ")


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


def report_strange(folder: str | os.PathLike[str], strange: Iterable[str], num_good: int, pattern: str) -> None:
    """Says which image names did not match; all of them not matching is an error, some of them a warning.

    Raises:
        DataSetError: nothing in the folder matches the pattern.
    """
    names = [os.path.basename(path) for path in strange]
    first = ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    if not num_good:
        found = f"holds {len(names)} images, none named so: {first}" if names else "holds no image"
        raise DataSetError(f"{os.fspath(folder)} {found} (expected names like {pattern})")
    if names:
        _logger.warning("%s: %d images left out, not named like %s: %s", folder, len(names), pattern, first)
