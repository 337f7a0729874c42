"""Occluded-Duke from a user's own copy and the name lists."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from oamn_plugin.datasets.catalogue import load
from oamn_plugin.datasets.occluded_duke import build_occluded_duke, read_name_list
from oamn_plugin.datasets.records import DataSetError

DUKE = {
    "bounding_box_train/0001_c2_f0046182.jpg": b"train",
    "query/0019_c1_f0051230.jpg": b"query",
    "bounding_box_test/0019_c3_f0051350.jpg": b"moved to the query",
    "bounding_box_test/0002_c1_f0044158.jpg": b"gallery",
    "bounding_box_test/0099_c1_f0044158.jpg": b"in no list",
}
LISTS = {
    "train.list": "0001_c2_f0046182.jpg\n",
    "query.list": "0019_c1_f0051230.jpg\r\n0019_c3_f0051350.jpg\r\n",
    "gallery.list": "bounding_box_test/0002_c1_f0044158.jpg\n\n",
}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, text in LISTS.items():
        (folder / name).write_text(text, newline="")
    return folder


def make_zip(tmp_path: Path, prefix: str = "DukeMTMC-reID/", **extra: bytes) -> Path:
    path = tmp_path / "DukeMTMC-reID.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**DUKE, **extra}.items():
            archive.writestr(prefix + name, data)
    return path


@pytest.mark.parametrize("prefix", ["DukeMTMC-reID/", "", "a/b/"])
def test_from_a_zip(tmp_path: Path, lists: Path, prefix: str) -> None:
    target = build_occluded_duke(make_zip(tmp_path, prefix), lists, tmp_path / "Occluded_Duke")
    split = load("OccludedDuke", tmp_path)
    assert [len(part) for part in split] == [1, 2, 1]
    assert (target / "query/0019_c3_f0051350.jpg").read_bytes() == b"moved to the query"
    assert (target / "bounding_box_test/0002_c1_f0044158.jpg").read_bytes() == b"gallery"


def test_from_a_folder(tmp_path: Path, lists: Path) -> None:
    for name, data in DUKE.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(data)
    build_occluded_duke(tmp_path / "mine", lists, tmp_path / "Occluded_Duke")
    assert [len(part) for part in load("OccludedDuke", tmp_path)] == [1, 2, 1]


def test_only_regular_files_are_opened(tmp_path: Path, lists: Path) -> None:
    for name, data in DUKE.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(data)
    first, second, *_ = DUKE
    for name in (first, second):
        (tmp_path / "mine" / name).unlink()
    os.mkfifo(tmp_path / "mine" / first)
    (tmp_path / "mine" / second).symlink_to("/dev/zero")
    with pytest.raises(DataSetError, match="2 of 4 listed images are not in"):
        build_occluded_duke(tmp_path / "mine", lists, tmp_path / "out")


def test_a_name_in_two_folders_comes_from_its_own(tmp_path: Path, lists: Path) -> None:
    duke = make_zip(tmp_path, **{"bounding_box_test/0001_c2_f0046182.jpg": b"another"})
    target = build_occluded_duke(duke, lists, tmp_path / "out")
    assert (target / "bounding_box_train/0001_c2_f0046182.jpg").read_bytes() == b"train"


def test_missing_images_are_counted_and_nothing_is_made(tmp_path: Path, lists: Path) -> None:
    (lists / "query.list").write_text("0019_c1_f0051230.jpg\n0500_c1_f0000001.jpg\n")
    with pytest.raises(DataSetError, match=r"1 of 4 listed images .* 0500_c1_f0000001\.jpg"):
        build_occluded_duke(make_zip(tmp_path), lists, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*files: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", stop)
    duke, before = make_zip(tmp_path), {*tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        build_occluded_duke(duke, lists, tmp_path / "out")
    assert {*tmp_path.iterdir()} == before | {duke}


def test_a_hostile_zip_writes_nothing_outside(tmp_path: Path, lists: Path) -> None:
    """Names that lead out of the folder, and a link: what is listed of them lands in its own folder as a plain file."""
    duke = make_zip(tmp_path, "../../")
    with zipfile.ZipFile(duke, "a") as archive:
        link = zipfile.ZipInfo("query/0019_c1_f0051230.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path))
    before = {*tmp_path.iterdir()}
    target = build_occluded_duke(duke, lists, tmp_path / "out")
    assert {*tmp_path.iterdir()} == before | {target}
    assert not any(path.is_symlink() for path in target.rglob("*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0001_c2_f0046182.jpg\n../../evil\n", "line 2: expected a name"),
        ("../../0001_c2_f0046182.jpg.exe\n", "line 1: expected a name"),
        ("\n", "is empty"),
    ],
)
def test_lists_hold_names_only(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.list").write_text(text)
    with pytest.raises(DataSetError, match=message):
        read_name_list(tmp_path / "x.list")


def test_bad_input(tmp_path: Path, lists: Path) -> None:
    with pytest.raises(DataSetError, match="cannot read the list of names"):
        build_occluded_duke(make_zip(tmp_path), tmp_path, tmp_path / "out")
    with pytest.raises(DataSetError, match="no such file"):
        build_occluded_duke(tmp_path / "none.zip", lists, tmp_path / "out")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(DataSetError, match="not a readable zip"):
        build_occluded_duke(tmp_path / "text.zip", lists, tmp_path / "out")
    with pytest.raises(FileExistsError, match="there already"):
        build_occluded_duke(make_zip(tmp_path), lists, tmp_path)
