"""Training in every engine of this adapter: the host's loop, resumable checkpoints, checked losses, metrics."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oamn_plugin.augmentation import TrainingTransform, Views
from oamn_plugin.hosts.shared.checkpoint import require_keys, save_checkpoint, save_step
from oamn_plugin.hosts.shared.conversion import CEIL_POOLING
from oamn_plugin.hosts.shared.errors import BadLossError, CheckpointError, ConfigError
from oamn_plugin.hosts.shared.random_state import random_state, set_random_state
from oamn_plugin.hosts.shared.run_folder import METRICS, set_aside, trim_metrics
from oamn_plugin.hosts.shared.schedule import restore_scheduler, scheduler_state
from oamn_plugin.hosts.torchreid.models import TorchreidOAMN, ceil_pooling, restore_pooling
from oamn_plugin.hosts.torchreid.testing import CoreTesting, normalisation


class CoreTraining(CoreTesting):
    """Mixed into an engine of the host, before it: ``class TripletEngine(CoreTraining, ImageTripletEngine)``.

    Attributes:
        keep: resumable checkpoints that are kept; 0 writes none.
        run_seed: of the run, which a resumed one must share; None: not known.
        transform: makes the views of a batch.
        generator: of the transform's random numbers; saved with a checkpoint, so that a run resumes exactly.
    """

    keep = 2
    run_seed: int | None = None
    transform: TrainingTransform
    generator: torch.Generator
    # of the host's engine
    optimizer: Any
    scheduler: Any

    def run(self, save_dir: str = "log", max_epoch: int = 0, start_epoch: int = 0, **kwargs: Any) -> None:
        """The host's: trains and tests, or only tests (``test_only``). Leaves a run folder as docs/ describes it.

        Args:
            save_dir: the run folder.
            max_epoch: last epoch, counted from 1.
            start_epoch: epochs that were trained before; see :meth:`resume`.
            **kwargs: the host's.

        Raises:
            BadLossError: a loss is not a finite number.
            WriteError: the disk is full or the folder cannot be written to.
        """
        self.save_dir, self.max_epoch = Path(save_dir), max_epoch
        self.print_freq = kwargs.get("print_freq", 10)
        self.epoch = max(0, start_epoch - 1)  # what the host saves where nothing is left to train
        if not kwargs.get("test_only"):
            if start_epoch:
                trim_metrics(self.save_dir, "epoch", start_epoch)
            else:
                set_aside(self.save_dir)
        super().run(save_dir=save_dir, max_epoch=max_epoch, start_epoch=start_epoch, **kwargs)  # type: ignore[misc]
        if max_epoch > 0 and not kwargs.get("test_only"):
            save_checkpoint(self.save_dir / "model_final.pth", model_state(self.bare_model))

    def views(self, images: Tensor) -> Views:
        """All views of normalised images (B, 3, H, W), normalised: (B, V, 3, H, W), with their types (B, V)."""
        occlusion = self.transform.occlusion
        if self.transform.geometry is None and not (occlusion and occlusion.black_share):
            return self.transform(images, self.generator)  # pasting is the same before and after normalising
        # black, which strips may be and what moves out of the image leaves, is 0 only before normalising
        mean, std = (torch.tensor(values).view(3, 1, 1).to(images) for values in normalisation(self.datamanager))
        views = self.transform((images * std + mean) * 255, self.generator)
        return views._replace(images=(views.images / 255 - mean) / std)

    def train(self, *args: Any, **kwargs: Any) -> None:
        """One epoch by the host, and its resumable checkpoint."""
        self._since, self._pending = time.perf_counter(), 0
        super().train(*args, **kwargs)  # type: ignore[misc]
        if self._pending:  # the host's number of batches is an estimate, so its last one is known only now
            self._write_line()
        if self.keep:
            save_step(self.save_dir, self.epoch + 1, self.state_dict(), self.keep)

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        """The host's step; its losses are checked and written to ``metrics.json``.

        Raises:
            BadLossError: a loss is not a finite number; the parameters may be spoilt.
        """
        summary = super().forward_backward(data)  # type: ignore[misc]
        self.check_losses(summary, data)
        self.write_metrics(summary, len(data["pid"]))
        return summary

    def check_losses(self, summary: dict[str, float], data: dict[str, Any]) -> None:
        """Raises BadLossError, with terms and images, unless every number is finite."""
        if not all(map(math.isfinite, summary.values())):
            terms = ", ".join(f"{name} {value:g}" for name, value in summary.items())
            paths = "\n  ".join(data["impath"][:64])
            raise BadLossError(
                f"the loss is no finite number in epoch {self.epoch + 1}, step {self.step}: {terms}. "
                f"Lower train.lr. Images of the batch:\n  {paths}"
            )

    @property
    def step(self) -> int:
        """Optimiser steps taken before this one."""
        return self.epoch * self.num_batches + self.batch_idx  # type: ignore[attr-defined]

    def write_metrics(self, summary: dict[str, float], images: int) -> None:
        """Adds a line to ``metrics.json`` where the host prints one; :meth:`train` adds one at the end of an epoch."""
        self._pending += images
        self._summary, self._step_images = summary, images
        if (self.batch_idx + 1) % self.print_freq == 0:  # type: ignore[attr-defined]
            self._write_line()

    def _write_line(self) -> None:
        now, summary = time.perf_counter(), self._summary
        speed, self._since, self._pending = self._pending / max(now - self._since, 1e-9), now, 0
        left = self.max_epoch * self.num_batches - self.step - 1  # type: ignore[attr-defined]
        total = summary.get("loss") or sum(value for name, value in summary.items() if name.startswith("loss"))
        line = {
            "iteration": self.step,
            "epoch": self.epoch,
            "total_loss": total,
            **{name: value for name, value in summary.items() if name not in ("loss", "acc")},
            **({"cls_accuracy": summary["acc"] / 100} if "acc" in summary else {}),
            "lr": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": speed,
            "eta_seconds": left * self._step_images / speed,
        }
        self.save_dir.mkdir(parents=True, exist_ok=True)
        with open(self.save_dir / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save_model(self, epoch: int, rank1: float, save_dir: str, is_best: bool = False) -> None:
        """The host's checkpoint with the host's keys, as plain tensors and numbers that ``weights_only`` accepts."""
        for name in self.get_model_names():  # type: ignore[attr-defined]
            save_checkpoint(
                Path(save_dir) / name / f"model.pth.tar-{epoch + 1}",
                {**self.state_dict(), "epoch": epoch + 1, "rank1": float(rank1)},
            )

    def state_dict(self) -> dict[str, Any]:
        """The complete state of the training, as plain data."""
        return {
            **model_state(self.bare_model),
            "epoch": self.epoch + 1,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler_state(self.scheduler),
            "random": random_state({"augmentation": self.generator}, every_gpu=True),
            **({} if self.run_seed is None else {"seed": self.run_seed}),
        }

    def resume(self, state: dict[str, Any], source: str) -> int:
        """Restores the state of :meth:`state_dict` from a checkpoint.

        Args:
            state: the content of the checkpoint.
            source: its file, for messages.

        Returns:
            ``start_epoch`` for :meth:`run`.

        Raises:
            CheckpointError: the checkpoint holds weights only or is of another model or optimiser.
            ConfigError: it is of a run with another seed, or another plan of the learning rate.
        """
        require_keys(state, ("state_dict", "epoch", "optimizer"), source)
        if self.run_seed is not None and state.get("seed", self.run_seed) != self.run_seed:
            raise ConfigError(
                f"the run in {source} cannot go on with another seed ({state['seed']} then, {self.run_seed} now): "
                "resume with the configuration it was started with, or start in another data.save_dir"
            )
        if self.scheduler is not None:
            restore_scheduler(self.scheduler, state.get("scheduler") or {"last_epoch": state["epoch"]}, source)
        restore_pooling(self.bare_model, state)
        try:
            self.bare_model.load_state_dict(state["state_dict"])
            self.optimizer.load_state_dict(state["optimizer"])
            if "random" in state:
                set_random_state(state["random"], {"augmentation": self.generator})
            return int(state["epoch"])
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{source} is of another model or optimiser: {str(error).splitlines()[0]}") from error


def model_state(model: nn.Module) -> dict[str, Any]:
    """``{"state_dict": ...}`` as the host stores it, and properties of the network that weights do not show."""
    state: dict[str, Any] = {"state_dict": dict(model.state_dict())}
    if isinstance(model, TorchreidOAMN) and ceil_pooling(model):
        state[CEIL_POOLING] = True
    return state
