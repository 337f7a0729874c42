"""Readers against trees made from the published name patterns."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from oamn_plugin.datasets.catalogue import load
from oamn_plugin.datasets.images import BadImageError, read_image
from oamn_plugin.datasets.readers import list_images, read_market_folder, read_market_layout
from oamn_plugin.datasets.records import DataSetError, Record, counts


def make(root: Path, *names: str) -> Path:
    """Empty files; a reader never opens an image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(records: list[Record]) -> list[tuple[str, int, int]]:
    return [(os.path.basename(r.path), r.pid, r.camid) for r in records]


def make_market(root: Path, folder: str = "Market-1501-v15.09.15") -> Path:
    return make(
        root,
        f"{folder}/bounding_box_train/0007_c3s3_077419_03.jpg",
        f"{folder}/bounding_box_train/0002_c1s1_000451_03.jpg",
        f"{folder}/bounding_box_train/Thumbs.db",
        f"{folder}/query/0001_c1s1_001051_00.jpg",
        f"{folder}/query/0003_c6s1_001051_00.jpg.jpg",
        f"{folder}/bounding_box_test/-1_c1s1_000401_03.jpg",
        f"{folder}/bounding_box_test/0000_c1s1_000151_01.jpg",
        f"{folder}/bounding_box_test/0001_c2s1_000151_01.JPG",
        f"{folder}/bounding_box_test/._0001_c2s1_000151_01.jpg",
    )


def test_market_drops_junk_and_keeps_distractors_in_the_gallery_only(tmp_path: Path) -> None:
    make(make_market(tmp_path), "Market-1501-v15.09.15/bounding_box_train/0000_c1s1_000151_01.jpg")
    split = load("Market1501", tmp_path)
    assert names(split.train) == [("0002_c1s1_000451_03.jpg", 2, 0), ("0007_c3s3_077419_03.jpg", 7, 2)]
    assert names(split.query) == [("0001_c1s1_001051_00.jpg", 1, 0), ("0003_c6s1_001051_00.jpg.jpg", 3, 5)]
    assert names(split.gallery) == [("0000_c1s1_000151_01.jpg", 0, 0), ("0001_c2s1_000151_01.JPG", 1, 1)]


@pytest.mark.parametrize("folder", ["Market-1501-v15.09.15", "market1501", "Market-1501", "MARKET_1501"])
def test_market_is_found_under_its_names(tmp_path: Path, folder: str) -> None:
    make_market(tmp_path, folder)
    assert len(load("Market1501", tmp_path).gallery) == 2
    assert load("Market1501", tmp_path / folder) == load("Market1501", tmp_path)


def test_a_folder_in_a_folder_of_the_same_name_is_found(tmp_path: Path) -> None:
    make_market(tmp_path, "market1501/Market-1501-v15.09.15")
    assert len(load("Market1501", tmp_path).train) == 2


def test_a_broken_folder_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "Market-1501").mkdir()
    make_market(tmp_path)
    assert len(load("Market1501", tmp_path).train) == 2


@pytest.mark.parametrize("folder", ["Occluded_Duke", "Occluded-DukeMTMC-reID", "occluded_duke"])
def test_occluded_duke(tmp_path: Path, folder: str) -> None:
    make(
        tmp_path,
        f"{folder}/bounding_box_train/0001_c2_f0046182.jpg",
        f"{folder}/query/0019_c1_f0051230.jpg",
        f"{folder}/bounding_box_test/0002_c8_f0044158.jpg",
    )
    split = load("OccludedDuke", tmp_path)
    assert names(split.train) == [("0001_c2_f0046182.jpg", 1, 1)]
    assert names(split.query) == [("0019_c1_f0051230.jpg", 19, 0)]
    assert names(split.gallery) == [("0002_c8_f0044158.jpg", 2, 7)]


def test_duke_is_not_taken_for_occluded_duke(tmp_path: Path) -> None:
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        make(tmp_path, f"DukeMTMC-reID/{part}/0001_c2_f0046182.jpg")
    assert counts(load("DukeMTMC", tmp_path).train).images == 1
    with pytest.raises(DataSetError, match="occluded-duke"):
        load("OccludedDuke", tmp_path)


@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".png", ".bmp", ".jpeg"])
def test_occluded_reid(tmp_path: Path, ending: str) -> None:
    make(
        tmp_path,
        f"Occluded_REID/occluded_body_images/001/001_01{ending}",
        f"Occluded_REID/occluded_body_images/200/200_05{ending}",
        f"Occluded_REID/whole_body_images/001/001_01{ending}",
    )
    split = load("OccludedREID", tmp_path)
    assert split.train == []
    assert names(split.query) == [(f"001_01{ending}", 1, 0), (f"200_05{ending}", 200, 0)]
    assert names(split.gallery) == [(f"001_01{ending}", 1, 1)]


@pytest.mark.parametrize("folder", ["Partial-REID_Dataset", "PartialREID", "Partial_REID"])
def test_partial_reid_has_two_protocols(tmp_path: Path, folder: str) -> None:
    make(
        tmp_path,
        f"{folder}/partial_body_images/001_002.jpg",
        f"{folder}/occluded_body_images/060_005.jpg",
        f"{folder}/whole_body_images/001_001.jpg",
    )
    assert names(load("PartialREID", tmp_path).query) == [("001_002.jpg", 1, 0)]
    assert names(load("PartialREIDOccluded", tmp_path).query) == [("060_005.jpg", 60, 0)]
    assert names(load("PartialREID", tmp_path).gallery) == [("001_001.jpg", 1, 1)]


@pytest.mark.parametrize("folder", ["Partial_iLIDS", "Partial-iLIDS"])
def test_partial_ilids(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/Probe/12.jpg", f"{folder}/Probe/119.jpg", f"{folder}/Gallery/12.jpg")
    split = load("PartialiLIDS", tmp_path)
    assert (names(split.query), names(split.gallery)) == ([("119.jpg", 119, 0), ("12.jpg", 12, 0)], [("12.jpg", 12, 1)])


def test_p_duke_takes_the_identity_from_the_folder(tmp_path: Path) -> None:
    make(
        tmp_path,
        "P-DukeMTMC-reid/train/occluded_body_images/0005/c1_f0051230.jpg",
        "P-DukeMTMC-reid/train/whole_body_images/0005/c2_f0051230.jpg",
        "P-DukeMTMC-reid/test/occluded_body_images/0009/0009_c1_f0051230.jpg",
        "P-DukeMTMC-reid/test/whole_body_images/0010/0010_c1_f0051230.jpg",
    )
    split = load("PDukeMTMC", tmp_path)
    assert [(r.pid, r.camid) for r in split.train] == [(5, 0), (5, 1)]
    assert [(r.pid, r.camid) for r in (*split.query, *split.gallery)] == [(9, 0), (10, 1)]


def make_msmt(root: Path, line: str) -> Path:
    make(root, "MSMT17_V1/train/x", "MSMT17_V1/test/x")
    for name in ("train", "query", "gallery"):
        (root / f"MSMT17_V1/list_{name}.txt").write_text(line + "\n\n")
    return root


def test_msmt17(tmp_path: Path) -> None:
    split = load("MSMT17", make_msmt(tmp_path, "0003/0003_012_04_0303morning_0060_1.jpg 3"))
    assert split.query[0][1:] == (3, 3)
    assert Path(split.query[0].path).parts[-3:-1] == ("test", "0003")


def test_msmt17_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"list_train\.txt, line 1"):
        load("MSMT17", make_msmt(tmp_path, "0003/photo.jpg 3"))


def test_a_missing_set_is_one_error_with_every_place(tmp_path: Path) -> None:
    with pytest.raises(DataSetError) as caught:
        load("Market1501", tmp_path)
    message = str(caught.value)
    for name in ("Market-1501-v15.09.15", "Market-1501", "market1501"):
        assert str(tmp_path / name) in message
    assert "bounding_box_train" in message
    assert "--root" in message
    assert "\n" not in message


def test_an_incomplete_set_says_what_lacks(tmp_path: Path) -> None:
    make(tmp_path, "Partial_iLIDS/Probe/1.jpg")
    with pytest.raises(DataSetError, match=r"Partial_iLIDS \(there, but without Gallery\)"):
        load("PartialiLIDS", tmp_path)


def test_strange_names_are_named_not_swallowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(make_market(tmp_path), "Market-1501-v15.09.15/query/holiday.jpg")
    with caplog.at_level(logging.WARNING):
        assert len(load("Market1501", tmp_path).query) == 2
    assert "1 images left out" in caplog.text
    assert "'holiday.jpg'" in caplog.text


def test_only_strange_names_is_an_error(tmp_path: Path) -> None:
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        make(tmp_path, *(f"{part}/photo{i}.jpg" for i in range(5)))
    with pytest.raises(DataSetError, match=r"5 images, none named so: 'photo0.jpg'"):
        read_market_layout(tmp_path)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    split = load("Market1501", make_market(tmp_path))
    assert all(part == sorted(part) for part in split)


REAL = os.environ.get("OAMN_REAL_DATA") or os.environ.get("FASTREID_DATASETS") or ""


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["Market1501", "PartialiLIDS", "PartialREID", "PartialREIDOccluded"])
def test_real_sets_have_the_published_counts(name: str, caplog: pytest.LogCaptureFixture) -> None:
    try:
        split = load(name, REAL or "datasets")
    except DataSetError:
        pytest.skip(f"{name} is not at hand: set OAMN_REAL_DATA or FASTREID_DATASETS to the folder that holds it")
    assert not caplog.records
    assert split.query


def test_a_link_to_itself_is_listed_and_refuses_no_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "below/b.jpg")
    (tmp_path / "x.jpg").symlink_to("x.jpg")
    (tmp_path / "below/up").symlink_to(tmp_path)
    (tmp_path / "below/caf\udce9.jpg").touch()
    found = list_images(tmp_path, recursive=True)
    assert [os.path.relpath(path, tmp_path) for path in found] == [
        "a.jpg",
        "below/b.jpg",
        "below/caf\udce9.jpg",
        "x.jpg",
    ]
    with pytest.raises(BadImageError):
        read_image(found[-1])


@pytest.mark.parametrize("part", ["query", "bounding_box_test"])
def test_a_market_set_of_junk_alone_is_refused(tmp_path: Path, part: str) -> None:
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        make(tmp_path, f"{name}/{'-1' if name == part else '0001'}_c1s1_000001_00.jpg")
    with pytest.raises(DataSetError, match=f"{part} holds nothing but junk"):
        read_market_layout(tmp_path)


def test_a_published_identity_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    make(tmp_path, f"{2**63}_c1s1_000001_00.jpg")
    with pytest.raises(DataSetError, match="beyond"):
        read_market_folder(tmp_path)
