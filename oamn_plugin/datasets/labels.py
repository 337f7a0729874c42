"""Identities and cameras as names give them: which part of a path they are, and which number stands for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from oamn_plugin.datasets.records import DataSetError

MARKET_PATTERN = r"(?:^|/)(?P<pid>-?\d+)_c(?P<camid>\d+)[^/]*$"
"""The default expression: a file name that begins as in Market-1501, in any folder."""
JUNK = "-1"
"""Identity of the boxes that Market-1501 leaves out of its gallery."""
_WHOLE = re.compile(r"-?[0-9]+")
_LARGEST = 2**63 - 1  # what arrays and tensors of labels hold


class PathLabels(NamedTuple):
    """Identity and camera as a path writes them; the camera is empty where there is none."""

    pid: str
    camid: str


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression by which paths are read.

    Raises:
        DataSetError: it is none, or has no group ``pid``.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataSetError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
    if "pid" not in expression.groupindex:
        raise DataSetError(f"the pattern {pattern!r} has no group named pid: write it as (?P<pid>...)")
    return expression


def labels_of(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], expression: re.Pattern[str]
) -> PathLabels | None:
    """Identity and camera of an image by its path below the folder that was given, written with ``/``.

    Returns:
        the labels in plain form; None where the expression does not match or names no identity.

    >>> labels_of("set/query/0007_c2.jpg", "set/query", compile_pattern(MARKET_PATTERN))
    PathLabels(pid='7', camid='2')
    >>> labels_of("set/query/anna/1.jpg", "set/query", compile_pattern("^(?P<pid>[^/]+)/"))
    PathLabels(pid='anna', camid='')
    """
    match = expression.search(Path(path).relative_to(folder).as_posix())
    if match is None or not (match["pid"] or "").strip():
        return None
    return PathLabels(plain_label(match["pid"]), plain_label(match.groupdict().get("camid") or ""))


def plain_label(text: str) -> str:
    """A label without leading zeros, so that 0007 of a file name is 7 of a table; names stay as they are.

    >>> plain_label("0007"), plain_label("-1"), plain_label("000"), plain_label("a07")
    ('7', '-1', '0', 'a07')
    """
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        return text
    digits = text.lstrip("-").lstrip("0") or "0"
    return f"-{digits}" if text.startswith("-") and digits != "0" else digits


def label_number(text: str, what: str) -> int:
    """A label's number; ``what`` says whose it is in the message.

    Raises:
        DataSetError: it is no whole number, or does not fit into 64 bits.
    """
    if not _WHOLE.fullmatch(text):
        raise DataSetError(f"{what} must be a whole number, got {text!r}")
    if len(text) > 40 or abs(int(text)) > _LARGEST:
        raise DataSetError(f"{what} {text[:40]} is beyond 2^63 - 1, the largest label: number the identities anew")
    return int(text)


def number_labels(labels: Iterable[str], what: str) -> dict[str, int]:
    """Labels in plain form to numbers: themselves if all are numbers, else their places in sorted order.

    Junk stays -1 among names too.

    Raises:
        DataSetError: a number is too large, or a label is read as a number by some programs and is none (``1_0``).

    >>> number_labels(["10", "7"], "identity"), number_labels(["bob", "anna", "-1"], "identity")
    ({'10': 10, '7': 7}, {'-1': -1, 'anna': 0, 'bob': 1})
    """
    unique = sorted(set(labels))
    names = [label for label in unique if not _WHOLE.fullmatch(label)]
    for name in names:
        if _is_almost_number(name):
            raise DataSetError(
                f"the {what} {name!r} looks like a number and is none: write a whole number, or a name with a letter"
            )
    if not names:
        return {label: label_number(label, what) for label in unique}
    people = [label for label in unique if label != JUNK]
    junk = {JUNK: -1} if len(people) < len(unique) else {}
    return {**junk, **{label: index for index, label in enumerate(people)}}


def _is_almost_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
