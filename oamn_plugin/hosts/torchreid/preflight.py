"""Checks before the first step everything that would fail hours later; all findings are one message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from yacs.config import CfgNode

from oamn_plugin.datasets.embedded import SIZES
from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.shared import preflight as shared
from oamn_plugin.hosts.shared.random_state import same_random_numbers
from oamn_plugin.hosts.shared.weights import load_weights
from oamn_plugin.hosts.torchreid.builders import OAMN_SCHEDULE, build_datamanager, build_model, register_from
from oamn_plugin.hosts.torchreid.compat import host_module, image_datasets, model_factory
from oamn_plugin.hosts.torchreid.config import load_config, oamn_options
from oamn_plugin.hosts.torchreid.models import LOSSES, PREFIX, restore_pooling
from oamn_plugin.hosts.torchreid.testing import HOST_METRICS, NO_PICTURES
from oamn_plugin.presets import PATCH_SOURCES, preset
from oamn_plugin.weights import missing_weights

HOST_TRANSFORMS = ("random_flip", "random_crop", "random_patch", "color_jitter", "random_erase")
"""The host's own names; it takes any other word in silence and does nothing for it."""


def check_configuration(config: str, options: Sequence[str], train: bool) -> None:
    """The checks of ``oamn train`` of a file and its options; a test's, its weights apart, are no other."""
    cfg = load_config(config, options)
    register_from(cfg)
    check_settings(cfg)
    check_data(cfg, build_datamanager(cfg))


def check_settings(cfg: CfgNode) -> None:
    """Checks names, ranges and files; needs no data.

    Raises:
        PreflightError: every finding in one message.
    """
    shared.refuse(_unknown_names(cfg) + _wrong_values(cfg) + _wrong_occlusion(cfg) + _missing_files(cfg))
    if cfg.model.load_weights:  # before any data is read
        shared.refuse(shared.failure(lambda: _load_alone(cfg)))


def _load_alone(cfg: CfgNode) -> None:
    with same_random_numbers():
        model = build_model(cfg, 1)
        restore_pooling(model, load_weights(model, cfg.model.load_weights))


def check_data(cfg: CfgNode, datamanager: Any) -> None:
    """Checks the data of a data manager: enough to train on, and queries with a match in the gallery.

    Raises:
        PreflightError: every finding in one message.
    """
    found: list[str] = []
    parts: dict[tuple[str, str], list[Record]] = {}
    if not cfg.test.evaluate:
        parts[" + ".join(cfg.data.sources), "train"] = _records(datamanager.train_loader.dataset.train)
        if not len(datamanager.train_loader):
            batch = cfg.train.batch_size
            found.append(f"train.batch_size {batch} is larger than the training data: an epoch has no step")
    for name, sets in datamanager.test_dataset.items():
        parts |= {(name, part): _records(sets[part]) for part in ("query", "gallery")}
    shared.refuse(found + shared.wrong_splits(parts, print))


def _records(items: Iterable[Any]) -> list[Record]:
    return [Record(*one[:3]) for one in items]


def _unknown_names(cfg: CfgNode) -> list[str]:
    samplers = host_module("data.sampler").AVAI_SAMPLERS
    schedules = [*host_module("optim.lr_scheduler").AVAI_SCH, OAMN_SCHEDULE]
    return shared.unknown_names(
        [
            ("model.name", cfg.model.name, model_factory()),
            ("data.type", cfg.data.type, ("image",)),
            ("sampler.train_sampler", cfg.sampler.train_sampler, samplers),
            ("train.optim", cfg.train.optim, host_module("optim.optimizer").AVAI_OPTIMS),
            ("train.lr_scheduler", cfg.train.lr_scheduler, schedules),
            ("loss.name", cfg.loss.name, LOSSES),
            ("test.dist_metric", cfg.test.dist_metric, HOST_METRICS),
            ("embedded.size", cfg.embedded.size, SIZES),
            *(("data.sources", name, image_datasets()) for name in cfg.data.sources),
            *(("data.targets", name, image_datasets()) for name in cfg.data.targets),
            ("occlusion.patch_source", cfg.occlusion.patch_source, PATCH_SOURCES),
            *(("data.transforms", name, HOST_TRANSFORMS) for name in cfg.data.transforms if name != "random_occlusion"),
        ]
    )


def _wrong_values(cfg: CfgNode) -> list[str]:
    positive = {
        "train.batch_size": cfg.train.batch_size,
        "train.max_epoch": cfg.train.max_epoch,
        "train.lr": cfg.train.lr,
        "train.print_freq": cfg.train.print_freq,
        "test.batch_size": cfg.test.batch_size,
        "sampler.num_instances": cfg.sampler.num_instances,
    }
    found = [f"{key} must be above 0, got {value}" for key, value in positive.items() if value <= 0]
    found += shared.not_three("data.norm_mean", cfg.data.norm_mean)
    found += shared.not_three("data.norm_std", cfg.data.norm_std, 0)
    found += shared.wrong_seed("train.seed", cfg.train.seed, 0)
    if not cfg.test.evaluate:
        found += shared.too_small_batch("train.batch_size", cfg.train.batch_size)
    shares = {name: cfg.occlusion[name] for name in ("prob", "black_share", "cut_share")}
    found += [f"occlusion.{name} must lie in [0, 1], got {it}" for name, it in shares.items() if not 0 <= it <= 1]
    if not cfg.data.sources:
        found.append("data.sources is empty: nothing would be trained on")
    if cfg.test.visrank:
        found.append(NO_PICTURES)
    batch, instances = cfg.train.batch_size, cfg.sampler.num_instances
    if "Identity" in cfg.sampler.train_sampler and instances > 0 and batch % instances:
        found.append(f"train.batch_size {batch} must be a multiple of sampler.num_instances {instances}")
    return found


def _wrong_occlusion(cfg: CfgNode) -> list[str]:
    """A line for each setting of the training occlusion that was removed, or has no effect because of another."""
    if cfg.test.evaluate:
        return []
    found = []
    if "random_occlusion" in cfg.data.transforms:
        found.append(
            "data.transforms: random_occlusion is no transform of one image any more, since a worker has no other "
            "people to cut patches from; take it out and set occlusion.prob, which occludes whole batches"
        )
    found += shared.wrong_objects("occlusion.objects", cfg.occlusion.objects)
    is_oamn = cfg.model.name.startswith(PREFIX)
    options = (oamn_options(cfg), preset(cfg.oamn.preset)) if is_oamn else None
    return found + shared.idle_occlusion("occlusion.", cfg.occlusion, "oamn.", options)


def _missing_files(cfg: CfgNode) -> list[str]:
    found = []
    for key in ("init", "load_weights", "resume"):
        found += [f"model.{key}: {wrong}" for wrong in missing_weights(cfg.model[key])]
    if cfg.model.init and cfg.model.load_weights:
        found.append("model.init and model.load_weights both name weights: give one")
    if cfg.test.evaluate and not cfg.model.load_weights:
        found.append("test.evaluate tests model.load_weights: name the file of the weights")
    found += shared.unusable_folder("data.save_dir", cfg.data.save_dir, train=not cfg.test.evaluate)
    if cfg.use_gpu and not torch.cuda.is_available():
        print("use_gpu: there is no CUDA device, the CPU is used")
    return found
