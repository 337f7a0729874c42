"""Data loaders for any device: numbered draws for training; for testing, whole batches divided among processes."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from oamn_plugin.augmentation import CutOuts, Geometry, OcclusionAugmentation, TrainingTransform, augmentation_of
from oamn_plugin.datasets.images import BadImageError, check_policy, read_image
from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.fastreid.config import oamn_options
from oamn_plugin.hosts.fastreid.samplers import NumberedBatches, build_sampler
from oamn_plugin.hosts.fastreid.transforms import Step, build_pipeline
from oamn_plugin.hosts.fastreid.workers import ImageLoader
from oamn_plugin.hosts.shared.distributed import gather, share

logger = logging.getLogger("fastreid.oamn")


class TrainImages(Dataset[dict[str, Any]]):
    """Training images by ``(draw, index)``; the draw's number seeds whatever the pipeline draws.

    Args:
        records: training records, pids numbered from 0.
        pipeline: PIL image in, tensor out.
        seed: seed of the run; None for a pipeline that draws nothing: setting three generators and putting them back
            takes a sixth of the time of an image.
        policy: ``fail`` raises on a bad image; ``skip`` takes the next image of the same person instead.
    """

    def __init__(self, records: Sequence[Record], pipeline: Step, seed: int | None, policy: str = "fail") -> None:
        self.records, self.pipeline, self.seed, self.policy = list(records), pipeline, seed, check_policy(policy)
        classes = {pid: number for number, pid in enumerate(sorted({record.pid for record in records}))}
        self.targets = [classes[record.pid] for record in records]
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, numbered: tuple[int, int]) -> dict[str, Any]:
        draw, index = numbered
        image, index = self._read(index)
        with nullcontext() if self.seed is None else _seeded(self.seed, draw):
            pixels = self.pipeline(image)
        record = self.records[index]
        return {
            "images": pixels,
            "targets": self.targets[index],
            "camids": record.camid,
            "img_paths": record.path,
        }

    def _read(self, index: int) -> tuple[Any, int]:
        try:
            return read_image(self.records[index].path), index
        except BadImageError as error:
            if self.policy == "fail":
                raise
            self._report(error)
            cause = error
        same = [i for i, target in enumerate(self.targets) if target == self.targets[index]]
        turn = same.index(index)
        for candidate in same[turn + 1 :] + same[:turn]:
            try:
                return read_image(self.records[candidate].path), candidate
            except BadImageError as error:
                self._report(error)
        raise BadImageError(cause.path, f"{cause.reason}; nor can any other image of this person be read")

    def _report(self, error: BadImageError) -> None:
        if error.path not in self._reported:  # each worker says it once, not every epoch
            self._reported.add(error.path)
            logger.warning("skipped: %s", error)


@contextmanager
def _seeded(seed: int, draw: int) -> Iterator[None]:
    """Python's, numpy's and torch's generators set from (seed, draw), and put back afterwards."""
    value = int(np.random.SeedSequence([seed, draw]).generate_state(1, np.uint32)[0])
    saved = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 the host's transforms draw from it
    torch.default_generator.manual_seed(value)  # torch.manual_seed visits every device there could be
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])  # noqa: NPY002
        torch.set_rng_state(saved[2])


class TestImages(Dataset[tuple[int, Tensor | None, str]]):
    """Test images in order: ``(index, tensor or None, reason)``; None where the image is skipped, with the reason.

    Args:
        records: query or gallery records.
        pipeline: PIL image in, tensor out.
        policy: ``fail`` or ``skip``.
        occluder: applied to each PIL image with its path, for generated occlusion.
    """

    __test__ = False  # not a test case

    def __init__(self, records: Sequence[Record], pipeline: Step, policy: str = "fail", occluder: Any = None) -> None:
        self.records, self.pipeline, self.occluder = list(records), pipeline, occluder
        self.policy = check_policy(policy)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[int, Tensor | None, str]:
        path = self.records[index].path
        try:
            image = read_image(path)
        except BadImageError as error:
            if self.policy == "fail":
                raise
            return index, None, str(error)
        if self.occluder is not None:
            image = self.occluder(image, path).image
        return index, self.pipeline(image), ""


def collate_test(batch: list[tuple[int, Tensor | None, str]]) -> tuple[list[int], Tensor | None, list[str]]:
    """Readable images stacked with their indices, and the reasons of the others."""
    read = [(index, image) for index, image, _ in batch if image is not None]
    images = default_collate([image for _, image in read]) if read else None
    return [index for index, _ in read], images, [reason for _, image, reason in batch if image is None]


class TrainLoader:
    """Endless training batches from a given step on, moved to the device and transformed there.

    With several processes each decodes its share of the batch; the images are exchanged before anything random happens,
    so that donors and random numbers are those of one process.

    Args:
        cfg: the configuration.
        records: training records.
        device: where the network is.
        start: batches that were trained on already.
    """

    def __init__(self, cfg: CfgNode, records: Sequence[Record], device: torch.device, start: int = 0) -> None:
        seed = None if cfg.INPUT.PIPELINE == "device" else cfg.SEED  # whose workers only decode and resize
        self.dataset = TrainImages(records, build_pipeline(cfg, is_train=True), seed, cfg.INPUT.BAD_IMAGES)
        self.cfg, self.device = cfg, device
        self.transform = build_training_transform(cfg)
        self.generator = torch.Generator().manual_seed(cfg.SEED)
        self.start = start

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader():
            images = gather(batch["images"].to(self.device, non_blocking=True))
            views = self.transform(images, self.generator)
            own = share(len(images))
            yield {
                "images": views.images[own].flatten(0, 1),
                "types": views.types[own],
                **({} if views.covered is None else {"covered": views.covered[own]}),
                "targets": batch["targets"].to(self.device, non_blocking=True),
                "camids": batch["camids"],
                "img_paths": batch["img_paths"],
            }

    def _loader(self) -> ImageLoader:
        batch_size = self.cfg.SOLVER.IMS_PER_BATCH
        items = [
            (record.path, target, record.camid)
            for record, target in zip(self.dataset.records, self.dataset.targets, strict=True)
        ]
        sampler = build_sampler(self.cfg, items, batch_size, self.cfg.SEED)
        workers = self.cfg.DATALOADER.NUM_WORKERS
        return ImageLoader(
            self.dataset,
            default_collate,
            batch_sampler=NumberedBatches(sampler, batch_size, self.cfg.SEED, self.start, share(batch_size)),
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
        )


def build_training_transform(cfg: CfgNode) -> TrainingTransform:
    """What happens on the device between the decoded batch and the network."""
    geometry = None
    if cfg.INPUT.PIPELINE == "device":
        geometry = Geometry(
            cfg.INPUT.PADDING.SIZE if cfg.INPUT.PADDING.ENABLED else 0,
            cfg.INPUT.ROTATION,
            cfg.INPUT.FLIP.PROB if cfg.INPUT.FLIP.ENABLED else 0.0,
        )
    given = cfg.INPUT.OCCLUSION
    objects = CutOuts(given.OBJECTS) if given.OBJECTS else None
    if cfg.MODEL.META_ARCHITECTURE == "OAMN":
        options = oamn_options(cfg)
        return TrainingTransform(geometry, augmentation_of(options, objects), options.aligned_views)
    occlusion = OcclusionAugmentation(0, given.PATCH_SOURCE, given.PROB, given.BLACK_SHARE, given.CUT_SHARE, objects)
    erasing = cfg.INPUT.REA.PROB if cfg.INPUT.PIPELINE == "device" and cfg.INPUT.REA.ENABLED else 0.0
    return TrainingTransform(
        geometry, occlusion if given.PROB else None, erasing=erasing, erasing_value=tuple(cfg.INPUT.REA.VALUE)
    )


def build_test_loader(
    cfg: CfgNode, records: Sequence[Record], occluder: Any = None, places: range | None = None
) -> ImageLoader:
    """Test batches of the records at ``places``, whose start is a multiple of the batch size; None: of all."""
    dataset = TestImages(records, build_pipeline(cfg, is_train=False), cfg.INPUT.BAD_IMAGES, occluder)
    places, size = range(len(records)) if places is None else places, cfg.TEST.IMS_PER_BATCH
    workers = cfg.DATALOADER.NUM_WORKERS if cfg.TEST.NUM_WORKERS < 0 else cfg.TEST.NUM_WORKERS
    return ImageLoader(
        dataset,
        collate_test,
        batch_sampler=[list(places[start : start + size]) for start in range(0, len(places), size)],
        num_workers=workers,
    )
