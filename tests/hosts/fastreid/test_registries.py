from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_fastreid import changed, tiny_config

from oamn_plugin.datasets import catalogue
from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.hosts.fastreid import data
from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.data import DATASET_REGISTRY
from oamn_plugin.hosts.fastreid.losses import attach_losses
from oamn_plugin.hosts.fastreid.preflight import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from oamn_plugin.hosts.fastreid.registries import (
    EVALUATOR_REGISTRY,
    LOSS_REGISTRY,
    SAMPLER_REGISTRY,
    TRANSFORM_REGISTRY,
)
from oamn_plugin.hosts.fastreid.trainer import EventStorage, Trainer
from oamn_plugin.hosts.fastreid.transforms import build_pipeline
from oamn_plugin.hosts.shared.errors import ConfigError

ITEMS = [(f"{pid}_{k}.jpg", pid, k % 2) for pid in range(6) for k in range(4)]


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", sorted(TRANSFORM_REGISTRY._obj_map))
def test_every_transform_builds_and_keeps_the_image_an_image(name: str, image: Image.Image) -> None:
    steps = {"RandomErasing", "RandomPatch"}  # these take tensors
    cfg = changed(load_config(), INPUT__CJ__PROB=1.0, INPUT__REA__PROB=1.0, INPUT__RPT__PROB=1.0)
    cfg.INPUT.AUTOAUG.PROB = cfg.INPUT.AUGMIX.PROB = 1.0
    cfg.INPUT.ROTATION = 5.0
    cfg.INPUT.PIPELINE, cfg.INPUT.SIZE_TRAIN = "list", [64, 32]
    cfg.INPUT.TRANSFORMS = ["Resize", "ToTensor", name] if name in steps else ["Resize", name, "ToTensor"]
    if name == "ToTensor":
        cfg.INPUT.TRANSFORMS = ["Resize", "ToTensor"]
    pipeline = build_pipeline(cfg, is_train=True)
    for _ in range(4):
        found = pipeline(image)
        assert found.shape == (3, 64, 32)
        assert found.dtype == torch.float32
        assert 0 <= found.min() <= found.max() <= 255
        assert found.max() > 1, "pixels in 0..255, as the host has them"


@pytest.mark.parametrize(("pipeline", "dtype"), [("device", torch.uint8), ("host", torch.float32)])
def test_the_other_pipelines(pipeline: str, dtype: torch.dtype, image: Image.Image) -> None:
    cfg = load_config("", ["INPUT.PIPELINE", pipeline])
    for is_train in (True, False):
        found = build_pipeline(cfg, is_train)(image)
        assert (found.shape, found.dtype) == ((3, 256, 128), dtype)


def test_the_resampling_is_the_one_named(image: Image.Image) -> None:
    for name, filter_ in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        pipeline = build_pipeline(load_config("", ["INPUT.PIPELINE", "device", "INPUT.RESAMPLE", name]), False)
        np.testing.assert_array_equal(pipeline(image).permute(1, 2, 0), np.asarray(image.resize((128, 256), filter_)))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["INPUT.PIPELINE", "hosts"], "Did you mean 'host'"),
        (["INPUT.RESAMPLE", "nearest"], "Known: bicubic, bilinear"),
        (["INPUT.AFFINE.ENABLED", "True"], "use INPUT.PIPELINE list with the step RandomAffine"),
        (["INPUT.PIPELINE", "list", "INPUT.TRANSFORMS", "['Resise']"], "Did you mean 'Resize'"),
        (["INPUT.PIPELINE", "list", "INPUT.TRANSFORMS", "['OcclusionAugmentation']"], "set INPUT.OCCLUSION.PROB"),
    ],
)
def test_a_pipeline_that_cannot_work_says_what_can(opts: list[str], message: str) -> None:
    with pytest.raises((ConfigError, KeyError), match=message):
        build_pipeline(load_config("", opts), is_train=True)


def test_the_host_augmentations_of_the_published_recipes_run_on_this_stack(image: Image.Image) -> None:
    names = ("AUTOAUG", "AUGMIX", "REA", "CJ", "FLIP", "PADDING", "RPT")
    opts = [text for name in names for text in (f"INPUT.{name}.ENABLED", "True")]
    cfg = load_config("", [*opts, "INPUT.AUTOAUG.PROB", "1.0", "INPUT.AUGMIX.PROB", "1.0", "INPUT.CJ.PROB", "1.0"])
    for _ in range(6):
        assert build_pipeline(cfg, is_train=True)(image).shape == (3, 256, 128)


@pytest.mark.parametrize("name", sorted(SAMPLER_REGISTRY._obj_map))
def test_every_sampler_builds_and_draws(name: str) -> None:
    cfg = changed(load_config(), DATALOADER__NUM_INSTANCE=2)
    drawn = iter(SAMPLER_REGISTRY.get(name)(cfg, ITEMS, 8, 3))
    assert all(0 <= next(drawn) < len(ITEMS) for _ in range(40))


@pytest.mark.parametrize("name", sorted(LOSS_REGISTRY._obj_map))
def test_every_loss_is_computed_by_a_baseline_or_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", tmp_path, tmp_path, MODEL__LOSSES__NAME=["CrossEntropyLoss", name])
    cfg = changed(cfg, MODEL__HEADS__NUM_CLASSES=3)
    if name in ("MaskConsistencyLoss", "OcclusionScoreLoss", "PositionLoss"):
        with pytest.raises(ConfigError, match=f"{name} needs the mask module"):
            Trainer.build_model(cfg)
        return
    model = Trainer.build_model(cfg).train()
    with EventStorage(0):  # the host logs the accuracy into it
        losses = model(batch())
    assert len(losses) == (1 if name == "CrossEntropyLoss" else 2)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert next(model.backbone.parameters()).grad.abs().sum() > 0


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "images": torch.rand(6, 3, 64, 32, generator=generator) * 255,
        "targets": torch.tensor([0, 0, 1, 1, 2, 2]),
        "types": torch.tensor([[0], [0], [0], [1], [0], [5]]),
    }


def test_the_grouped_triplet_of_a_baseline_reads_sides_not_areas(tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", tmp_path, tmp_path, MODEL__LOSSES__GROUPED__SCALE=2.0)
    loss = LOSS_REGISTRY.get("GroupedTripletLoss")(cfg)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    pids = torch.tensor([0, 0, 1, 1, 2, 2])
    half, quarter = torch.tensor([1, 1, 1, 1, 2, 2]), torch.tensor([1, 5, 5, 1, 6, 2])
    assert loss({"features": features}, pids, half) == loss({"features": features}, pids, quarter)
    from oamn_plugin.losses import GroupedTripletLoss

    straight = GroupedTripletLoss(margin=0.3)(features, pids, torch.tensor([1, 1, 1, 1, 2, 2]))
    assert loss({"features": features}, pids, half) == 2 * straight


def test_a_misspelt_loss_is_answered_with_the_nearest(tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", tmp_path, tmp_path, MODEL__LOSSES__NAME=["GroupedTriplet"])
    with pytest.raises(KeyError, match="Did you mean 'GroupedTripletLoss'"):
        attach_losses(cfg, torch.nn.Linear(1, 1))


@pytest.mark.parametrize("name", sorted(EVALUATOR_REGISTRY._obj_map))
def test_every_evaluator_builds(name: str, embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", embedded_root, tmp_path, TEST__EVALUATOR=name)
    assert len(Trainer.build_evaluator(cfg, "OccludedPedestrians").query) == 12


def test_the_hosts_registries_hold_our_parts() -> None:
    assert "OAMN" in META_ARCH_REGISTRY._obj_map
    assert {"timm", "torchvision"} <= set(BACKBONE_REGISTRY._obj_map)
    assert set(catalogue.CATALOGUE) <= set(DATASET_REGISTRY._obj_map)


@pytest.mark.parametrize("name", ["OccludedPedestrians", "OccludedPedestriansHolistic"])
def test_the_generated_set_through_the_hosts_registry(name: str, embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", embedded_root, tmp_path)
    found = data.build_dataset(cfg, name)
    assert (len(found.train), len(found.query), len(found.gallery)) == (48, 12, 24)
    assert found.get_num_pids(found.train) == 12
    folders = {Path(item[0]).parent.name for item in found.query}
    assert folders == {"query_holistic" if "Holistic" in name else "query"}


def test_a_custom_set_through_the_hosts_registry(embedded_root: Path, tmp_path: Path) -> None:
    folder = next(embedded_root.glob("Occluded*"))
    custom = {"ROOT": str(folder), "TRAIN": "bounding_box_train", "GALLERY": "bounding_box_test"}
    changes = {f"DATASETS__CUSTOM__{key}": value for key, value in custom.items()}
    cfg = tiny_config("bagtricks", embedded_root, tmp_path, **changes)
    found = data.build_dataset(cfg, "CustomReID")
    assert (len(found.train), len(found.query), len(found.gallery)) == (48, 12, 24)


@pytest.mark.parametrize("name", sorted(catalogue.CATALOGUE))
def test_a_published_set_that_is_not_there_says_so(name: str, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", tmp_path, tmp_path / "out")
    with pytest.raises((ConfigError, DataSetError, RuntimeError), match=str(tmp_path)):
        data.build_dataset(cfg, name)


def test_an_unknown_data_set_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'OccludedDuke'"):
        data.build_dataset(tiny_config("bagtricks", tmp_path, tmp_path), "OccludedDukes")


def test_training_labels_are_numbers_from_0_and_cut_by_identity(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config("bagtricks", embedded_root, tmp_path)
    assert {record.pid for record in data.training_records(cfg)} == set(range(12))
    few = data.training_records(changed(cfg, DATASETS__MAX_TRAIN_IDS=5))
    assert {record.pid for record in few} == set(range(5))
    twice = data.training_records(changed(cfg, DATASETS__NAMES=["OccludedPedestrians", "OccludedPedestriansHolistic"]))
    assert len({record.pid for record in twice}) == 24
