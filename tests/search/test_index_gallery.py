"""Where the images of a search come from: folders, CSV files, single images."""

from __future__ import annotations

import pytest
from index_crops import make_crops

from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.search.gallery import GalleryImage, numbered, read_gallery


def test_folders_are_searched_with_their_sub_folders(tmp_path):
    make_crops(tmp_path / "a" / "b", 4)
    (tmp_path / "a" / "-1_c1s1_0.png").touch()
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "snapshot.jpg").touch()
    images = read_gallery(tmp_path)
    assert sorted({(image.pid, image.camid) for image in images}) == [("", ""), ("1", "1"), ("1", "2")]
    assert len(images) == 5


def test_csv_files_keep_every_column(tmp_path):
    (tmp_path / "list.csv").write_text("path;pid;camid;Shop;time\nx/1.jpg;0007;2;north;12:30\ny.jpg;anna;;;\n")
    assert read_gallery(tmp_path / "list.csv") == [
        GalleryImage(str(tmp_path / "x/1.jpg"), "7", "2", {"Shop": "north", "time": "12:30"}),
        GalleryImage(str(tmp_path / "y.jpg"), "anna", "", {"Shop": "", "time": ""}),
    ]


def test_other_patterns(tmp_path):
    (tmp_path / "anna-door3.jpg").touch()
    image = read_gallery(tmp_path, r"^(?P<pid>\w+)-(?P<camid>\w+)")[0]
    assert (image.pid, image.camid) == ("anna", "door3")
    assert read_gallery(tmp_path / "anna-door3.jpg")[0].pid == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "there is no folder, CSV file or image"),
        ("list.csv", "file,pid\na.jpg,1\n", "lacks the column path"),
        ("list.csv", "path,pid\n,1\n", "line 2: no path"),
        ("list.csv", "path,pid\n", "there is no image"),
        ("list.csv", "path,pid,cam\na.jpg,1,2\n", "the column 'cam' must be called 'camid'"),
        ("list.csv", "path,id\na.jpg,1\n", "the column 'id' must be called 'pid'"),
        ("none.csv", None, "cannot read the CSV file"),
    ],
)
def test_errors_name_the_place(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataSetError, match=message):
        read_gallery(tmp_path / name)


def test_a_wrong_pattern(tmp_path):
    with pytest.raises(DataSetError, match="not a regular expression"):
        read_gallery(tmp_path, "(")


def test_names_get_the_same_numbers_everywhere():
    assert numbered(["a", "b", "a"], ["c", "b"]) == [[0, 1, 0], [2, 1]]


def test_names_that_are_not_utf_8_are_shown_as_text(tmp_path):
    assert GalleryImage(f"{tmp_path}/caf\udce9\x1b[31m.jpg").name == "caf\\xe9\\x1b[31m.jpg"


def test_a_pattern_over_folders_reads_what_custom_reid_reads(tmp_path):
    for name in ("anna/1.jpg", "bob/deeper/2.jpg", "3.jpg"):
        (tmp_path / "crops" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "crops" / name).touch()
    images = read_gallery(tmp_path / "crops", r"^(?P<pid>[^/]+)/")
    assert [image.pid for image in images] == ["", "anna", "bob"]
