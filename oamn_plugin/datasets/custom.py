"""Any user's own data set from plain arguments: folders with a regular expression, or a CSV file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from oamn_plugin.datasets.labels import MARKET_PATTERN, compile_pattern, labels_of, number_labels, plain_label
from oamn_plugin.datasets.readers import read_names
from oamn_plugin.datasets.records import DataSetError, Record, Split
from oamn_plugin.datasets.tables import read_table

SPLITS = ("train", "query", "gallery")
_DEFAULT_CAMERA = {"train": "0", "query": "0", "gallery": "1"}  # none given: nothing may drop out of the rank lists
_NUM_NAMED = 3


class _Row(NamedTuple):
    path: str
    pid: str
    camid: str
    split: str


def read_custom(
    root: str | os.PathLike[str] = ".",
    *,
    csv_file: str = "",
    train: str = "",
    query: str = "query",
    gallery: str = "gallery",
    pattern: str = MARKET_PATTERN,
) -> Split:
    """Reads a data set of no known layout.

    Identities and cameras may be numbers or names. Numbers are kept; if any of them is not a number, all are numbered
    from 0 in the order of their sorted names, alike in the three lists. Junk (pid -1) is dropped in both cases.

    Args:
        root: folder that the other paths are relative to.
        csv_file: a CSV file with the columns path, pid, split (train, query or gallery) and, if there are cameras,
            camid. Its paths are relative to ``root`` or else to its own folder. Given, it replaces the folders below.
        train: folder of the training images, searched with its sub-folders; empty: no training split.
        query: folder of the query images.
        gallery: folder of the gallery images.
        pattern: regular expression searched for in each image's path below its folder (written with ``/``), with
            the group ``pid`` and, if there are cameras, ``camid``. Without cameras queries get 0, gallery images 1.

    Raises:
        DataSetError: a folder, file or column is missing, a line is wrong (its number is named), no name matches, a
            number is beyond 64 bits, or queries or gallery hold nothing but junk.

    The identity as a folder's name, no cameras::

        read_custom("my_data", train="train", query="probe", gallery="whole", pattern=r"^(?P<pid>[^/]+)/")
    """
    root = Path(root).expanduser()
    rows = _read_csv(root, csv_file) if csv_file else _read_folders(root, (train, query, gallery), pattern)
    return _to_split(rows)


def _read_folders(root: Path, folders: Iterable[str], pattern: str) -> list[_Row]:
    expression = compile_pattern(pattern)
    rows: list[_Row] = []
    for split, name in zip(SPLITS, folders, strict=True):
        if name:
            rows += _read_folder(root / name, split, expression)
        elif split != "train":
            raise DataSetError(f"a custom data set needs a {split} folder: name it relative to {root}")
    return rows


def _read_folder(folder: Path, split: str, expression: re.Pattern[str]) -> list[_Row]:
    if not folder.is_dir():
        raise DataSetError(f"the {split} folder of the custom data set is not there: {folder}")
    named = f"the regular expression {expression.pattern!r}"
    found = read_names(folder, lambda path: labels_of(path, folder, expression), named, recursive=True)
    return [_Row(path, labels.pid, labels.camid or _DEFAULT_CAMERA[split], split) for path, labels in found]


def _read_csv(root: Path, csv_file: str) -> list[_Row]:
    path = root / csv_file
    rows, wrong = [], []
    for line, values, _ in read_table(path, ("path", "pid", "split"), ("camid",)):
        fault, row = _check_row(_Row(**values), (root, path.parent))
        if fault:
            wrong.append(f"line {line}: {fault}")
        else:
            rows.append(row)
    if wrong:
        more = f"; and {len(wrong) - _NUM_NAMED} more" if len(wrong) > _NUM_NAMED else ""
        raise DataSetError(f"{path}: {'; '.join(wrong[:_NUM_NAMED])}{more}")
    return rows


def _check_row(row: _Row, folders: tuple[Path, ...]) -> tuple[str, _Row]:
    """What is wrong with a row, if anything, and the row with its path found."""
    empty = [name for name in ("path", "pid", "split") if not getattr(row, name)]
    if empty:
        return f"no {' and no '.join(empty)}", row
    split = row.split.lower()
    if split not in SPLITS:
        return f"split must be one of {', '.join(SPLITS)}, got {row.split!r}", row
    found = next((str(folder / row.path) for folder in folders if (folder / row.path).is_file()), "")
    if not found:
        return f"no such file: {folders[0] / row.path}", row
    return "", _Row(found, plain_label(row.pid), plain_label(row.camid) or _DEFAULT_CAMERA[split], split)


def _to_split(rows: list[_Row]) -> Split:
    pids, camids = (
        number_labels((row.pid for row in rows), "identity"),
        number_labels((row.camid for row in rows), "camera"),
    )
    lists: dict[str, list[Record]] = {name: [] for name in SPLITS}
    for row in rows:
        if pids[row.pid] >= 0:
            lists[row.split].append(Record(row.path, pids[row.pid], camids[row.camid]))
    for name in ("query", "gallery"):
        if not lists[name]:
            junk = sum(row.split == name for row in rows)
            why = f": all {junk} of them are junk (negative identities)" if junk else ""
            raise DataSetError(f"the custom data set has no {name} images{why}")
    return Split(*(sorted(lists[name]) for name in SPLITS))
