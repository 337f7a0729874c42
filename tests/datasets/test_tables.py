"""CSV files of users: their columns, and the faults that are told with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.datasets.tables import read_table


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_known_columns_in_any_case_and_others_as_they_are(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path, "Path; PID;Shop\na.jpg; 7 ;North\n\nb.jpg\n"), ("path",), ("pid", "camid"))
    assert [tuple(row) for row in rows] == [
        (2, {"path": "a.jpg", "pid": "7", "camid": ""}, {"Shop": "North"}),
        (4, {"path": "b.jpg", "pid": "", "camid": ""}, {"Shop": ""}),
    ]


@pytest.mark.parametrize("name", ["id", "person", "Person_ID", "identity", "pids", "p-id"])
def test_a_near_name_of_a_known_column_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataSetError, match=f"the column '{name.lower()}' must be called 'pid'"):
        read_table(table(tmp_path, f"path,{name}\na.jpg,1\n"), ("path",), ("pid", "camid"))


def test_a_near_name_beside_the_known_column_is_any_other_column(tmp_path: Path) -> None:
    row = read_table(table(tmp_path, "path,pid,id\na.jpg,1,2\n"), ("path",), ("pid",))[0]
    assert (row.values["pid"], row.extra) == ("1", {"id": "2"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,pid,PID\na.jpg,1,2\n", "has the column pid twice"),
        ("path,pid\na.jpg,1\na,b.jpg,1\n", "line 3: 3 cells under 2 columns"),
        ('path,pid\n"a.jpg,1\n' + "b.jpg,1\n" * 20_000, r"line \d+: field larger than field limit.* quotation mark"),
    ],
)
def test_faults_are_one_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        read_table(table(tmp_path, text), ("path",), ("pid",))
