"""Builds the host's parts from a configuration: data, model, optimiser, learning rate, engine."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torchreid
from torch import nn
from yacs.config import CfgNode

from oamn_plugin.augmentation import CutOuts, Geometry, OcclusionAugmentation
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.shared.config import given_options
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.schedule import oamn_schedule
from oamn_plugin.hosts.shared.weights import fetching
from oamn_plugin.hosts.torchreid.compat import host_module
from oamn_plugin.hosts.torchreid.config import data_root, unification
from oamn_plugin.hosts.torchreid.engine import ImageOAMNEngine, SoftmaxEngine, TripletEngine
from oamn_plugin.hosts.torchreid.models import PREFIX, TorchreidOAMN, register
from oamn_plugin.modeling.precision import as_float, keep_precise, mixed_precision, split_strides

OAMN_SCHEDULE = "oamn_steps"


def register_from(cfg: CfgNode) -> None:
    """Registers everything with the settings of a configuration."""
    custom = cfg.custom
    register(
        (cfg.data.height, cfg.data.width),
        cfg.oamn.preset,
        embedded_size=cfg.embedded.size,
        embedded_seed=cfg.embedded.seed,
        custom={
            "root": custom.root,
            "csv_file": custom.csv,
            "train": custom.train,
            "query": custom.query,
            "gallery": custom.gallery,
            "pattern": custom.pattern,
        },
        **given_options(cfg.oamn, "oamn."),
    )


def _test_datamanager(
    root: str, targets: list[str], batch_size_test: int, workers: int, of_sets: dict[str, Any], **kwargs: Any
) -> Any:
    """A data manager of the targets alone, for evaluation where no training data is on disk."""
    manager = host_module("data.datamanager").DataManager(sources=targets, targets=targets, **kwargs)
    manager.data_type, manager._num_train_pids, manager._num_train_cams = "image", 1, 1
    manager.train_loader, manager.test_loader, manager.test_dataset = [], {}, {}
    build = host_module("data.datasets").init_image_dataset
    for name in targets:
        sets = {
            part: build(name, transform=manager.transform_te, mode=part, root=root, verbose=part == "query", **of_sets)
            for part in ("query", "gallery")
        }
        manager.test_loader[name] = {
            part: torch.utils.data.DataLoader(one, batch_size_test, num_workers=workers, pin_memory=manager.use_gpu)
            for part, one in sets.items()
        }
        manager.test_dataset[name] = {part: getattr(one, part) for part, one in sets.items()}
    return manager


def build_datamanager(cfg: CfgNode) -> Any:
    """The host's data manager; with ``test.evaluate`` one that needs no training data.

    Raises:
        ConfigError: the host cannot build it: a data set is not there, or a batch wants more identities than there are.
        DataSetError: a data set of this plugin is missing or not laid out as expected.
    """
    data, train = cfg.data, cfg.train
    shared = {
        "root": data_root(cfg),
        "targets": list(data.targets or data.sources),
        "height": data.height,
        "width": data.width,
        "norm_mean": list(data.norm_mean),
        "norm_std": list(data.norm_std),
        "use_gpu": cfg.use_gpu,
        "batch_size_test": cfg.test.batch_size,
        "workers": data.workers,
    }
    of_sets = {
        "split_id": data.split_id,
        "cuhk03_labeled": cfg.cuhk03.labeled_images,
        "cuhk03_classic_split": cfg.cuhk03.classic_split,
        "market1501_500k": cfg.market1501.use_500k_distractors,
    }
    try:
        if cfg.test.evaluate:
            return _test_datamanager(**shared, of_sets=of_sets)
        return torchreid.data.ImageDataManager(
            **shared,
            **of_sets,
            sources=list(data.sources),
            transforms=list(data.transforms),
            k_tfm=data.k_tfm,
            combineall=data.combineall,
            batch_size_train=train.batch_size,
            num_instances=cfg.sampler.num_instances,
            num_cams=cfg.sampler.num_cams,
            num_datasets=cfg.sampler.num_datasets,
            train_sampler=cfg.sampler.train_sampler,
        )
    except ExpectedError:
        raise
    except AssertionError as error:
        wanted = str(error) or "a batch wants batch_size / num_instances identities, more than there are"
        raise ConfigError(
            f"train.batch_size {train.batch_size} with sampler.train_sampler {cfg.sampler.train_sampler} does not fit "
            f"the training data: {wanted}"
        ) from error
    except (ValueError, RuntimeError, OSError) as error:
        raise ConfigError(f"data.sources, data.targets: {error}") from error


def build_model(cfg: CfgNode, num_classes: int) -> nn.Module:
    """The named model, on its device; with ImageNet weights only if it will be trained from them."""
    pretrained = cfg.model.pretrained and not (
        cfg.model.init or cfg.model.load_weights or cfg.model.resume or cfg.test.evaluate
    )
    advice = "Give weights of your own, or train from scratch: model.pretrained False"
    with fetching(cfg.model.name, advice) if pretrained else contextlib.nullcontext():
        model = torchreid.models.build_model(cfg.model.name, num_classes, cfg.loss.name, pretrained, cfg.use_gpu)
    if cfg.model.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if torch.cuda.is_available() and cfg.use_gpu:
        return model.cuda()
    return train_in_bfloat16(model) if cfg.train.amp else model


def train_in_bfloat16(model: nn.Module) -> nn.Module:
    """Makes a model train in bfloat16, which the host does not offer, on a CPU that supports it; changes it in place.

    Linear layers and their batch norms stay in float32, and so does what the losses get: three digits are too few for
    logits and distances. Evaluation, weights and their names are as they were.
    """
    split_strides(model)
    for module in list(model.modules()):
        if isinstance(module, (nn.Linear, nn.BatchNorm1d)):
            keep_precise(module)
    own = type(model)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with mixed_precision("cpu", enabled=self.training):
            return as_float(own.forward(self, *args, **kwargs))

    model.__class__ = type(own.__name__, (own,), {"forward": forward})
    return model


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The host's optimiser; mask module and scorer at a rate of their own where ``train.mask_lr_mult`` says so."""
    train = cfg.train
    optimizer = torchreid.optim.build_optimizer(
        model,
        optim=train.optim,
        lr=train.lr,
        weight_decay=train.weight_decay,
        momentum=cfg.sgd.momentum,
        sgd_dampening=cfg.sgd.dampening,
        sgd_nesterov=cfg.sgd.nesterov,
        rmsprop_alpha=cfg.rmsprop.alpha,
        adam_beta1=cfg.adam.beta1,
        adam_beta2=cfg.adam.beta2,
        staged_lr=train.staged_lr,
        new_layers=list(train.new_layers),
        base_lr_mult=train.base_lr_mult,
    )
    if train.mask_lr_mult and isinstance(model, TorchreidOAMN):
        _set_mask_rate(optimizer, model, train.lr * train.mask_lr_mult)
    return optimizer


def _set_mask_rate(optimizer: torch.optim.Optimizer, model: TorchreidOAMN, rate: float) -> None:
    """Moves mask module and scorer into a group of their own, before the others: the host shows the last one's rate."""
    parts = [parameter for part in (model.mask, model.scorer) if part is not None for parameter in part.parameters()]
    taken = {id(parameter) for parameter in parts}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in taken]
    if parts:
        optimizer.add_param_group({"params": parts, "lr": rate})
        optimizer.param_groups.insert(0, optimizer.param_groups.pop())


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
    """The host's learning rate schedule, or the released OAMN's."""
    train = cfg.train
    if train.lr_scheduler == OAMN_SCHEDULE:
        return oamn_schedule(optimizer, train.max_epoch)
    return torchreid.optim.build_lr_scheduler(
        optimizer,
        lr_scheduler=train.lr_scheduler,
        stepsize=list(train.stepsize),
        gamma=train.gamma,
        max_epoch=train.max_epoch,
    )


def build_engine(cfg: CfgNode, datamanager: Any, model: nn.Module) -> Any:
    """The engine of a model: OAMN's own, or the host's of ``loss.name``."""
    optimizer = build_optimizer(cfg, model)
    scheduler = build_scheduler(cfg, optimizer)
    wrapped = nn.DataParallel(model) if cfg.use_gpu and torch.cuda.device_count() > 1 else model
    arguments: dict[str, Any] = {"scheduler": scheduler, "use_gpu": cfg.use_gpu, "seed": cfg.train.seed}
    given = cfg.occlusion
    objects = CutOuts(given.objects) if given.objects else None
    occlusion = OcclusionAugmentation(0, given.patch_source, given.prob, given.black_share, given.cut_share, objects)
    baseline = {"occlusion": occlusion if given.prob else None, "label_smooth": cfg.loss.softmax.label_smooth}
    if cfg.model.name.startswith(PREFIX):
        assert isinstance(model, TorchreidOAMN)
        geometry = Geometry(cfg.geometry.padding, cfg.geometry.rotation, cfg.geometry.flip)
        moves = cfg.geometry.padding or cfg.geometry.rotation or cfg.geometry.flip
        arguments |= {"geometry": geometry if moves else None, "objects": objects}
        engine: Any = ImageOAMNEngine(datamanager, wrapped, optimizer, **arguments)
    elif cfg.loss.name == "softmax":
        engine = SoftmaxEngine(datamanager, wrapped, optimizer, **baseline, **arguments)
    else:
        triplet = cfg.loss.triplet
        weights = {"margin": triplet.margin, "weight_t": triplet.weight_t, "weight_x": triplet.weight_x}
        engine = TripletEngine(datamanager, wrapped, optimizer, **weights, **baseline, **arguments)
    engine.unification, engine.chunk_size = unification(cfg), cfg.test.chunk_size or None
    engine.keep, engine.run_seed = cfg.train.keep_checkpoints, cfg.train.seed
    return engine
