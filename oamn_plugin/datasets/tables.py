"""CSV files as users keep them: comma, semicolon or tab, any case, and every fault told with its line."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from oamn_plugin.datasets.records import DataSetError

_OTHER_NAMES = {
    "path": ("file", "filename", "image", "imagepath", "img", "imgpath", "filepath"),
    "pid": ("id", "person", "personid", "identity", "identityid", "pedestrian"),
    "camid": ("cam", "camera", "cameraid", "camerano"),
    "split": ("set", "subset", "part", "partition", "fold"),
}
"""Column to what users call it instead, without case and signs."""
_ALIKE = 0.8


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        line: its number in the file, from 1.
        values: by known column, stripped; empty where the cell or the column is not there.
        extra: by any other column, under the name that the file gives it.
    """

    line: int
    values: dict[str, str]
    extra: dict[str, str]


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Reads a CSV file whose first line names its columns.

    Args:
        path: the file, UTF-8.
        required: columns that must be there, in any case.
        optional: columns that may be there. One that is missing while another bears a near name (``cam`` for ``camid``)
            is an error: left out, it would change what is measured.

    Raises:
        DataSetError: the file cannot be read, lacks a column or has one twice, a near name stands for a known column,
            or a line has more cells than columns, or a cell that is larger than any can be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"cannot read the CSV file {path}: {error}") from None
    header = text.partition("\n")[0].strip()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), skipinitialspace=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        fault = _wrong_columns([name.lower() for name in names], required, optional)
        if fault:
            raise DataSetError(f"{path} {fault}; its first line is {header[:200]!r}")
        known = (*required, *optional)
        columns = [name.lower() if name.lower() in known else name for name in names]
        return [_row(path, reader.line_num, columns, cells, known) for cells in reader if cells]
    except csv.Error as error:  # a cell of more than 131,072 characters
        raise DataSetError(f"{path}, line {reader.line_num}: {error}; is a quotation mark not closed?") from None


def _wrong_columns(names: list[str], required: Sequence[str], optional: Sequence[str]) -> str:
    """What is wrong with the columns, if anything."""
    known = (*required, *optional)
    twice = [name for name in known if names.count(name) > 1]
    if twice:
        return f"has the column {', '.join(twice)} twice"
    near = {name: _near(name, [other for other in names if other not in known]) for name in known if name not in names}
    lacking = [name for name in near if name in required]
    faults = [f"lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}"] if lacking else []
    faults += [f"the column {other!r} must be called {name!r}" for name, other in near.items() if other]
    return "; ".join(faults)


def _near(name: str, columns: list[str]) -> str:
    """The column that was probably meant by a known name; empty if none was."""
    for column in columns:
        plain = "".join(letter for letter in column if letter.isalnum())
        if plain in _OTHER_NAMES.get(name, ()) or difflib.get_close_matches(plain, [name], cutoff=_ALIKE):
            return column
    return ""


def _row(path: Path, line: int, columns: list[str], cells: list[str], known: Sequence[str]) -> Row:
    if any(cells[len(columns) :]):
        raise DataSetError(f"{path}, line {line}: {len(cells)} cells under {len(columns)} columns")
    there = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
    extra = {name: there.get(name, "") for name in columns if name not in known}
    return Row(line, {name: there.get(name, "") for name in known}, extra)
