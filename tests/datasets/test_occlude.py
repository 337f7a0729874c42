"""Occluded-query versions of holistic sets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oamn_plugin.datasets.images import BadImageError
from oamn_plugin.datasets.occlude import ObjectOccluder, occlude_dataset, occlude_pixels
from oamn_plugin.datasets.readers import read_market_folder, read_market_layout
from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES

QUERIES = ("0001_c1s1_000151_00.jpg", "0002_c2s1_000151_00.jpg.jpg", "0003_c3s1_000151_00.png")


@pytest.fixture
def market(tmp_path: Path) -> Path:
    folder = tmp_path / "Market-1501"
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / part).mkdir(parents=True)
        for name in QUERIES:
            Image.new("RGB", (32, 64), (90, 120, 150)).save(folder / part / name)
    return folder


def load_annotations(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "annotations.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_queries_are_occluded_and_the_rest_is_unchanged(market: Path, tmp_path: Path) -> None:
    before = snapshot(market)
    target = occlude_dataset(market, tmp_path / "new" / "occluded")
    split, original = read_market_layout(target), read_market_layout(market)
    for part, other in zip(split, original, strict=True):
        assert [r[1:] for r in part] == [r[1:] for r in other]
    for name in QUERIES:
        assert (target / "bounding_box_test" / name).read_bytes() == before[f"bounding_box_test/{name}"]
        assert (target / "query_holistic" / name).read_bytes() == before[f"query/{name}"]
        assert (target / "query" / name).read_bytes() != before[f"query/{name}"]
    assert len(read_market_folder(target / "query_holistic")) == len(QUERIES)
    assert snapshot(market) == before


def test_annotations_say_what_was_pasted(market: Path, tmp_path: Path) -> None:
    target = occlude_dataset(market, tmp_path / "out")
    annotations = load_annotations(target)
    assert tuple(annotations) == QUERIES
    for annotation in annotations.values():
        assert annotation["side"] in SIDES
        assert annotation["type"] in OCCLUSION_TYPES[1:]
        assert 0.2 <= float(annotation["area_fraction"]) <= 0.65
    changed = np.any(np.asarray(Image.open(target / "query" / QUERIES[2])) != (90, 120, 150), axis=2)
    assert changed.mean() == pytest.approx(float(annotations[QUERIES[2]]["area_fraction"]), abs=0.1)  # soft edges


def test_the_same_seed_gives_the_same_bytes(market: Path, tmp_path: Path) -> None:
    first = snapshot(occlude_dataset(market, tmp_path / "a", seed=3, copy=True))
    assert snapshot(occlude_dataset(market, tmp_path / "b", seed=3, copy=True)) == first
    assert snapshot(occlude_dataset(market, tmp_path / "c", seed=4, copy=True)) != first


def test_copies_do_not_depend_on_the_source(market: Path, tmp_path: Path) -> None:
    target = occlude_dataset(market, tmp_path / "out", copy=True)
    assert not any(path.is_symlink() for path in target.iterdir())


@pytest.mark.parametrize("size", [(64, 128), (33, 71), (400, 900), (20, 9)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    image, occluder = occlude_pixels(Image.new("RGB", size), (0, "x"))
    assert image.size == size
    assert occluder.rgba.shape == (size[1], size[0], 4)


def test_unreadable_queries_stop_or_are_left_out(market: Path, tmp_path: Path) -> None:
    (market / "query" / QUERIES[0]).write_bytes(b"")
    with pytest.raises(BadImageError, match=r"0001_c1s1_000151_00\.jpg.*empty"):
        occlude_dataset(market, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["Market-1501"]
    assert tuple(load_annotations(occlude_dataset(market, tmp_path / "out", policy="skip"))) == QUERIES[1:]


def test_names_that_are_not_utf_8_are_kept(market: Path, tmp_path: Path) -> None:
    name = "0004_c1s1_caf\udce9.jpg"
    (market / "query" / QUERIES[0]).rename(market / "query" / name)
    assert name in load_annotations(occlude_dataset(market, tmp_path / "out"))


def test_pipes_and_devices_are_not_copied(market: Path, tmp_path: Path) -> None:
    (market / "bounding_box_train" / "zero.jpg").symlink_to("/dev/zero")
    with pytest.raises(DataSetError, match=r"zero\.jpg is not a regular file"):
        occlude_dataset(market, tmp_path / "out", copy=True)


def test_bad_input(market: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="has no bounding_box_train, query, bounding_box_test"):
        occlude_dataset(tmp_path, tmp_path / "out")
    with pytest.raises(FileExistsError, match="is there already"):
        occlude_dataset(market, market)
    with pytest.raises(ValueError, match="fail, skip"):
        occlude_dataset(market, tmp_path / "out", policy="maybe")


def test_held_out_queries_get_an_object_each_always_the_same() -> None:
    image, occluder = Image.new("L", (64, 128), 90), ObjectOccluder(5)
    found = {name: occluder(image, f"a/{name}") for name in QUERIES}
    again = {name: ObjectOccluder(5)(image, f"b/{name}") for name in QUERIES}
    for name, one in found.items():
        assert np.array_equal(one.image, again[name].image)
        assert one.side in SIDES
        assert one.image.size == (64, 128)
        changed = (np.asarray(one.image) != 90).any(2).mean()
        assert 0 < one.area <= 1
        assert changed >= 0.8 * one.area
    assert len({np.asarray(one.image).tobytes() for one in found.values()}) == 3
    other = ObjectOccluder(6)(image, f"a/{QUERIES[0]}")
    assert not np.array_equal(other.image, found[QUERIES[0]].image)


def test_only_kinds_that_no_training_has_shown() -> None:
    image = Image.new("RGB", (32, 64), "grey")
    chosen, signs = ObjectOccluder(5), ObjectOccluder(5, ["sign"])
    for name in QUERIES:
        assert signs(image, name).side == "top", "a sign hangs from there"
    assert {chosen(image, str(number)).side for number in range(8)} != {"top"}
