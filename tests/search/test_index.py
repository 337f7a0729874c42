"""The gallery index: the evaluator's ranks, additions, removals, types on demand, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from index_crops import contents, make_crops, make_encoder

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval import evaluate_ranking, unify
from oamn_plugin.search.files import GalleryIndexError, IndexFileError, locked
from oamn_plugin.search.gallery import GalleryImage, numbered, read_gallery
from oamn_plugin.search.index import GalleryIndex, exact_search

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    make_crops(folder / "gallery", 40)
    make_crops(folder / "query", 20, seed=0)
    return folder


@pytest.fixture(scope="module")
def built(crops, encoder, tmp_path_factory):
    index = GalleryIndex(tmp_path_factory.mktemp("built") / "index", encoder)
    index.add(read_gallery(crops / "gallery"))
    return index


@pytest.fixture(scope="module")
def queries(crops, encoder):
    images = read_gallery(crops / "query")
    return images, encoder.queries([torch.stack([encoder.read(image.path) for image in images])])


def pixels(encoder, images):
    return encoder.normalise(torch.stack([encoder.read(image.path) for image in images]))


def test_scores_are_the_evaluators(built, encoder, queries):
    images, described = queries
    assert len(set(described.type_names)) > 2, "the queries must differ in type for this test to say anything"
    gallery = built.images
    batches = [pixels(encoder, gallery[start : start + 32]) for start in (0, 32)]
    both = unify(encoder.model, [pixels(encoder, images)], batches, encoder.options)
    pids = numbered([i.pid for i in images], [i.pid for i in gallery])
    cams = numbered([i.camid for i in images], [i.camid for i in gallery])
    expected = evaluate_ranking(
        both.queries.descriptors, both.gallery, *pids, *cams, query_types=both.queries.type_names
    )
    found = built.evaluate(described, images)
    for name, array in expected.per_query().items():
        np.testing.assert_array_equal(found.per_query()[name], array)
    assert found.to_percent() == expected.to_percent()


def test_search_gives_the_same_first_ranks(built, queries):
    images, described = queries
    expected = built.evaluate(described, images).first_rank
    for image, matches, first in zip(images, built.search(described, len(built)), expected, strict=True):
        kept = [m for m in matches if (m.image.pid, m.image.camid) != (image.pid, image.camid)]
        hits = [rank for rank, m in enumerate(kept, start=1) if m.image.pid == image.pid]
        assert (hits or [0])[0] == first


@pytest.mark.parametrize("plain", [False, True])
def test_search_against_a_loop(built, queries, plain):
    _, described = queries
    for row, matches in enumerate(built.search(described, 7, plain=plain)):
        name = "none" if plain else described.type_names[row]
        rows = built.descriptors(name)
        distances = [float(((described.descriptors[row].numpy() - g) ** 2).sum()) for g in rows]
        np.testing.assert_allclose([m.distance for m in matches], sorted(distances)[:7], atol=1e-5)
        assert {m.type_name for m in matches} == {name}


@pytest.mark.parametrize("k", [1, 3, 4, 5, 9])
def test_equal_distances_come_in_gallery_order(k):
    gallery = np.eye(4, dtype=np.float32)[[1, 0, 0, 2, 0, 0, 3, 0, 1]]
    rows, distances = next(iter(exact_search(gallery[1:2], gallery, k)))
    assert rows.tolist() == [1, 2, 4, 5, 7, 0, 3, 6, 8][:k]
    assert np.all(np.diff(distances) >= 0)


def test_adding_later_and_twice(crops, encoder, built, tmp_path):
    images = read_gallery(crops / "gallery")
    index = GalleryIndex(tmp_path / "index", encoder)
    assert index.add(images[:10], types=["none", "top_half"]) == 10
    assert index.add(images) == 30, "what is there is not added again"
    assert index.add(images) == 0
    assert index.types == ("none", "top_half")
    assert [i.path for i in index.images] == [i.path for i in built.images]
    for name in index.types:
        np.testing.assert_allclose(index.descriptors(name), built.descriptors(name), atol=1e-5)


def test_types_one_at_a_time_and_on_demand(crops, encoder, built, queries, tmp_path):
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(crops / "gallery"), types=["none"])
    index.build(["left_quarter"])
    assert index.types == ("none", "left_quarter")
    _, described = queries
    found, expected = index.search(described, 5), built.search(described, 5)
    assert [[m.image.path for m in row] for row in found] == [[m.image.path for m in row] for row in expected]
    index.build()
    assert index.types == OCCLUSION_TYPES
    assert contents(index.folder) == contents(built.folder), "whatever the order, the same index"


def test_a_missing_type_needs_a_model(crops, encoder, queries, tmp_path):
    GalleryIndex(tmp_path / "index", encoder).add(read_gallery(crops / "gallery"), types=["none"])
    reader = GalleryIndex(tmp_path / "index")
    assert len(reader.search(queries[1], 3, plain=True)[0]) == 3
    with pytest.raises(GalleryIndexError, match="run index --types"):
        reader.search(queries[1], 3)


def test_removing(crops, encoder, queries, tmp_path):
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(crops / "gallery"), types=["none"])
    gone = [image.path for image in index.images[::3]]
    with pytest.raises(GalleryIndexError, match=r"1 of 15 images are not in .*never there: nothing was removed"):
        index.remove([*gone, tmp_path / "never there"])
    assert len(index) == 40
    assert index.remove(gone) == len(gone)
    assert len(index) == 40 - len(gone) == len(GalleryIndex(index.folder))
    paths = {match.image.path for row in index.search(queries[1], 100, plain=True) for match in row}
    assert paths == {image.path for image in index.images}
    assert not paths & set(gone)
    assert index.add([GalleryImage(path) for path in gone]) == len(gone)
    assert len(index.descriptors("none")) == 40


def test_unreadable_images_are_listed_and_tried_again(crops, encoder, tmp_path):
    make_crops(tmp_path / "gallery", 6)
    good, bad = tmp_path / "gallery" / "zz.png", tmp_path / "gallery" / "aa.png"
    bad.write_text("no image")
    good.write_bytes((crops / "gallery" / "0001_c1s1_000000_00.png").read_bytes())
    index = GalleryIndex(tmp_path / "index", encoder)
    assert index.add(read_gallery(tmp_path / "gallery"), types=["none"]) == 7
    assert list(index.unreadable) == [str(bad)]
    assert "not an image" in index.unreadable[str(bad)]
    before = contents(index.folder)
    assert index.add(read_gallery(tmp_path / "gallery")) == 0
    assert contents(index.folder) == before
    bad.write_bytes(good.read_bytes())
    assert index.add(read_gallery(tmp_path / "gallery")) == 1
    assert index.unreadable == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "weights .* in the index"),
        ({"gallery_features": "clean"}, "gallery_features is 'occluded' in the index, 'clean' now"),
        ({"mask_floor": 0.5}, "mask_floor is 0.0 in the index, 0.5 now"),
    ],
)
def test_other_weights_and_settings_are_refused(built, other, message):
    with pytest.raises(GalleryIndexError, match=message):
        GalleryIndex(built.folder, make_encoder(**other))


def test_thresholds_do_not_matter_to_a_gallery(built):
    assert len(GalleryIndex(built.folder, make_encoder(half_threshold=0.9))) == 40


def test_without_unification_there_is_one_type(crops, tmp_path):
    plain = make_encoder(mask_module=False)
    index = GalleryIndex(tmp_path / "index", plain)
    index.add(read_gallery(crops / "gallery"))
    assert index.types == ("none",)
    with pytest.raises(GalleryIndexError, match="choose of none"):
        index.build(["top_half"])


def test_one_writer_at_a_time(crops, encoder, tmp_path):
    index = GalleryIndex(tmp_path / "index", encoder)
    with locked(index.folder), pytest.raises(GalleryIndexError, match="another process is writing"):
        GalleryIndex(tmp_path / "index", encoder).add(read_gallery(crops / "gallery"))


def test_what_is_no_index(built, encoder, tmp_path):
    with pytest.raises(GalleryIndexError, match="no gallery index in"):
        GalleryIndex(tmp_path / "nothing")
    (tmp_path / "file.txt").touch()
    with pytest.raises(GalleryIndexError, match="not empty"):
        GalleryIndex(tmp_path, encoder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(GalleryIndexError, match="holds no image"):
        GalleryIndex(tmp_path / "empty", encoder).search(None, 3)
    with pytest.raises(GalleryIndexError, match="cannot describe the types left"):
        built.build(["left"])


@pytest.mark.parametrize("damage", ["cut", "garbage", "other width", "absent numbers", "too few rows"])
def test_damaged_files_are_refused(crops, encoder, tmp_path, queries, damage):
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(crops / "gallery")[:5], types=["none"])
    path = tmp_path / "index" / "types" / "none.npy"
    content = path.read_bytes()
    path.write_bytes({
        "cut": content[:-100],
        "garbage": os.urandom(len(content)),
        "other width": content.replace(b"(5, 512)", b"(5, 256)"),
        "absent numbers": content.replace(b"(5, 512)", b"(5, 9" + b"9" * 12 + b")")[: len(content)],
        "too few rows": content.replace(b"(5, 512)", b"(4, 512)"),
    }[damage])  # fmt: skip
    assert path.read_bytes() != content
    with pytest.raises(IndexFileError, match=r"damaged|4 descriptors of 5"):
        GalleryIndex(tmp_path / "index", encoder).search(queries[1], 3, plain=True)


def test_rows_beyond_the_numbers_are_never_seen(crops, encoder, tmp_path, queries):
    """What a killed process has begun to add."""
    images = read_gallery(crops / "gallery")
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(images[:5], types=["none"])
    before, path = index.search(queries[1], 9, plain=True), tmp_path / "index" / "types" / "none.npy"
    path.write_bytes(path.read_bytes() + os.urandom(999))
    again = GalleryIndex(tmp_path / "index", encoder)
    assert again.search(queries[1], 9, plain=True) == before
    again.add(images[5:9])
    fresh = GalleryIndex(tmp_path / "fresh", encoder)
    fresh.add(images[:5], types=["none"])
    fresh.add(images[5:9])
    assert contents(again.folder) == contents(fresh.folder)


@pytest.mark.parametrize("name", ["index.json", "images.json"])
def test_damaged_records_are_refused(crops, encoder, tmp_path, name):
    GalleryIndex(tmp_path / "index", encoder).add(read_gallery(crops / "gallery")[:5], types=["none"])
    for content, message in (("{", "damaged"), (json.dumps([{"a": 1}]), "damaged|no gallery index")):
        (tmp_path / "index" / name).write_text(content)
        with pytest.raises((IndexFileError, GalleryIndexError), match=message):
            GalleryIndex(tmp_path / "index", encoder)


def test_descriptors_that_lack_images_are_refused(built, crops, encoder, tmp_path):
    make_crops(tmp_path / "gallery", 4)
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(tmp_path / "gallery"), types=["none"])
    Path(index.images[0].path).unlink()
    index.build(["top_half"])
    assert len(index.descriptors("none")) == 4
    with pytest.raises(GalleryIndexError, match="could not be read for top_half"):
        index.descriptors("top_half")
