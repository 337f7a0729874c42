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
from oamn_plugin.retrieval import evaluate_ranking
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search import descriptor_files
from oamn_plugin.search.descriptor_files import Rows
from oamn_plugin.search.files import GalleryIndexError, IndexFileError, locked
from oamn_plugin.search.gallery import GalleryImage, numbered, read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.nearest import exact_nearest

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


def test_scores_are_the_evaluators(built, encoder, queries):
    images, described = queries
    assert len(set(described.type_names)) > 2, "the queries must differ in type for this test to say anything"
    gallery = built.images
    batches = [torch.stack([encoder.read(image.path) for image in gallery[start : start + 32]]) for start in (0, 32)]
    parts = [encoder.gallery(batch, encoder.types) for batch in batches]
    sides = {name: torch.cat([part[name] for part in parts]).numpy() for name in encoder.types}
    pids = numbered([i.pid for i in images], [i.pid for i in gallery])
    cams = numbered([i.camid for i in images], [i.camid for i in gallery])
    expected = evaluate_ranking(described.descriptors, sides, *pids, *cams, query_types=described.type_names)
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
    rows, distances = next(exact_nearest(gallery[1:2], [Rows(np.arange(9), gallery)], None, k))
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
        reader.descriptors("left_half")


@pytest.mark.parametrize("reader", [False, True])
def test_a_type_that_does_not_exist_is_refused(built, reader):
    """It was looked for on the disk."""
    index = GalleryIndex(built.folder) if reader else built
    with pytest.raises(GalleryIndexError, match=r"cannot describe the types lefthalf: choose of none, left_half, "):
        index.descriptors("lefthalf")


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
        ({"gallery_features": "clean"}, "clean_features is False in the index, True now"),
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
    plain.unification = Unification("none")
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
def test_damaged_files_are_refused(crops, encoder, tmp_path, queries, damage, monkeypatch):
    monkeypatch.setattr(descriptor_files, "sleep", lambda _: None)
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
    first = Path(index.images[0].path)
    content, stamp = first.read_bytes(), first.stat()
    first.write_bytes(b"no image")
    index.build(["top_half"])
    assert len(index.descriptors("none")) == 4
    with pytest.raises(GalleryIndexError, match=r"lacks descriptors of type top_half .*run index"):
        index.descriptors("top_half")
    first.write_bytes(content)
    os.utime(first, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert index.add(read_gallery(tmp_path / "gallery")) == 0
    assert index.changes == (0, 1, 0)
    assert len(index.descriptors("top_half")) == len(index.descriptors("none")) == 4
    assert index.unreadable == {}


def test_types_are_not_built_while_the_gallery_is_gone(small, tmp_path, queries):
    """A search of an unplugged gallery left types behind without descriptors, which nothing repaired."""
    before = contents(small.folder)
    (tmp_path / "gallery").rename(tmp_path / "away")
    with pytest.raises(GalleryIndexError, match=r"and 8 of 8 images are not where they were, such as .*png"):
        small.search(queries[1], 3)
    assert contents(small.folder) == before
    (tmp_path / "away").rename(tmp_path / "gallery")
    assert len(small.search(queries[1], 3)) == 20


@pytest.fixture
def small(tmp_path, encoder):
    """An index of eight images of its own, which a test may spoil."""
    make_crops(tmp_path / "gallery", 8)
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(tmp_path / "gallery"), types=["none"])
    return index


def test_a_corrected_pattern_is_heeded_without_encoding_anew(small, tmp_path):
    before = small.descriptors("none").copy()
    assert small.add(read_gallery(tmp_path / "gallery", r"s1_0*(?P<pid>\d+)_")) == 0
    assert small.changes == (0, 0, 8)
    assert [image.pid for image in small.images] == [str(int(i.name.split("_")[2])) for i in small.images]
    np.testing.assert_array_equal(small.descriptors("none"), before)


def test_a_replaced_file_is_encoded_anew(small, tmp_path, encoder):
    first = Path(small.images[0].path)
    make_crops(tmp_path / "other", 2, seed=5)
    first.write_bytes(sorted((tmp_path / "other").iterdir())[0].read_bytes())
    assert small.add(read_gallery(tmp_path / "gallery")) == 0
    assert small.changes == (0, 1, 0)
    assert len(small) == 8
    assert small.images[-1].path == str(first)
    expected = encoder.gallery(encoder.read(str(first))[None], ["none"])["none"][0]
    np.testing.assert_allclose(small.descriptors("none")[-1], expected, atol=1e-5)


def test_vanished_files_are_reported(small, tmp_path):
    gone = small.images[3].path
    Path(gone).unlink()
    small.add(read_gallery(tmp_path / "gallery"))
    assert small.vanished == [gone]
    assert len(small) == 8


def test_an_open_index_notices_the_changes_of_another_process(small, tmp_path, encoder, queries):
    reader = GalleryIndex(small.folder, encoder)
    reader.search(queries[1], 3, plain=True)
    small.remove([image.path for image in small.images[:7]])
    make_crops(tmp_path / "more", 7, seed=9)
    small.add(read_gallery(tmp_path / "more"))
    found = reader.search(queries[1], 99, plain=True)
    assert found == GalleryIndex(small.folder, encoder).search(queries[1], 99, plain=True)
    assert {m.image.path for m in found[0]} == {image.path for image in small.images}


def test_a_path_is_the_same_however_it_is_written(small, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    name = Path(small.images[0].path).name
    assert small.add(read_gallery("../gallery")) == 0
    assert small.remove([f"../gallery/{name}"]) == 1


def test_numbers_are_never_used_again(small, tmp_path):
    numbers = set(small._files.known)
    last = small.images[-1]
    small.remove([last.path])
    small.add([last])
    assert max(small._files.known) == max(numbers) + 1


def test_an_index_begun_twice_by_different_models_keeps_to_one(tmp_path, encoder):
    make_crops(tmp_path / "gallery", 4)
    both = [GalleryIndex(tmp_path / "index", one) for one in (encoder, make_encoder(1))]
    both[0].add(read_gallery(tmp_path / "gallery"), ["none"])
    with pytest.raises(GalleryIndexError, match="was built with another model"):
        both[1].add(read_gallery(tmp_path / "gallery"), ["none"])


@pytest.mark.parametrize("layer", ["last stride", "stem"])
def test_layers_that_weights_do_not_tell_belong_to_the_identity(layer):
    one, other = make_encoder(), make_encoder()
    if layer == "stem":
        stem = next(m for m in other.model.modules() if isinstance(m, torch.nn.Conv2d))
        stem.stride = (1, 1)
    else:
        last = [m for m in other.model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)][-2]
        last.stride = (2, 2) if last.stride == (1, 1) else (1, 1)
    assert one.identity().weights == other.identity().weights
    assert one.identity() != other.identity()


def test_a_descriptor_that_is_not_finite_makes_its_image_unreadable(tmp_path, encoder, queries, monkeypatch):
    make_crops(tmp_path / "gallery", 5)
    describe = encoder.gallery

    def spoilt(pixels, names):
        rows = {name: one.clone() for name, one in describe(pixels, names).items()}
        rows[names[-1]][2] = float("nan")
        return rows

    index = GalleryIndex(tmp_path / "index", encoder)
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "gallery", spoilt)
        index.add(read_gallery(tmp_path / "gallery"), ["none", "left_half"])
    assert len(index) == 4
    assert list(index.unreadable.values()) == ["the model's descriptor of it is not finite"]
    assert all(np.isfinite(m.distance) for m in index.search(queries[1], 9, plain=True)[0])
    assert index.add(read_gallery(tmp_path / "gallery")) == 1
    assert len(index.descriptors("left_half")) == 5


def test_an_index_in_which_nothing_can_be_read_is_an_error(tmp_path, encoder):
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(GalleryIndexError, match=r"none of the 1 images could be read, such as .*bad.png"):
        GalleryIndex(tmp_path / "index", encoder).add([GalleryImage(str(tmp_path / "bad.png"))], ["none"])


def test_paths_through_a_parent_folder_are_the_same_image(small, tmp_path):
    (tmp_path / "deep").mkdir()
    twice = [GalleryImage(f"{tmp_path}/deep/../gallery/{image.name}", image.pid, image.camid) for image in small.images]
    assert small.add(twice) == 0
    assert small.remove([twice[0].path]) == 1


def test_names_that_are_not_utf_8_come_back(tmp_path, encoder):
    make_crops(tmp_path / "gallery", 4)
    odd = os.fsdecode(bytes(tmp_path / "gallery") + b"/caf\xe9.png")
    os.rename(read_gallery(tmp_path / "gallery")[0].path, odd)
    GalleryIndex(tmp_path / "index", encoder).add(read_gallery(tmp_path / "gallery"), ["none"])
    assert odd in [image.path for image in GalleryIndex(tmp_path / "index").images]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", {"format": 2, "dim": "512", "weights": "a", "settings": {}}),
        ("index.json", {"format": 2, "dim": 10**12, "weights": "a", "settings": {}}),
        ("index.json", {"format": 1, "dim": 512, "weights": "a", "settings": {}, "approximate": None}),
        ("images.json", {"next": "9", "images": []}),
        ("images.json", {"next": 9, "images": [[0, "a", "", "", [], 1, 1]]}),
        ("images.json", {"next": 9, "images": [[True, "a", "", "", {}, 1, 1]]}),
        ("images.json", {"next": 9, "images": [["0", 7, "", "", {}, 1, 1]]}),
        ("images.json", {"next": 1, "images": [[5, "a", "", "", {}, 1, 1]]}),
        ("images.json", {"next": 9, "images": 5}),
        ("images.json", 7),
        ("unreadable.json", [1]),
        ("pending/plan.json", {"types": ["../../x"], "new": True, "removed": [], "images": []}),
        ("pending/plan.json", {"types": 5, "new": True, "removed": [], "images": []}),
        ("pending/plan.json", {"types": ["none"], "new": True, "removed": ["x"], "images": []}),
        ("pending/plan.json", {"types": ["none"], "new": True, "removed": [], "images": [[1, 2]]}),
        ("approximate.json", {"chosen": {"probes": "many"}}),
    ],
)
def test_wrong_types_in_records_are_one_message(small, tmp_path, encoder, queries, name, content):
    path = small.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    (small.folder / "approximate").mkdir(exist_ok=True)
    (small.folder / "approximate" / "none.faiss").touch()

    def use() -> None:
        index = GalleryIndex(small.folder, encoder)
        index.search(queries[1], 3, plain=True)
        index.add(read_gallery(tmp_path / "gallery"))
        print(index.unreadable)

    with pytest.raises((IndexFileError, GalleryIndexError), match=r"damaged|older version|not of format 2"):
        use()
    assert not list(tmp_path.rglob("x"))


def test_a_query_without_identity_is_not_scored(small, queries):
    with pytest.raises(GalleryIndexError, match="20 of 20 queries have no identity"):
        small.evaluate(queries[1], [GalleryImage(image.path) for image in queries[0]], plain=True)


def test_queries_are_refused_by_their_labels_in_the_evaluators_words(small, queries):
    small.check_scorable(queries[0])
    images = [image._replace(camid="") for image in queries[0]]
    small.check_scorable(images)  # without cameras the two count as taken by two
    alone = [GalleryImage("a.png", "nobody", "1"), GalleryImage("b.png", small.images[0].pid, small.images[0].camid)]
    small.remove([image.path for image in small.images[1:]])
    with pytest.raises(ValueError, match="none of the 2 queries has a match") as evaluators:
        small.evaluate(small.encoder.queries([torch.zeros(2, 3, 64, 32)]), alone, plain=True)
    with pytest.raises(GalleryIndexError) as told:
        small.check_scorable(alone)
    assert str(told.value) == f"cannot score these queries: {evaluators.value}"
    with pytest.raises(GalleryIndexError, match="known of 0 of 1 query images and 1 of 1 gallery images"):
        small.check_scorable([GalleryImage("a.png")])


def test_the_querys_own_camera_is_left_out(small, queries):
    images, described = queries
    for image, matches in zip(images, small.search(described, 3, plain=True, leave_out=images), strict=True):
        assert len(matches) == 3
        assert (image.pid, image.camid) not in [(match.image.pid, match.image.camid) for match in matches]
