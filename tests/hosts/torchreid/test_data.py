from __future__ import annotations

from pathlib import Path

import pytest
from tiny_torchreid import SIZE, TARGETS, require_torchreid, tiny_config, tiny_datamanager

require_torchreid()

from PIL import Image  # noqa: E402

from oamn_plugin.datasets.catalogue import CATALOGUE  # noqa: E402
from oamn_plugin.datasets.embedded import ensure, read_embedded  # noqa: E402
from oamn_plugin.datasets.images import BadImageError  # noqa: E402
from oamn_plugin.datasets.records import DataSetError  # noqa: E402
from oamn_plugin.hosts.torchreid import register  # noqa: E402
from oamn_plugin.hosts.torchreid.builders import build_datamanager, register_from  # noqa: E402
from oamn_plugin.hosts.torchreid.compat import image_datasets  # noqa: E402


@pytest.fixture(autouse=True)
def _registered() -> None:
    register(input_size=SIZE, embedded_size="tiny")


def test_every_data_set_has_the_same_name_as_in_the_other_host() -> None:
    assert {*CATALOGUE, *TARGETS, "CustomReID"} <= set(image_datasets())
    register()  # again: the host's own function refuses a name that is there


def test_the_host_reads_the_records_of_the_core(embedded_root: Path) -> None:
    manager = tiny_datamanager(embedded_root)
    split = read_embedded(ensure(embedded_root, size="tiny"))
    for part in ("query", "gallery"):
        assert [tuple(one[:3]) for one in manager.test_dataset[TARGETS[0]][part]] == [
            tuple(r) for r in getattr(split, part)
        ]
    trained = manager.train_loader.dataset.train
    assert [one[0] for one in trained] == [record.path for record in split.train]
    assert {one[1] for one in trained} == set(range(manager.num_train_pids))
    assert manager.test_dataset[TARGETS[1]]["query"] != manager.test_dataset[TARGETS[0]]["query"]


def test_a_bad_image_stops_the_run_with_its_name(embedded_root: Path, tmp_path: Path) -> None:
    """The host's own reader would try again for ever."""
    manager = tiny_datamanager(embedded_root)
    dataset = manager.train_loader.dataset
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(dataset.data[0][0]).read_bytes()[:200])
    dataset.data[0] = (str(bad), *dataset.data[0][1:])
    with pytest.raises(BadImageError, match=r"bad\.jpg"):
        list(manager.train_loader)


def test_a_set_without_training_images_can_be_tested_on_only(tmp_path: Path, embedded_root: Path) -> None:
    for folder, camera in (("query", 1), ("gallery", 2)):
        (tmp_path / folder).mkdir()
        for pid in (3, 8):
            Image.new("RGB", (16, 32), (pid * 20, 0, 0)).save(tmp_path / folder / f"{pid:04d}_c{camera}.png")
    register(input_size=SIZE, embedded_size="tiny", custom={"root": str(tmp_path), "train": ""})
    manager = tiny_datamanager(embedded_root, targets="CustomReID")
    assert [one[1] for one in manager.test_dataset["CustomReID"]["query"]] == [3, 8]
    with pytest.raises(DataSetError, match=r"CustomReID has no training images: name it in data\.targets only"):
        tiny_datamanager(embedded_root, sources="CustomReID")
    cfg = tiny_config(
        embedded_root, tmp_path, custom__root=tmp_path, custom__train="", data__sources="CustomReID",
        data__targets="CustomReID", test__evaluate=True,
    )  # fmt: skip
    register_from(cfg)
    batch = next(iter(build_datamanager(cfg).test_loader["CustomReID"]["gallery"]))
    assert batch["img"].shape == (2, 3, *SIZE)


def test_several_sources_are_joined_by_the_host(embedded_root: Path) -> None:
    manager = tiny_datamanager(embedded_root, sources=TARGETS)
    assert manager.num_train_pids == 24
    assert next(iter(manager.train_loader))["img"].shape == (8, 3, *SIZE)
