"""Data sets of one test that have the same gallery: described once, the same scores; any other is described anew."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from oamn_plugin.datasets.embedded import load_embedded
from oamn_plugin.datasets.images import BadImageError, read_image
from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.shared.evaluation import Batch, Evaluation, EvaluationSettings, ImageSet, evaluate
from oamn_plugin.hosts.shared.galleries import DescribedGallery, described_gallery, files_of, sharing_galleries
from oamn_plugin.modeling import WholeModel
from oamn_plugin.retrieval import Unification
from oamn_plugin.retrieval.store import DescriptorStore

MATCHED = EvaluationSettings(Unification("matched", "image"))


@pytest.fixture(scope="module")
def model() -> WholeModel:
    torch.manual_seed(0)
    return WholeModel(nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.LazyLinear(16))).eval()


@pytest.fixture(scope="module")
def sides(embedded_root: Path) -> tuple[list[Record], list[Record]]:
    split = load_embedded(embedded_root, "tiny")
    return split.query, split.gallery


def counted(records: list[Record], read: list[str]) -> ImageSet:
    """Records whose files are noted as they are read; one that cannot be is left out."""

    def load(start: int, stop: int) -> Iterator[Batch]:
        for first in range(start, stop, 8):
            places, images, reasons = [], [], []
            for place in range(first, min(first + 8, stop)):
                read.append(records[place].path)
                try:
                    pixels = read_image(records[place].path).resize((16, 32))
                except BadImageError as error:
                    reasons.append(str(error))
                    continue
                places.append(place)
                images.append(torch.from_numpy(np.array(pixels)).permute(2, 0, 1) / 255.0)
            yield Batch(places, torch.stack(images) if images else None, reasons)

    return ImageSet(records, load, 8)


def scored(model: WholeModel, query: list[Record], gallery: list[Record], read: list[str]) -> Evaluation:
    return evaluate(model, counted(query, []), counted(gallery, read), MATCHED)


def test_a_shared_gallery_is_read_once_and_scores_stay(
    model: WholeModel, sides: tuple[list[Record], list[Record]]
) -> None:
    query, gallery = sides
    half = query[: len(query) // 2]
    alone = [scored(model, part, gallery, []) for part in (query, half)]
    with sharing_galleries():
        read: list[str] = []
        together = [scored(model, part, gallery, read) for part in (query, half)]
    assert read == [record.path for record in gallery]
    for one, other in zip(alone, together, strict=True):
        assert (one.result.ap == other.result.ap).all()
        assert one.result.to_percent() == other.result.to_percent()


def test_outside_a_test_every_gallery_is_read(model: WholeModel, sides: tuple[list[Record], list[Record]]) -> None:
    query, gallery = sides
    read: list[str] = []
    for _ in range(2):
        scored(model, query, gallery, read)
    assert len(read) == 2 * len(gallery)


def test_a_gallery_of_other_images_or_another_order_is_described_anew(
    model: WholeModel, sides: tuple[list[Record], list[Record]]
) -> None:
    query, gallery = sides
    with sharing_galleries():
        scored(model, query, gallery, [])
        for changed in (gallery[:-1], gallery[::-1]):
            read: list[str] = []
            scored(model, query, changed, read)
            assert len(read) == len(changed)


def test_other_settings_are_another_gallery(sides: tuple[list[Record], list[Record]]) -> None:
    gallery = sides[1]
    made: list[str] = []

    def describe() -> DescribedGallery:
        made.append("one")
        return DescribedGallery(DescriptorStore(), np.ones(len(gallery), dtype=bool), [], 0.0)

    with sharing_galleries():
        for settings in ("nine types", "nine types", "five types"):
            with described_gallery(gallery, settings, describe):
                pass
    assert len(made) == 2


def test_descriptors_leave_the_disk(
    model: WholeModel, sides: tuple[list[Record], list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    query, gallery = sides
    with sharing_galleries():
        scored(model, query, gallery, [])
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    gone = [*gallery, gallery[0]._replace(path=str(tmp_path / "gone.jpg"))]
    with pytest.raises(FileNotFoundError) as error, sharing_galleries():
        evaluate(model, counted(query, []), ImageSet(gone, lambda _a, _b: failing(gone), 8), MATCHED)
    assert error.value  # the exception is alive, and with it the frames that made the descriptors
    assert not list(tmp_path.iterdir())


def failing(records: list[Record]) -> Iterator[Batch]:
    yield Batch([0], torch.zeros(1, 3, 32, 16))
    Path(records[-1].path).read_bytes()


def test_labels_are_those_of_each_data_set(model: WholeModel, sides: tuple[list[Record], list[Record]]) -> None:
    """The same images with other people's names: descriptors are shared, scores are not."""
    query, gallery = sides
    renamed = [record._replace(pid=record.pid + 1) for record in gallery]
    alone = scored(model, query, renamed, [])
    with sharing_galleries():
        first = scored(model, query, gallery, [])
        read: list[str] = []
        second = scored(model, query, renamed, read)
    assert not read
    assert second.scores["mAP"] == alone.scores["mAP"] != first.scores["mAP"]


def test_what_could_not_be_read_is_said_for_each_data_set(
    model: WholeModel, sides: tuple[list[Record], list[Record]], tmp_path: Path
) -> None:
    query, gallery = sides
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with_bad = [*gallery, gallery[0]._replace(path=str(bad))]
    with sharing_galleries():
        found = [scored(model, query, with_bad, []) for _ in range(2)]
    assert [one.scores["skipped_images"] for one in found] == [1, 1]
    assert str(bad) in found[1].skipped[0]


def test_links_to_the_same_files_are_the_same_gallery(sides: tuple[list[Record], list[Record]], tmp_path: Path) -> None:
    gallery = sides[1]
    linked, copied = tmp_path / "linked.jpg", tmp_path / "copied.jpg"
    os.symlink(gallery[0].path, linked)
    shutil.copy(gallery[0].path, copied)
    assert files_of([gallery[0]._replace(path=str(linked))]) == files_of(gallery[:1])
    assert files_of([gallery[0]._replace(path=str(copied))]) != files_of(gallery[:1])
