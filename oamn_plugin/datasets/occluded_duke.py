"""Building Occluded-DukeMTMC from a user's own copy of DukeMTMC-reID and the published lists of names.

The images may not be handed round; the lists may: one file name a line in ``train.list``, ``query.list`` and
``gallery.list`` (Miao et al., ICCV 2019). Some queries come from DukeMTMC-reID's gallery, so names are looked up in all
of its folders.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

from oamn_plugin.datasets.folders import new_folder, only_maker
from oamn_plugin.datasets.readers import FOLDERS
from oamn_plugin.datasets.records import DataSetError

LISTS = {"bounding_box_train": "train.list", "query": "query.list", "bounding_box_test": "gallery.list"}
"""Folder of Occluded-Duke to the list of its names."""
_NAME = re.compile(r"\d+_c\d+_f\d+\.jpg")
_MAX_IMAGE_BYTES = 20 * 2**20
_Copy = tuple["_Source", Path]
"""An image, and its folder and name in the new set."""


class _Source(NamedTuple):
    folder: str
    size: int
    open: Callable[[], IO[bytes]]


def build_occluded_duke(
    duke: str | os.PathLike[str],
    lists: str | os.PathLike[str],
    target: str | os.PathLike[str],
    progress: bool = False,
) -> Path:
    """Copies the listed images into ``target`` in the layout of Market-1501.

    Args:
        duke: ``DukeMTMC-reID.zip``, or the folder it was unpacked into.
        lists: folder with ``train.list``, ``query.list``, ``gallery.list``.
        target: folder to make; made whole or not at all.
        progress: show a bar, on a terminal.

    Returns:
        the target.

    Raises:
        DataSetError: a list is missing or holds something else than names, or listed images are not in the copy.
        FileExistsError: the target is there.
    """
    duke, target = Path(duke), Path(target)
    if target.exists():
        raise FileExistsError(f"{target} is there already: delete it or choose another place")
    wanted = {folder: read_name_list(Path(lists) / name) for folder, name in LISTS.items()}
    if duke.is_dir():
        return _build(_index_folder(duke), duke, wanted, target, progress)
    if not duke.is_file():
        raise DataSetError(f"no such file: {duke}; name your copy of DukeMTMC-reID.zip")
    try:
        with zipfile.ZipFile(duke) as archive:
            return _build(_index_zip(archive), duke, wanted, target, progress)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataSetError(f"{duke} is not a readable zip archive: {error}") from error


def read_name_list(path: Path) -> list[str]:
    """File names of a list, one a line; folders in front of them are dropped.

    Raises:
        DataSetError: the list is missing or empty, or a line is not a name ``PPPP_cC_fFFFFFFF.jpg``.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"cannot read the list of names {path}: {error}") from None
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name = PurePosixPath(line.strip().replace("\\", "/")).name
        if not _NAME.fullmatch(name):
            raise DataSetError(f"{path}, line {number}: expected a name like 0001_c2_f0046182.jpg, got {line!r}")
        names.append(name)
    if not names:
        raise DataSetError(f"the list of names {path} is empty")
    return list(dict.fromkeys(names))


def _build(
    index: dict[str, list[_Source]], duke: Path, wanted: dict[str, list[str]], target: Path, progress: bool
) -> Path:
    copies: list[_Copy] = []
    missing: list[str] = []
    for folder, names in wanted.items():
        order = (folder, *FOLDERS)
        for name in names:
            if name in index:  # in several folders: the image of the split's own
                best = min(index[name], key=lambda one: order.index(one.folder) if one.folder in order else len(order))
                copies.append((best, Path(folder, name)))
            else:
                missing.append(name)
    if missing:
        raise DataSetError(
            f"{len(missing):,} of {len(missing) + len(copies):,} listed images are not in {duke}, first "
            f"{', '.join(missing[:3])}: is it the complete DukeMTMC-reID?"
        )
    with only_maker(target), new_folder(target) as unfinished:
        for folder in LISTS:
            (unfinished / folder).mkdir()
        for source, place in tqdm(copies, desc="copying", unit="image", disable=None if progress else True):
            if source.size > _MAX_IMAGE_BYTES:
                size = f"{source.size:,} bytes"
                raise DataSetError(f"{place.name} states a size of {size}: this is no image of a person")
            with source.open() as content, open(unfinished / place, "xb") as out:
                shutil.copyfileobj(content, out)
    return target


def _index_zip(archive: zipfile.ZipFile) -> dict[str, list[_Source]]:
    index: dict[str, list[_Source]] = {}
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if _NAME.fullmatch(path.name):
            source = _Source(path.parent.name, info.file_size, partial(archive.open, info))
            index.setdefault(path.name, []).append(source)
    return index


def _index_folder(folder: Path) -> dict[str, list[_Source]]:
    index: dict[str, list[_Source]] = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if _NAME.fullmatch(name):
                path = Path(place, name)
                if not path.is_file():  # a pipe would block for ever, a device never end: as if it were not there
                    continue
                source = _Source(Path(place).name, path.stat().st_size, partial(io.FileIO, path))
                index.setdefault(name, []).append(source)
    return index
