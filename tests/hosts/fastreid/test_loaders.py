from __future__ import annotations

import random
import traceback
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastreid.config import CfgNode
from tiny_fastreid import changed, tiny_config

from oamn_plugin.datasets.images import BadImageError, read_image
from oamn_plugin.datasets.records import Record
from oamn_plugin.datasets.validation import QueryOccluder
from oamn_plugin.hosts.fastreid.data import build_dataset, training_records
from oamn_plugin.hosts.fastreid.loaders import TrainImages, TrainLoader, build_test_loader, build_training_transform

CPU = torch.device("cpu")


def first_batches(
    cfg: CfgNode, count: int, start: int = 0, records: list[Record] | None = None
) -> list[dict[str, Any]]:
    loader = TrainLoader(cfg, training_records(cfg) if records is None else records, CPU, start)
    return list(islice(iter(loader), count))


def assert_same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["img_paths"] == other["img_paths"]
        for key in ("images", "types", "targets", "camids"):
            assert torch.equal(one[key], other[key]), key


@pytest.mark.parametrize("base", ["OAMN", "bagtricks"])
def test_the_number_of_workers_changes_nothing(base: str, embedded_root: Path, tmp_path: Path) -> None:
    """The host's transforms draw in the workers (bagtricks), ours on the device (OAMN)."""
    cfg = tiny_config(base, embedded_root, tmp_path)
    alone = first_batches(cfg, 4)
    for workers in (1, 2):
        assert_same(alone, first_batches(changed(cfg, DATALOADER__NUM_WORKERS=workers), 4))


def test_the_seed_decides_whatever_else_was_drawn(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", embedded_root, tmp_path)
    first = first_batches(cfg, 3)
    random.random(), np.random.rand(), torch.rand(())  # noqa: NPY002
    assert_same(first, first_batches(cfg, 3))
    assert not torch.equal(first[0]["images"], first_batches(changed(cfg, SEED=1), 1)[0]["images"])


def test_making_a_batch_draws_from_no_global_generator(embedded_root: Path, tmp_path: Path) -> None:
    for base in ("OAMN", "bagtricks"):
        batches = iter(TrainLoader(cfg := tiny_config(base, embedded_root, tmp_path), training_records(cfg), CPU))
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
        next(batches)
        assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


@pytest.mark.parametrize(("pipeline", "seeded"), [("device", False), ("host", True), ("list", True)])
def test_generators_are_set_only_for_workers_that_draw(
    pipeline: str, seeded: bool, embedded_root: Path, tmp_path: Path
) -> None:
    cfg = tiny_config("OAMN", embedded_root, tmp_path, INPUT__PIPELINE=pipeline)
    images = TrainLoader(cfg, training_records(cfg), CPU).dataset
    images.pipeline = lambda image: torch.rand(())  # what a pipeline that draws nothing never does
    assert (images[(3, 0)]["images"] == images[(3, 0)]["images"]) == seeded


def test_a_later_start_gives_the_later_images(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", embedded_root, tmp_path)
    assert_same(first_batches(cfg, 6)[4:], first_batches(cfg, 2, start=4))


@pytest.mark.parametrize(("axes", "views"), [(2, 5), (1, 3)])
def test_oamn_gets_every_view(axes: int, views: int, embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("OAMN", embedded_root, tmp_path, MODEL__OAMN__AXES=axes)
    batch = first_batches(cfg, 1)[0]
    assert batch["images"].shape == (8 * views, 3, 64, 32)
    assert batch["types"].shape == (8, views)
    assert (batch["types"][:, 0] == 0).all()
    assert len(batch["targets"]) == 8


def test_a_baseline_gets_one_image_each_occluded_as_often_as_asked(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", embedded_root, tmp_path)
    assert not torch.cat([batch["types"] for batch in first_batches(cfg, 4)]).any()
    batches = first_batches(changed(cfg, INPUT__OCCLUSION__PROB=0.5), 12)
    assert all(batch["images"].shape == (8, 3, 64, 32) for batch in batches)
    assert 0.3 < (torch.cat([batch["types"] for batch in batches]) > 0).float().mean() < 0.7


def test_targets_are_classes_without_gaps(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("OAMN", embedded_root, tmp_path)
    records = [record for record in training_records(cfg) if record.pid % 3]
    images = TrainImages(records, lambda image: image, 0)
    assert sorted(set(images.targets)) == list(range(8))
    for record, target in zip(records, images.targets, strict=True):
        assert sorted({r.pid for r in records}).index(record.pid) == target


@pytest.fixture
def damaged(embedded_root: Path, tmp_path: Path) -> tuple[CfgNode, list[Record], str]:
    """A training set whose third image is damaged."""
    cfg = tiny_config("OAMN", embedded_root, tmp_path)
    records = training_records(cfg)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(records[2].path).read_bytes()[:300])
    records[2] = records[2]._replace(path=str(bad))
    return cfg, records, str(bad)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_stops_training_with_its_name(damaged: tuple[CfgNode, list[Record], str], workers: int) -> None:
    cfg, records, bad = damaged
    with pytest.raises(BadImageError, match=r"bad\.jpg") as caught:
        first_batches(changed(cfg, DATALOADER__NUM_WORKERS=workers), 12, records=records)
    assert bad in str(caught.value)
    traceback.clear_frames(caught.tb)  # they hold the worker


def test_a_skipped_bad_image_is_replaced_by_the_same_person(damaged: tuple[CfgNode, list[Record], str]) -> None:
    cfg, records, bad = damaged
    batches = first_batches(changed(cfg, INPUT__BAD_IMAGES="skip"), 12, records=records)
    pids = {record.path: record.pid for record in records}
    for batch in batches:
        assert bad not in batch["img_paths"]
        assert [pids[path] for path in batch["img_paths"]] == batch["targets"].tolist()


def test_skipping_stops_where_a_person_has_no_image_left(damaged: tuple[CfgNode, list[Record], str]) -> None:
    _, records, _ = damaged
    images = TrainImages([records[2]], lambda image: image, 0, "skip")
    with pytest.raises(BadImageError, match="nor can any other image of this person"):
        images[0, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_test_images_come_in_order_and_exact(embedded_root: Path, tmp_path: Path, workers: int) -> None:
    cfg = tiny_config("OAMN", embedded_root, tmp_path, TEST__IMS_PER_BATCH=5, TEST__NUM_WORKERS=workers)
    query = [Record(*item) for item in build_dataset(cfg, "OccludedPedestrians").query]
    found = list(build_test_loader(cfg, query))
    assert [index for indices, _, _ in found for index in indices] == list(range(12))
    images = torch.cat([images for _, images, _ in found])
    for record, image in zip(query, images, strict=True):
        expected = read_image(record.path).resize((32, 64), 2)  # bilinear, as configs/Base-OAMN.yml says
        np.testing.assert_array_equal(image.permute(1, 2, 0), np.asarray(expected))


def test_bad_test_images_fail_or_are_reported(damaged: tuple[CfgNode, list[Record], str]) -> None:
    cfg, records, bad = damaged
    with pytest.raises(BadImageError, match=r"bad\.jpg"):
        list(build_test_loader(cfg, records[:4]))
    skipping = changed(cfg, INPUT__BAD_IMAGES="skip", TEST__IMS_PER_BATCH=2)
    found = list(build_test_loader(skipping, records[:5]))
    assert [indices for indices, _, _ in found] == [[0, 1], [3], [4]]
    assert [reason for _, _, reasons in found for reason in reasons] == [found[1][2][0]]
    assert bad in found[1][2][0]
    only = list(build_test_loader(skipping, [records[2]]))
    assert only[0][:2] == ([], None)


def test_generated_occlusion_reaches_test_images(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("OAMN", embedded_root, tmp_path)
    records = training_records(cfg)[:6]
    occluder = QueryOccluder([record.path for record in training_records(cfg)[20:30]])
    clean, occluded = (next(iter(build_test_loader(cfg, records, one)))[1] for one in (None, occluder))
    assert clean is not None
    assert occluded is not None
    changed_share = (clean != occluded).any(1).float().mean((1, 2))
    assert (changed_share > 0.1).all()
    assert (changed_share < 0.75).all()


def test_the_transform_follows_the_configuration(embedded_root: Path, tmp_path: Path) -> None:
    oamn = build_training_transform(tiny_config("OAMN", embedded_root, tmp_path, MODEL__OAMN__PRESET="official"))
    assert (oamn.aligned, oamn.num_views) == (False, 5)
    assert (oamn.geometry.padding, oamn.geometry.rotation, oamn.geometry.flip) == (4, 5.0, 0.5)  # type: ignore
    plain = build_training_transform(tiny_config("bagtricks", embedded_root, tmp_path))
    assert (plain.occlusion, plain.geometry, plain.erasing) == (None, None, 0.0)  # the host's transforms erase
    device = build_training_transform(
        tiny_config(
            "bagtricks",
            embedded_root,
            tmp_path,
            INPUT__PIPELINE="device",
            INPUT__OCCLUSION__PROB=0.3,
            INPUT__OCCLUSION__CUT_SHARE=0.2,
        )
    )
    assert device.occlusion is not None
    assert (device.num_views, device.erasing) == (1, 0.5)
    assert (device.occlusion.probability, device.occlusion.cut_share) == (0.3, 0.2)
