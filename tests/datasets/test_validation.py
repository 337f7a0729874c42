"""Identities held out of training, and the occlusion of their queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oamn_plugin.datasets.records import Record
from oamn_plugin.datasets.validation import (
    QueryCutter,
    QueryOccluder,
    occlude,
    occlusion_rng,
    split_identities,
)

COLOURS = [Image.new("RGB", (64, 128), colour) for colour in ("red", "lime", "blue")]
BLACK = Image.new("RGB", (64, 128))


def training(num_ids: int = 12, cameras: int = 3, images: int = 2) -> list[Record]:
    return [
        Record(f"train/{pid:04}_c{camid + 1}_{i}.jpg", pid, camid)
        for pid in range(1, num_ids + 1)
        for camid in range(cameras)
        for i in range(images)
    ]


def assert_each_query_can_be_found(query: list[Record], gallery: list[Record]) -> None:
    for record in query:
        assert any(other.pid == record.pid and other.camid != record.camid for other in gallery)


def test_identities_are_held_out_whole() -> None:
    train = training()
    held = split_identities(train, 4)
    out = {r.pid for r in (*held.query, *held.gallery)}
    assert len(out) == 4
    assert not out & {r.pid for r in held.train}
    assert sorted((*held.train, *held.query, *held.gallery)) == sorted(train)  # nothing lost, nothing twice
    assert len(held.query) == 4 * 3  # one a camera
    assert_each_query_can_be_found(held.query, held.gallery)


def test_the_choice_depends_on_the_seed_alone() -> None:
    train = training()
    moved = [record._replace(path="/elsewhere/" + record.path) for record in reversed(train)]
    first, second = split_identities(train, 4, seed=1), split_identities(moved, 4, seed=1)
    assert [r.path for r in first.query] == [r.path.removeprefix("/elsewhere/") for r in second.query]
    chosen = {tuple(sorted({r.pid for r in split_identities(train, 4, seed).query})) for seed in range(8)}
    assert len(chosen) > 4


def test_more_held_out_identities_include_the_fewer() -> None:
    fewer, more = (({r.pid for r in split_identities(training(), n).query}) for n in (3, 6))
    assert fewer < more


def test_identities_of_several_cameras_come_first() -> None:
    train = [*training(4), *(Record(f"{pid}_{i}.jpg", pid, 0) for pid in range(50, 80) for i in range(4))]
    assert {r.pid for r in split_identities(train, 4).query} == {1, 2, 3, 4}


def test_a_single_camera_gets_a_second_one() -> None:
    held = split_identities(training(cameras=1, images=3), 5)
    assert len(held.query) == 5
    assert_each_query_can_be_found(held.query, held.gallery)


def test_one_image_a_camera_still_leaves_a_gallery() -> None:
    held = split_identities(training(images=1), 5)
    assert len(held.query) == 5
    assert_each_query_can_be_found(held.query, held.gallery)


@pytest.mark.parametrize("num_ids", [0, 12, 13])
def test_impossible_numbers_are_refused(num_ids: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 11"):
        split_identities(training(), num_ids)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 200), st.integers(8, 200))
def test_occlusion_lies_at_its_side_and_covers_what_it_says(seed: int, width: int, height: int) -> None:
    image = Image.new("RGB", (width, height))
    result = occlude(image, occlusion_rng(seed, "x.jpg"), COLOURS[0])
    covered = np.asarray(result.image)[..., 0] > 0
    assert result.area == pytest.approx(covered.mean())
    slack = 1 / width + 1 / height  # rounding to whole pixels
    assert 0.2 - slack <= result.area <= 0.6 + slack
    edges = {"left": covered[:, 0], "right": covered[:, -1], "top": covered[0], "bottom": covered[-1]}
    assert edges[result.side].mean() >= 0.7 - slack
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # one rectangle
    assert not np.asarray(image).any()  # the input is left as it is


def test_every_side_and_the_whole_range_of_areas_occur() -> None:
    results = [occlude(BLACK, occlusion_rng(0, f"{i}.jpg"), COLOURS[0]) for i in range(200)]
    assert {r.side for r in results} == {"left", "right", "bottom", "top"}
    areas = [r.area for r in results]
    assert min(areas) < 0.25
    assert max(areas) > 0.55


def test_a_tiny_source_or_image() -> None:
    occlude(BLACK, occlusion_rng(0, "a"), Image.new("RGB", (1, 1)))
    with pytest.raises(ValueError, match="too small"):
        occlude(Image.new("RGB", (4, 4)), occlusion_rng(0, "a"), BLACK)


def test_a_query_gets_the_same_occluder_at_every_evaluation(tmp_path: Path) -> None:
    paths = []
    for index, colour in enumerate(COLOURS):
        paths.append(str(tmp_path / f"{index}.png"))
        colour.save(paths[-1])
    first, second = QueryOccluder(paths, seed=5), QueryOccluder(paths[::-1], seed=5)
    for name in ("a.jpg", "b.jpg"):
        once, again = first(BLACK, f"here/{name}"), second(BLACK, f"there/{name}")
        assert once[1:3] == again[1:3]
        np.testing.assert_array_equal(np.asarray(once.image), np.asarray(again.image))
        np.testing.assert_array_equal(once.covered, again.covered)
        assert once.covered.mean() == pytest.approx(once.area)
    outcomes = {QueryOccluder(paths, seed=seed)(BLACK, "a.jpg")[1:3] for seed in range(6)}
    assert len(outcomes) > 3
    with pytest.raises(ValueError, match="source"):
        QueryOccluder([])


def test_a_cut_takes_the_side_and_area_that_it_names() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 60, 3), dtype=np.uint8)
    cutter, sides = QueryCutter(3), []
    for i in range(60):
        found = cutter(Image.fromarray(pixels), f"a/{i}.jpg")
        assert cutter(Image.fromarray(pixels), f"elsewhere/{i}.jpg").area == found.area
        left = np.asarray(found.image)
        rows, columns = left.shape[:2]
        assert 0.25 <= found.area <= 0.6
        assert abs(1 - rows * columns / (120 * 60) - found.area) < 0.02
        top, start = (120 - rows if found.side == "top" else 0), (60 - columns if found.side == "left" else 0)
        assert np.array_equal(left, pixels[top : top + rows, start : start + columns])
        sides.append(found.side)
    assert set(sides) == {"left", "right", "bottom", "top"}
    assert 20 <= sides.count("bottom") <= 40
