"""The quick search: what it finds, images added and removed later, files that were tampered with, faiss left out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from index_crops import contents, make_crops, make_encoder

from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search import faiss_files, tuning
from oamn_plugin.search.descriptor_files import Rows
from oamn_plugin.search.files import GalleryIndexError, IndexFileError
from oamn_plugin.search.gallery import read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.nearest import compared_types, exact_nearest

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Encoder of a matched unification, images, and an index of the first 1040 of 1060 with a quick search."""
    folder = tmp_path_factory.mktemp("approximate")
    make_crops(folder / "crops", 1060, size=(8, 16))
    encoder, images = make_encoder(), read_gallery(folder / "crops")
    encoder.unification = Unification("matched", "features", types="five")
    index = GalleryIndex(folder / "quick", encoder)
    index.add(images[:1040])
    trials = index.quantise(0.9)
    described = encoder.queries([torch.stack([encoder.read(image.path) for image in images[:1040:26]])])
    return encoder, images, index, trials, described


def recall(index, described, **how):
    found, truth = (index.search(described, 10, exact=exact, **how) for exact in (False, True))
    paths = [[{match.image.path for match in row} for row in rows] for rows in (found, truth)]
    return np.mean([len(a & b) / 10 for a, b in zip(*paths, strict=True)])


@pytest.mark.parametrize("plain", [False, True])
def test_most_neighbours_are_found_by_the_exact_distance(world, plain):
    _, _, index, _, described = world
    assert recall(index, described, plain=plain) > 0.8
    found, truth = (index.search(described, 30, plain=plain, exact=exact) for exact in (False, True))
    for quick, exact in zip(found, truth, strict=True):
        distances = {match.image.path: match.distance for match in exact}
        assert [m.distance for m in quick] == sorted(m.distance for m in quick)
        for match in quick:
            assert match.distance == pytest.approx(distances.get(match.image.path, match.distance), abs=1e-5)


def test_covered_queries_find_what_is_covered_alike(world):
    """Codes of the un-occluded images alone led to 0.44 of the matched ten nearest of queries without a top half."""
    encoder, images, index, _, _ = world
    pixels = torch.stack([encoder.read(image.path) for image in images[:1040:40]])
    covered = encoder.gallery(pixels, ["top_half"])["top_half"]
    described = encoder.queries([pixels])._replace(descriptors=covered)
    assert recall(index, described) > 0.9


def test_typed_queries_are_searched_among_their_type(world, tmp_path):
    _, images, _, _, described = world
    typed = make_encoder()
    typed.unification = Unification("typed")
    index = GalleryIndex(tmp_path / "typed", typed)
    index.add(images[:1000], ["none", "left_half"])
    index.quantise(0.97)
    half = described._replace(types=torch.ones_like(described.types))
    assert compared_types(index.unification, half, False) == ["left_half"] * len(half.types)
    assert recall(index, half) > 0.8


def test_tuning_tells_what_its_settings_find(world):
    _, _, index, trials, _ = world
    assert index.approximate in trials
    assert index.approximate.recall >= index.approximate.at_least >= 0.9
    assert GalleryIndex(index.folder).approximate == index.approximate
    with pytest.raises(GalleryIndexError, match="between 0 and 1"):
        index.quantise(1.0)


def test_axes_of_different_variance_do_not_spoil_the_codes(tmp_path):
    generator = np.random.default_rng(0)
    scale = np.arange(1, 129) ** -0.5
    rows = (generator.standard_normal((2020, 128)) * scale).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    gallery, queries = Rows(np.arange(2000), rows[:2000]), rows[2000:]
    codes = faiss_files.Codes(tmp_path / "codes.faiss", 128)
    codes.build(gallery)
    nearest = [numbers for numbers, _ in exact_nearest(queries, [gallery], None, 10)]
    candidates = [codes.nearest(query, 1000, 50)[0] for query in queries]
    found = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(candidates, nearest, strict=True)])
    assert found > 0.95, "0.82 without the rotation"


def test_a_quantised_descriptor_takes_few_bytes(world):
    index = world[2]
    dim = index.descriptors("none").shape[1]
    size = (
        index.folder / "approximate" / "none.faiss"
    ).stat().st_size - 4 * dim**2  # the rotation, whatever the gallery
    assert size / len(index) < 4 * dim / 8


def test_images_added_and_removed_later(world, monkeypatch):
    encoder, images, index, _, _ = world
    assert index.add(images) == 20
    last = encoder.queries([torch.stack([encoder.read(image.path) for image in images[1040:]])])
    assert recall(index, last) > 0.8, "what is not quantised yet is compared exactly"
    assert index.remove([image.path for image in images[:30]]) == 30
    found = {match.image.path for row in index.search(last, 100) for match in row}
    assert not found & {image.path for image in images[:30]}
    monkeypatch.setattr(faiss_files, "_FEW", 10)
    index.add(images[:30])
    for name in index.types:
        assert faiss_files.read(index.folder / "approximate" / f"{name}.faiss", 512).ntotal == 1060
    assert recall(index, last) > 0.8


def test_damaged_files_are_refused(world):
    _, _, index, _, described = world
    path = index.folder / "approximate" / "left_half.faiss"
    content = path.read_bytes()
    for damaged in (content[:40], b"IwPQ" + content[4:60], content[:4] + (7).to_bytes(4, "little") + content[8:]):
        path.write_bytes(damaged)
        with pytest.raises(IndexFileError, match="damaged or no index"):
            GalleryIndex(index.folder, world[0]).search(described, 3)
    path.write_bytes(content)


def test_quantising_again_gives_the_same_bytes(world, monkeypatch):
    monkeypatch.setattr(tuning, "TUNING_QUERIES", 20)  # the quantised copies do not depend on it
    index = world[2]
    index.quantise(0.9)
    before = contents(index.folder)["approximate/none.faiss"]
    index.quantise(0.9)
    assert contents(index.folder)["approximate/none.faiss"] == before


def test_types_that_tuning_needs_are_built_first(world, tmp_path, monkeypatch):
    """It took the writer's lock twice and said that another process was writing."""
    monkeypatch.setattr(tuning, "TUNING_QUERIES", 20)
    encoder, images, _, _, _ = world
    index = GalleryIndex(tmp_path / "none", encoder)
    index.add(images[:1000], ["none"])
    index.quantise(0.9)
    assert len(index.types) == 5


def test_few_images_are_searched_exactly(world, tmp_path):
    encoder, images, _, _, _ = world
    index = GalleryIndex(tmp_path / "few", encoder)
    index.add(images[:30], ["none"])
    with pytest.raises(GalleryIndexError, match="pays from 1000 images, here are 30"):
        index.quantise()
    assert index.approximate is None


def test_without_faiss_one_message_says_what_to_install(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(GalleryIndexError, match="pip install faiss-cpu"):
        world[2].quantise()
