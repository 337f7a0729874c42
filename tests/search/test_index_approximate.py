"""Galleries that are quantised: found again, added to, removed from, refused where there is too little to learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from index_crops import contents, make_crops, make_encoder

from oamn_plugin.search.faiss_files import IVFPQ, IndexFileError, ids_of
from oamn_plugin.search.gallery import read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.index_folder import GalleryIndexError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Encoder, images, an exact and an approximate index of the first 1040 of 1060."""
    folder = tmp_path_factory.mktemp("approximate")
    make_crops(folder / "crops", 1060, size=(8, 16))
    encoder, images = make_encoder(), read_gallery(folder / "crops")
    exact = GalleryIndex(folder / "exact", encoder)
    exact.add(images[:1040], ["none"])
    quick = GalleryIndex(folder / "quick", encoder, approximate=IVFPQ(code_bytes=64, lists=8, probes=8))
    quick.add(images[:1040], ["none"])
    return encoder, images, exact, quick


def test_most_neighbours_are_found(world):
    encoder, images, exact, quick = world
    described = encoder.queries([torch.stack([encoder.read(image.path) for image in images[:1040:26]])])
    truth, found = (index.search(described, 10, plain=True) for index in (exact, quick))
    recall = np.mean(
        [len({m.image.path for m in a} & {m.image.path for m in b}) / 10 for a, b in zip(truth, found, strict=True)]
    )
    assert recall > 0.6
    sizes = [(index.folder / "types" / "none.faiss").stat().st_size for index in (exact, quick)]
    assert sizes[1] < sizes[0] / 2


def test_adding_and_removing(world):
    encoder, images, _, quick = world
    assert quick.add(images) == 20
    assert quick.remove([image.path for image in images[:30]]) == 30
    assert len(quick) == 1030
    index = GalleryIndex(quick.folder, encoder)
    assert ids_of(index._load("none")).tolist() == list(range(30, 1060))
    described = encoder.queries([encoder.read(images[1050].path)[None]])
    found = [match.image.path for match in index.search(described, 1030, plain=True)[0]]
    assert len(set(found)) == 1030
    assert images[1050].path in found[:10]


def test_building_again_gives_the_same_bytes(world, tmp_path):
    encoder, images, _, _ = world
    for name in ("a", "b"):
        index = GalleryIndex(tmp_path / name, encoder, approximate=IVFPQ(64, 8, 8))
        index.add(images[:1000], ["none"])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_what_cannot_be_quantised(world, tmp_path):
    encoder, images, _, quick = world
    with pytest.raises(IndexFileError, match="at least 1000 images, here are 30"):
        GalleryIndex(tmp_path / "few", encoder, approximate=IVFPQ()).add(images[:30], ["none"])
    with pytest.raises(IndexFileError, match="do not fit into 100 bytes: choose one of 8, 16"):
        GalleryIndex(tmp_path / "odd", encoder, approximate=IVFPQ(code_bytes=100))
    with pytest.raises(GalleryIndexError, match="is approximate"):
        quick.descriptors("none")
    with pytest.raises(ValueError, match="at least"):
        IVFPQ(probes=0)
