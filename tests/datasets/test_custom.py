"""A user's own data set, from folders or from a CSV file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from oamn_plugin.datasets.custom import read_custom
from oamn_plugin.datasets.records import DataSetError, Record


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def below(root: Path, records: list[Record]) -> list[tuple[str, int, int]]:
    return [(Path(r.path).relative_to(root).as_posix(), r.pid, r.camid) for r in records]


def test_folders_with_the_default_expression(tmp_path: Path) -> None:
    make(tmp_path, "query/0001_c2_a.jpg", "gallery/0001_c1_a.png", "gallery/-1_c1_b.png", "train/7_c3_x.bmp")
    split = read_custom(tmp_path, train="train")
    assert below(tmp_path, split.train) == [("train/7_c3_x.bmp", 7, 3)]
    assert below(tmp_path, split.query) == [("query/0001_c2_a.jpg", 1, 2)]
    assert below(tmp_path, split.gallery) == [("gallery/0001_c1_a.png", 1, 1)]  # junk is dropped


def test_without_cameras_nothing_can_drop_out_of_the_rank_lists(tmp_path: Path) -> None:
    make(tmp_path, "probe/bob/1.jpg", "whole/alice/1.jpg", "whole/bob/2.jpg")
    split = read_custom(tmp_path, query="probe", gallery="whole", pattern=r"^(?P<pid>[^/]+)/")
    assert below(tmp_path, split.query) == [("probe/bob/1.jpg", 1, 0)]
    assert below(tmp_path, split.gallery) == [("whole/alice/1.jpg", 0, 1), ("whole/bob/2.jpg", 1, 1)]


def test_a_camera_group_that_did_not_take_part_counts_as_none(tmp_path: Path) -> None:
    make(tmp_path, "query/4.jpg", "gallery/4_c7.jpg")
    split = read_custom(tmp_path, pattern=r"^(?P<pid>\d+)(_c(?P<camid>\d+))?")
    assert (split.query[0].camid, split.gallery[0].camid) == (0, 7)


def test_images_that_do_not_match_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "query/1_c1.jpg", "query/odd.jpg", "gallery/1_c2.jpg")
    with caplog.at_level(logging.WARNING):
        read_custom(tmp_path)
    assert "'odd.jpg'" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "(?P<pid"}, "not a regular expression"),
        ({"pattern": r"(\d+)"}, r"no group named pid: write it as \(\?P<pid>"),
        ({"query": "nowhere"}, "query folder of the custom data set is not there"),
        ({"gallery": ""}, "needs a gallery folder"),
        ({"pattern": r"^person(?P<pid>\d+)"}, "2 images, none named so: 'x1_c1.jpg', 'x2_c1.jpg'"),
        ({"csv_file": "no.csv"}, "cannot read the CSV file"),
    ],
)
def test_errors_say_what_is_wrong(tmp_path: Path, arguments: dict[str, str], message: str) -> None:
    names = ("x1_c1.jpg", "x2_c1.jpg") if "pattern" in arguments else ("1_c1.jpg", "2_c1.jpg")
    make(tmp_path, *(f"query/{name}" for name in names), "gallery/1_c2.jpg")
    with pytest.raises(DataSetError, match=message):
        read_custom(tmp_path, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv(tmp_path: Path, delimiter: str, newline: str) -> None:
    make(tmp_path, "a b.jpg", "ü.jpg", "c.jpg")
    rows = [["path", "pid", "CamID", "split"], ["a b.jpg", "1", "3", "query"], ["ü.jpg", "1", "4", "Gallery"]]
    rows.append(["c.jpg", "-1", "4", "gallery"])
    text = newline.join(delimiter.join(row) for row in rows)
    (tmp_path / "set.csv").write_text("\ufeff" + text, encoding="utf-8", newline="")  # as spreadsheets save it
    split = read_custom(tmp_path, csv_file="set.csv")
    assert split.train == []
    assert below(tmp_path, split.query) == [("a b.jpg", 1, 3)]
    assert below(tmp_path, split.gallery) == [("ü.jpg", 1, 4)]


def test_csv_paths_may_be_relative_to_the_csv(tmp_path: Path) -> None:
    make(tmp_path, "lists/images/1.jpg", "lists/images/2.jpg")
    (tmp_path / "lists/set.csv").write_text("path,pid,split\nimages/1.jpg,x,query\nimages/2.jpg,x,gallery\n")
    split = read_custom(tmp_path, csv_file="lists/set.csv")
    assert [(r.pid, r.camid) for r in (*split.query, *split.gallery)] == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns path, pid, split"),
        (
            "file,pid,split\n",
            "lacks the column path; the column 'file' must be called 'path'; its first line is 'file,pid,split'",
        ),
        (
            "path,pid,split\n1.jpg,1,query\n1.jpg,1,test\n",
            "line 3: split must be one of train, query, gallery, got 'test'",
        ),
        ("path,pid,split\n9.jpg,1,query\n", "line 2: no such file: .*9.jpg"),
        ("path,pid,split\n1.jpg,,query\n1.jpg\n", "line 2: no pid; line 3: no pid and no split"),
        ("path,pid,split\n" + "9.jpg,1,query\n" * 5, "; and 2 more"),
        ("path,pid,split\n1.jpg,1,query\n", "no gallery images"),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, "1.jpg")
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(DataSetError, match=message):
        read_custom(tmp_path, csv_file="set.csv")


def test_junk_is_never_person_1(tmp_path: Path) -> None:
    make(tmp_path, "query/1_c1_0.png", "gallery/-1_c2_2.png", "gallery/1_c2_3.png", "gallery/deep/er/-1_c3_0.png")
    assert below(tmp_path, read_custom(tmp_path).gallery) == [("gallery/1_c2_3.png", 1, 2)]


def test_a_name_that_only_holds_an_identity_is_not_read_by_the_default(tmp_path: Path) -> None:
    make(tmp_path, "query/1_c1.png", "gallery/cam-1_c2_2.png")
    with pytest.raises(DataSetError, match=r"none named so: 'cam-1_c2_2\.png'"):
        read_custom(tmp_path)


@pytest.mark.parametrize("junk", ["gallery", "query"])
def test_a_set_of_junk_alone_is_refused(tmp_path: Path, junk: str) -> None:
    make(tmp_path, f"{junk}/-1_c1_0.png", f"{'query' if junk == 'gallery' else 'gallery'}/1_c2_0.png")
    with pytest.raises(DataSetError, match=f"no {junk} images: all 1 of them are junk"):
        read_custom(tmp_path)


def test_junk_stays_junk_among_names(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "set.csv").write_text("path,pid,split\n1.jpg,bob,query\n2.jpg,bob,gallery\n3.jpg,-1,gallery\n")
    split = read_custom(tmp_path, csv_file="set.csv")
    assert [below(tmp_path, part) for part in split] == [[], [("1.jpg", 0, 0)], [("2.jpg", 0, 1)]]


def test_1_0_is_not_10(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    text = "path,pid,split\n1.jpg,10,query\n2.jpg,10,gallery\n3.jpg,1_0,gallery\n"
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(DataSetError, match="the identity '1_0' looks like a number and is none"):
        read_custom(tmp_path, csv_file="set.csv")


def test_an_identity_beyond_64_bits_is_refused_when_read(tmp_path: Path) -> None:
    make(tmp_path, f"query/{2**63}_c1.jpg", f"gallery/{2**63}_c2.jpg", f"fine/{2**63 - 1}_c2.jpg")
    with pytest.raises(DataSetError, match=r"identity 9223372036854775808 is beyond 2\^63 - 1"):
        read_custom(tmp_path)
    with pytest.raises(DataSetError, match="beyond"):
        read_custom(tmp_path, query="fine")
    assert read_custom(tmp_path, query="fine", gallery="fine").query[0].pid == 2**63 - 1


def test_a_column_cam_does_not_mean_no_cameras(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg")
    (tmp_path / "set.csv").write_text("path,pid,cam,split\n1.jpg,1,1,query\n1.jpg,1,1,gallery\n")
    with pytest.raises(DataSetError, match="the column 'cam' must be called 'camid'"):
        read_custom(tmp_path, csv_file="set.csv")
