"""Nobody in this gallery: the threshold keeps its rate on strangers, and what it cannot be learnt from is refused."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from index_crops import make_crops, make_encoder

from oamn_plugin.search.calibration import (
    NOTE,
    CalibrationError,
    Threshold,
    calibrate,
    outdated,
    own_images,
    usable_threshold,
)
from oamn_plugin.search.faiss_files import IndexFileError
from oamn_plugin.search.gallery import GalleryImage, read_gallery
from oamn_plugin.search.index import GalleryIndex, Match


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    encoder = make_encoder(unification="matched")
    make_crops(folder / "crops", 80)
    images = read_gallery(folder / "crops")
    index = GalleryIndex(folder / "index", encoder)
    index.add(images[::2])
    return index, encoder, images[1::2]


def straight(index, encoder, queries):
    """Nearest distance of each query without its own person, by comparing all with all."""
    described = encoder.queries([torch.stack([encoder.read(query.path) for query in queries])])
    lists = index.search(described, len(index))
    return [
        min(match.distance for match in matches if match.image.pid != query.pid and match.image.path != query.path)
        for query, matches in zip(queries, lists, strict=True)
    ]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_the_share_of_strangers_below_the_threshold_is_the_rate(world, rate):
    index, encoder, queries = world
    threshold = calibrate(index, encoder, queries, rate)
    below = sum(value <= threshold.distance for value in straight(index, encoder, queries))
    assert below == int(rate * (len(queries) + 1))
    assert (threshold.strangers, threshold.people, threshold.gallery) == (40, 20, 40)
    assert threshold.pairs == sum(sum(image.pid != query.pid for image in index.images) for query in queries)


def test_the_gallerys_own_images_are_compared_with_other_people_only(world):
    index, encoder, _ = world
    threshold = calibrate(index, encoder, own_images(index), 0.1)
    expected = sorted(straight(index, encoder, index.images))[int(0.1 * 41) - 1]
    assert threshold.distance == pytest.approx(expected)


def test_people_who_are_there_and_turned_away_are_counted(world):
    index, encoder, queries = world
    strict, lenient = (calibrate(index, encoder, queries, rate).turned_away for rate in (0.05, 0.9))
    assert strict is not None
    assert lenient is not None
    assert strict >= lenient


def test_a_gallery_without_identities_takes_strangers_without_identities(world, tmp_path):
    _, encoder, queries = world
    unnamed = [GalleryImage(query.path) for query in queries]
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(unnamed[:20])
    threshold = calibrate(index, encoder, unnamed[20:], 0.2)
    assert (threshold.strangers, threshold.people, threshold.turned_away) == (20, 0, None)
    with pytest.raises(CalibrationError, match="knows no identities"):
        own_images(index)


def test_what_cannot_be_calibrated_is_refused(world, tmp_path):
    index, encoder, queries = world
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        calibrate(index, encoder, queries, 1.0)
    with pytest.raises(CalibrationError, match="at least 99"):
        calibrate(index, encoder, queries, 0.01)
    with pytest.raises(CalibrationError, match="1 of 3 images have no identity"):
        calibrate(index, encoder, [GalleryImage(queries[0].path), *queries[1:3]], 0.5)
    alone = GalleryIndex(tmp_path / "alone", encoder)
    alone.add([queries[0]])
    with pytest.raises(CalibrationError, match="two people"):
        calibrate(alone, encoder, [queries[0]] * 3, 0.5)


def test_it_is_kept_and_no_longer_used_where_it_no_longer_holds(world, tmp_path):
    index, encoder, queries = world
    threshold = calibrate(index, encoder, queries, 0.1)
    index.save_note(NOTE, asdict(threshold))
    assert usable_threshold(index) == (threshold, "")
    assert outdated(threshold, index) == ""
    assert "100 images" in outdated(replace(threshold, gallery=100), index)
    other = {**threshold.unification, "temperature": 0.5}
    assert "temperature" in outdated(replace(threshold, unification=other), index)
    index.encoder.unification = replace(index.unification, kind="none")
    plain = {"kind": "none", "temperature": 0.3}
    assert outdated(replace(threshold, unification=plain), index) == "", "plain distances have no temperature"
    (index.folder / "threshold.json").write_text('{"distance": "near"}')
    with pytest.raises(IndexFileError, match="calibrate again"):
        usable_threshold(index)
    (index.folder / "threshold.json").unlink()
    assert usable_threshold(index) == (None, "")


def test_accepts_the_nearest_match_alone():
    threshold = Threshold(0.5, 0.1, 10, 5, 50, 10, None, {})
    near, far = Match(GalleryImage("a"), 0.5, "none"), Match(GalleryImage("b"), 0.6, "none")
    assert threshold.accepts([near, far])
    assert not threshold.accepts([far])
    assert not threshold.accepts([])
