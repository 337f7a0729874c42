"""The trainer: fastreid's own loop and hooks, around parts that run on any device and resume at the exact step."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import hooks
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.train_loop import TrainerBase
from fastreid.modeling.meta_arch import build_model
from fastreid.utils import comm
from fastreid.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from oamn_plugin.datasets.records import Split
from oamn_plugin.datasets.validation import QueryOccluder, split_identities
from oamn_plugin.hosts.fastreid import data, solver
from oamn_plugin.hosts.fastreid.cost import write_cost
from oamn_plugin.hosts.fastreid.evaluator import OcclusionUnifiedEvaluator
from oamn_plugin.hosts.fastreid.freeze import FreezeHook
from oamn_plugin.hosts.fastreid.loaders import TrainLoader
from oamn_plugin.hosts.fastreid.losses import attach_losses
from oamn_plugin.hosts.fastreid.progress import ProgressPrinter
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY
from oamn_plugin.hosts.fastreid.resume import CheckpointHook, SelectionHook, WriterHook
from oamn_plugin.hosts.fastreid.step import Stepper
from oamn_plugin.hosts.shared.checkpoint import load_newest, require_keys, save_checkpoint, step_files
from oamn_plugin.hosts.shared.config import altered
from oamn_plugin.hosts.shared.distributed import compute_as_one
from oamn_plugin.hosts.shared.errors import BadLossError, CheckpointError, ConfigError
from oamn_plugin.hosts.shared.galleries import sharing_galleries
from oamn_plugin.hosts.shared.random_state import random_state, set_random_state
from oamn_plugin.hosts.shared.results import write_results
from oamn_plugin.hosts.shared.run_folder import set_aside, trim_metrics
from oamn_plugin.hosts.shared.schedule import restore_scheduler, scheduler_state
from oamn_plugin.hosts.shared.weights import load_weights, start_from
from oamn_plugin.modeling.precision import has_bfloat16, split_strides

logger = logging.getLogger("fastreid.oamn")
STATE_KEYS = ("model", "optimizer", "schedulers", "scaler", "random", "step", "best")
"""Entries of a checkpoint that can be resumed."""


class Trainer(DefaultTrainer):
    """fastreid's trainer for OAMN and for every baseline.

    Differences to the host's: parameters are really updated under torch 2, no CUDA is needed, checkpoints resume inside
    an epoch to the bit, and the checkpoint kept as best is chosen on held-out training identities, never on a test set.

    Args:
        cfg: a frozen configuration of :func:`oamn_plugin.hosts.fastreid.load_config`.
        resume: go on from the newest checkpoint in ``OUTPUT_DIR``; starts afresh where there is none.
    """

    def __init__(self, cfg: CfgNode, resume: bool = False) -> None:
        TrainerBase.__init__(self)
        self.held_out = self.build_held_out(cfg)
        classes = len({record.pid for record in self.held_out.train})
        self.cfg = cfg = self.auto_scale_hyperparams(cfg, classes)
        self.output = Path(cfg.OUTPUT_DIR)
        model = self.build_model(cfg)
        self.bare_model = model
        self._optimizer = solver.build_optimizer(cfg, model)
        self.iters_per_epoch = len(self.held_out.train) // cfg.SOLVER.IMS_PER_BATCH
        self.scheduler = solver.build_lr_scheduler(cfg, self._optimizer, self.iters_per_epoch)
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.warmup_iters, self.delay_epochs = cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.DELAY_EPOCHS
        self.start_step, self.best = 0, {"score": -1.0, "epoch": -1}
        device = torch.device(cfg.MODEL.DEVICE)
        self.loader = TrainLoader(cfg, self.held_out.train, device)
        if comm.get_world_size() > 1:
            model = distribute(model, device)
        model.train()
        self._trainer = Stepper(model, iter(()), self._optimizer, amp=cfg.SOLVER.AMP.ENABLED)
        if resume:
            self._resume()
        else:
            if comm.is_main_process():
                set_aside(self.output)
            self._start_from_weights()
        self.register_hooks(self.build_hooks())

    @staticmethod
    def build_held_out(cfg: CfgNode) -> Split:
        """Training records, and the query and gallery records of the identities held out for validation."""
        records = data.training_records(cfg)
        count = cfg.DATASETS.VALIDATION.NUM_IDS
        return split_identities(records, count, cfg.DATASETS.VALIDATION.SEED) if count else Split(records, [], [])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The meta-architecture of a configuration with the losses it names."""
        # a model that starts from MODEL.INIT needs no other weights before
        bare = altered(cfg, {"MODEL.BACKBONE.PRETRAIN": False}) if cfg.MODEL.INIT else cfg
        model = attach_losses(cfg, build_model(bare))
        if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
            model = split_strides(model)
            if not has_bfloat16():
                logger.warning("SOLVER.AMP.ENABLED: this CPU does not compute in bfloat16, training in float32")
        if cfg.MODEL.CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        count = sum(parameter.numel() for parameter in model.parameters())
        logger.info("%s with %.2f million parameters", cfg.MODEL.META_ARCHITECTURE, count / 1e6)
        return model

    def build_hooks(self) -> list[Any]:
        """The host's timing and learning rate, our selection on validation and checkpoints, and the writers."""
        found = [hooks.IterationTimer(), hooks.LRScheduler(self._optimizer, self.scheduler), SelectionHook()]
        if self.cfg.SOLVER.FREEZE_ITERS > 0 and self.cfg.MODEL.FREEZE_LAYERS:
            layers, steps = self.cfg.MODEL.FREEZE_LAYERS, self.cfg.SOLVER.FREEZE_ITERS
            found.append(FreezeHook(self.bare_model, self._optimizer, layers, steps))
        if comm.is_main_process():
            writers = self.build_writers()
            found.append(WriterHook(writers, max(1, min(self.cfg.SOLVER.LOG_PERIOD, self.iters_per_epoch))))
        found.append(CheckpointHook())
        return found

    def build_writers(self) -> list[Any]:
        """Progress on the terminal, ``metrics.json`` and TensorBoard."""
        return [
            ProgressPrinter(self.max_iter, self.iters_per_epoch),
            JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")),
            TensorboardXWriter(self.cfg.OUTPUT_DIR),
        ]

    def train(self) -> OrderedDict[str, Any]:  # type: ignore[override]
        """Trains to the last epoch and tests; the host's loop, able to start inside an epoch.

        Returns:
            the results of the test sets, the same on every process.
        """
        self.iter = self.start_iter = self.start_step
        self.epoch = self.start_step // self.iters_per_epoch
        self.loader.start = self.start_step
        batches: Any = iter(self.loader)
        self._trainer.batches = batches
        with EventStorage(self.start_iter) as self.storage:
            self.storage.epoch = self.epoch
            self.before_train()
            try:
                while self.iter < self.max_iter:
                    self._train_epoch()
            except BadLossError as error:
                files = step_files(self.output)
                good = f"Last good checkpoint: {files[0]}" if files else "No checkpoint was saved before"
                raise BadLossError(f"{error}\n{good}") from None
            finally:
                batches.close()  # ends the data workers
                self.after_train()
        return self.finish()

    def _train_epoch(self) -> None:
        self.epoch = self.iter // self.iters_per_epoch
        self.before_epoch()
        while self.iter < (self.epoch + 1) * self.iters_per_epoch:
            self.before_step()
            self._trainer.run(self.iter)
            self.after_step()
            self.iter += 1
        self.after_epoch()

    def finish(self) -> OrderedDict[str, Any]:
        """Writes the last weights, takes the best ones where validation chose any, and tests."""
        if comm.is_main_process():
            save_checkpoint(self.output / "model_final.pth", {"model": self.bare_model.state_dict()})
            write_cost(self.cfg, self.bare_model, self.output)
        best = self.output / "model_best.pth"
        chosen = f"last epoch ({self.max_epoch})"
        if self.best["epoch"] >= 0 and best.exists():
            load_weights(self.bare_model, best)
            chosen = f"epoch {self.best['epoch'] + 1}, best on held-out training identities"
        logger.info("Testing the weights of the %s", chosen)
        return self.test(self.cfg, self.bare_model, note={"weights": chosen})

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> OcclusionUnifiedEvaluator:  # type: ignore[override]
        """The evaluator that ``TEST.EVALUATOR`` names, for one data set."""
        split = data.build_dataset(cfg, dataset_name)
        return EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)(cfg, dataset_name, split.query, split.gallery)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, note: dict[str, Any] | None = None) -> OrderedDict[str, Any]:
        """Tests on every data set of ``DATASETS.TESTS`` and writes ``OUTPUT_DIR/results.json``."""
        results: OrderedDict[str, Any] = OrderedDict()
        with sharing_galleries():
            for name in cfg.DATASETS.TESTS:
                results[name] = cls.build_evaluator(cfg, name).run(model)
        if comm.is_main_process():
            write_results(Path(cfg.OUTPUT_DIR), results, note or {})
        return results

    def validate(self) -> dict[str, Any]:
        """Scores on the held-out training identities, their queries occluded."""
        occluder = QueryOccluder([record.path for record in self.held_out.train], self.cfg.DATASETS.VALIDATION.SEED)
        evaluator = EVALUATOR_REGISTRY.get(self.cfg.TEST.EVALUATOR)(
            self.cfg, data.VALIDATION, self.held_out.query, self.held_out.gallery, occluder=occluder, judged=False
        )
        return evaluator.run(self.bare_model)

    def state_dict(self) -> dict[str, Any]:
        """The complete state of the training, as plain data."""
        scaler = self._trainer.grad_scaler
        return {
            "model": self.bare_model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedulers": {name: scheduler_state(one) for name, one in self.scheduler.items()},
            "scaler": scaler.state_dict() if scaler else {},
            "random": random_state({"augmentation": self.loader.generator}),
            "step": self.iter + 1,
            "best": self.best,
            **self._identity(),
        }

    def _resume(self) -> None:
        state = load_newest(self.output)
        if state is not None:
            require_keys(state, STATE_KEYS, self.output)
        step = state["step"] if state else 0
        if any(other != step for other in comm.all_gather(step)):
            raise CheckpointError(f"the processes find different checkpoints in {self.output}: all must see one folder")
        if state is None:
            logger.warning("There is no checkpoint to resume from in %s: training starts afresh", self.output)
            self._start_from_weights()
        else:
            self._check_same_run(state)
            self._restore(state)
            logger.info("Resumed after step %d of %d", step, self.max_iter)
        if comm.is_main_process():
            trim_metrics(self.output, "iteration", step)

    def _start_from_weights(self) -> None:
        """Loads all weights of ``MODEL.WEIGHTS``, or those of ``MODEL.INIT`` that fit."""
        if self.cfg.MODEL.WEIGHTS:
            load_weights(self.bare_model, self.cfg.MODEL.WEIGHTS)
            logger.info("Loaded weights from %s", self.cfg.MODEL.WEIGHTS)
        if self.cfg.MODEL.INIT:
            logger.info(start_from(self.bare_model, self.cfg.MODEL.INIT))

    def _check_same_run(self, state: dict[str, Any]) -> None:
        """Raises ConfigError if the configuration would change the next step of the run that is resumed."""
        if state["step"] > self.max_iter:
            raise ConfigError(
                f"the run in {self.output} has trained {state['step'] // self.iters_per_epoch} epochs, more than "
                f"SOLVER.MAX_EPOCH {self.cfg.SOLVER.MAX_EPOCH}: resume with the configuration it was started with"
            )
        now = self._identity()
        changed = [f"{name} {state[name]} then, {now[name]} now" for name in now if state.get(name) != now[name]]
        if changed:
            raise ConfigError(
                f"the run in {self.output} cannot go on with another seed, data or batches ({'; '.join(changed)}): "
                "resume with the configuration it was started with, or start in another OUTPUT_DIR"
            )

    def _identity(self) -> dict[str, Any]:
        """What the order of images depends on."""
        return {
            "seed": self.cfg.SEED,
            "iters_per_epoch": self.iters_per_epoch,
            "images": len(self.held_out.train),
            "batch": self.cfg.SOLVER.IMS_PER_BATCH,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            for name, one in self.scheduler.items():
                restore_scheduler(one, state["schedulers"][name], self.output)
            self.bare_model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._trainer.grad_scaler and state["scaler"]:
                self._trainer.grad_scaler.load_state_dict(state["scaler"])
            set_random_state(state["random"], {"augmentation": self.loader.generator})
        except ConfigError:
            raise
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint in {self.output} is of another model or optimiser: {error}"
            ) from error
        self.start_step, self.best = state["step"], state["best"]


def distribute(model: nn.Module, device: torch.device) -> nn.Module:
    """The model for distributed training that matches one process, see distributed.py."""
    apart = compute_as_one(model)
    if apart:
        logger.warning("%d layers normalise each process's share by itself, such as %s", len(apart), apart[0])
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=bool(apart), static_graph=True)
