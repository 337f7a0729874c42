"""A gallery in Milvus: the folder's answers, changes, kills, another model.

In a local file of milvus-lite; with OAMN_TEST_MILVUS=http://host:19530 on that server, in collections of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from index_crops import make_crops, make_encoder

from oamn_plugin.hosts.encoder import index_model
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search import milvus_index, open_index
from oamn_plugin.search.files import GalleryIndexError
from oamn_plugin.search.gallery import GalleryImage, read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.nearest import own_pairs

pytest.importorskip("milvus_lite")
torch.set_num_threads(1)
SERVER = os.environ.get("OAMN_TEST_MILVUS", "")
TYPES = ["none", "left_half", "right_half", "bottom_half", "top_half"]


def place_for(folder):
    return f"{SERVER}/t{uuid.uuid4().hex}" if SERVER else f"milvus://{folder}/gallery.db"


@pytest.fixture(scope="module")
def encoder():
    encoder = make_encoder()
    encoder.unification = Unification("matched", "features", types="five")
    return encoder


@pytest.fixture(scope="module")
def world(encoder, tmp_path_factory):
    """Images, queries, and the same gallery in a folder and in Milvus."""
    folder = tmp_path_factory.mktemp("milvus")
    make_crops(folder / "crops", 150)
    images = read_gallery(folder / "crops")
    both = [open_index(place, encoder) for place in (folder / "index", place_for(folder))]
    for index in both:
        assert index.add(images) == 150
    chosen = images[::15]
    return images, chosen, encoder.queries([torch.stack([encoder.read(image.path) for image in chosen])]), both


def test_a_long_build_shows_how_far_it_is(world, encoder, tmp_path, capsys):
    """The argument was there and did nothing."""
    assert open_index(place_for(tmp_path), encoder, progress=True).add(world[0][:40]) == 40
    assert "gallery" in (shown := capsys.readouterr().err)
    assert "40/40" in shown


def paths(found):
    return [[match.image.path for match in row] for row in found]


@pytest.mark.parametrize("plain", [False, True])
def test_the_first_ten_are_the_folders(world, plain):
    _, _, described, (folder, milvus) = world
    found, expected = (index.search(described, 10, plain=plain) for index in (milvus, folder))
    assert paths(found) == paths(expected)
    for row, other in zip(found, expected, strict=True):
        assert [m.distance for m in row] == pytest.approx([m.distance for m in other], abs=1e-5)
        assert [m.image for m in row] == [m.image for m in other]
        assert [m.type_name for m in row] == [m.type_name for m in other]


def test_the_querys_own_camera_is_left_out(world):
    _, chosen, described, (folder, milvus) = world
    found, expected = (index.search(described, 10, leave_out=chosen) for index in (milvus, folder))
    assert paths(found) == paths(expected)


def test_what_is_left_out_is_counted_without_fetching_the_gallery(world, monkeypatch):
    """Every image's record was fetched for one number a query."""
    images, chosen, _, (folder, milvus) = world
    pairs = own_pairs([*chosen, images[0]._replace(pid='"')], 11)
    expected = [folder.how_many([*pairs, None]), folder.how_many([])]
    monkeypatch.setattr(milvus_index.MilvusIndex, "_rows", None)
    assert [milvus.how_many([*pairs, None]), milvus.how_many([])] == expected
    assert expected[0][-2:] == [0, None]
    assert all(expected[0][:10])


def test_a_type_that_is_not_built_is_told(world):
    """It was a KeyError, of a number."""
    milvus = world[3][1]
    for name, message in (("lefthalf", "cannot describe the types lefthalf: choose of none, left_half"),
                          ("left_quarter", "choose of none, left_half")):  # fmt: skip
        with pytest.raises(GalleryIndexError, match=message):
            milvus.descriptors(name)
    with pytest.raises(GalleryIndexError, match="has no descriptors of left_quarter: run index --types"):
        open_index(milvus.folder).descriptors("left_quarter")


def test_what_it_holds(world):
    images, _, _, (folder, milvus) = world
    assert isinstance(folder, GalleryIndex)
    assert len(milvus) == 150
    assert milvus.images == images
    assert milvus.types == tuple(TYPES)
    assert not milvus.unfinished
    assert abs(milvus.descriptors("top_half") - folder.descriptors("top_half")).max() < 1e-6


def test_changes(encoder, tmp_path):
    make_crops(tmp_path / "crops", 6)
    (tmp_path / "crops" / "zz.png").write_text("no image")
    index = open_index(place_for(tmp_path), encoder)
    assert index.add(read_gallery(tmp_path / "crops"), ["none"]) == 6
    assert list(index.unreadable) == [str(tmp_path / "crops" / "zz.png")]
    assert index.add(read_gallery(tmp_path / "crops", r"s1_0*(?P<pid>\d+)_")) == 0
    assert index.changes == (0, 0, 6)
    assert sorted(image.pid for image in index.images) == ["0", "1", "2", "3", "4", "5"]
    images = index.images
    make_crops(tmp_path / "other", 1, seed=3)
    (tmp_path / "crops" / "zz.png").write_bytes(next((tmp_path / "other").iterdir()).read_bytes())
    (tmp_path / "crops" / images[0].name).write_bytes(next((tmp_path / "other").iterdir()).read_bytes())
    index.add(read_gallery(tmp_path / "crops", r"s1_0*(?P<pid>\d+)_"))
    assert (index.changes.added, index.changes.replaced) == (1, 1)
    assert index.unreadable == {}
    with pytest.raises(GalleryIndexError, match="nothing was removed"):
        index.remove([images[0].path, tmp_path / "never there"])
    assert index.remove([images[0].path]) == 1
    assert len(index) == 6


def test_types_are_not_built_while_the_gallery_is_gone(encoder, tmp_path, monkeypatch):
    """The images were taken out of the index, with the descriptors that they had."""
    make_crops(tmp_path / "crops", 6)
    images = read_gallery(tmp_path / "crops")
    index = open_index(place_for(tmp_path), encoder)
    index.add(images, ["none"])
    (tmp_path / "crops").rename(tmp_path / "away")
    for types in (("none",), ("none", "top_half")):  # the second time, as a killed build leaves it
        monkeypatch.setattr(type(index), "types", types)
        with pytest.raises(GalleryIndexError, match=r"6 of 6 images are not where they were, such as .*png"):
            index.add(images, ["top_half"])
        assert len(index.descriptors("none")) == 6


def killed_in_the_middle_of_a_write(place, crops):
    """What a process of its own does until SIGKILL comes: half of the rows of the last block are written."""
    write, left = milvus_index.MilvusIndex._upsert, 3  # header, vectors and reasons of the first block

    def dying(self, rows):
        nonlocal left
        left -= 1
        if left < 0:
            write(self, rows[: len(rows) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, rows)

    milvus_index.MilvusIndex._upsert = dying
    encoder = make_encoder()
    encoder.unification = Unification("matched", "features", types="five")
    open_index(place, encoder).add(read_gallery(crops))


def test_a_killed_build_goes_on_and_ends_with_the_same_content(world, encoder, tmp_path):
    images, _, described, (_, whole) = world
    place = place_for(tmp_path)
    child = multiprocessing.get_context("spawn").Process(
        target=killed_in_the_middle_of_a_write, args=(place, Path(images[0].path).parent)
    )
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL
    index = open_index(place, encoder)
    assert index.unfinished
    index.add(images)
    assert not index.unfinished
    assert index.images == whole.images == images
    assert index.unreadable == {}
    for name in TYPES:
        assert np.array_equal(index.descriptors(name), whole.descriptors(name))
    assert index.search(described, 10) == whole.search(described, 10)


def test_another_model_is_refused(world):
    with pytest.raises(GalleryIndexError, match="was built with another model"):
        open_index(world[3][1].folder, make_encoder(1))


@pytest.mark.parametrize("place", ["milvus:///x", "http://host", "http://host:1/a/b", "https:///x", "http://h/a b"])
def test_places_that_cannot_be(place):
    with pytest.raises(GalleryIndexError, match="is no place in Milvus"):
        open_index(place)


def test_an_empty_place(encoder, tmp_path):
    with pytest.raises(GalleryIndexError, match="there is no gallery index"):
        open_index(place := place_for(tmp_path))
    index = open_index(place, encoder)
    with pytest.raises(GalleryIndexError, match="none of the 1 images could be read"):
        index.add([GalleryImage(str(tmp_path / "nothing.png"))], ["none"])


def test_notes_stay_through_changes_and_the_model_is_remembered(encoder, tmp_path):
    make_crops(tmp_path / "crops", 4)
    images = read_gallery(tmp_path / "crops")
    encoder.source = {"config_file": "a.yml", "weights": "a.pth", "opts": [], "card": None}
    index = open_index(place := place_for(tmp_path), encoder)
    index.add(images[:2], ["none"])
    assert index.load_note("threshold") is None
    index.save_note("threshold", {"distance": 0.5})
    index.add(images)
    again = open_index(place)
    assert again.load_note("threshold") == {"distance": 0.5}
    assert index_model(place)["source"] == encoder.source
    (tmp_path / "other").mkdir()
    assert index_model(place_for(tmp_path / "other")) is None
    encoder.source = None
