"""One optimiser step, with or without mixed precision, that stops at once when a number goes wrong."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from torch import nn

from oamn_plugin.errors import ExpectedError


class BadLossError(ExpectedError, FloatingPointError):
    """A loss that is not a finite number; the message names the step, the terms and the images."""


class Stepper:
    """Takes one batch, one backward pass and one optimiser step.

    Args:
        model: gives a dict of losses for a batch.
        batches: endless iterator of batches.
        optimizer: of the model's parameters.
        amp: mixed precision on a CUDA device, with a gradient scaler.

    Raises:
        ValueError: mixed precision without a CUDA device.
    """

    def __init__(
        self, model: nn.Module, batches: Iterator[dict[str, Any]], optimizer: torch.optim.Optimizer, amp: bool = False
    ) -> None:
        self.model, self.batches, self.optimizer = model, batches, optimizer
        self.grad_scaler = torch.amp.GradScaler("cuda") if amp else None

    def run(self, step: int) -> None:
        """Trains on the next batch and writes losses, timing and accuracy to the host's event storage.

        Raises:
            BadLossError: the loss is NaN or infinite; the parameters are as before the step.
        """
        start = time.perf_counter()
        batch = next(self.batches)
        data_time = time.perf_counter() - start
        with torch.autocast("cuda") if self.grad_scaler else contextlib.nullcontext():
            losses = self.model(batch)
            total = sum(losses.values())
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not all(map(math.isfinite, values.values())):
            raise BadLossError(_describe(step, values, batch["img_paths"]))
        self.optimizer.zero_grad(set_to_none=True)
        if self.grad_scaler:
            self.grad_scaler.scale(total).backward()
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        else:
            total.backward()
            self.optimizer.step()
        self._write(values, data_time, len(batch["images"]), time.perf_counter() - start)

    def _write(self, values: dict[str, float], data_time: float, images: int, seconds: float) -> None:
        gathered = comm.gather(values)
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        storage.put_scalar("data_time", data_time)
        storage.put_scalar("images_per_second", images * comm.get_world_size() / seconds)
        means = {name: sum(one[name] for one in gathered) / len(gathered) for name in values}
        storage.put_scalar("total_loss", sum(means.values()))
        storage.put_scalars(**means)


def _describe(step: int, values: dict[str, float], paths: list[str]) -> str:
    terms = ", ".join(f"{name} {value:g}" for name, value in values.items())
    shown = "\n  ".join(paths[:64])
    return f"the loss is no finite number at step {step}: {terms}. Images of the batch:\n  {shown}"
