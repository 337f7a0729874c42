"""One optimiser step, with or without mixed precision, that stops at once when a number goes wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from torch import nn

from oamn_plugin.hosts.shared.errors import BadLossError
from oamn_plugin.modeling.precision import mixed_precision


class Stepper:
    """Takes one batch, one backward pass and one optimiser step.

    Args:
        model: gives a dict of losses for a batch.
        batches: endless iterator of batches.
        optimizer: of the model's parameters.
        amp: mixed precision: float16 with a gradient scaler on CUDA, bfloat16 on a CPU that has it.
    """

    def __init__(
        self, model: nn.Module, batches: Iterator[dict[str, Any]], optimizer: torch.optim.Optimizer, amp: bool = False
    ) -> None:
        self.model, self.batches, self.optimizer = model, batches, optimizer
        self.device = next(model.parameters()).device
        self.amp = amp
        self.grad_scaler = torch.amp.GradScaler("cuda") if amp and self.device.type == "cuda" else None

    def run(self, step: int) -> None:
        """Trains on the next batch and writes losses, timing and accuracy to the host's event storage.

        Raises:
            BadLossError: the loss or its gradient is NaN or infinite; the parameters are as before the step.
        """
        start = time.perf_counter()
        batch = next(self.batches)
        data_time = time.perf_counter() - start
        with mixed_precision(self.device, self.amp):
            losses = self.model(batch)
            total = sum(losses.values())
        # every process learns every value, so that all stop together where one must
        everywhere = comm.all_gather({name: float(loss.detach()) for name, loss in losses.items()})
        values = {name: sum(one[name] for one in everywhere) / len(everywhere) for name in everywhere[0]}
        if not all(map(math.isfinite, values.values())):
            raise BadLossError(_describe("the loss", step, values, batch["img_paths"]))
        self.optimizer.zero_grad(set_to_none=True)
        if self.grad_scaler:  # leaves out steps with infinite gradients by itself
            self.grad_scaler.scale(total).backward()
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        else:
            total.backward()
            if not self._finite_gradients():
                raise BadLossError(_describe("the gradient of the loss", step, values, batch["img_paths"]))
            self.optimizer.step()
        if comm.is_main_process():
            self._write(values, data_time, len(batch["images"]), time.perf_counter() - start)

    def _finite_gradients(self) -> bool:
        parameters = (parameter for group in self.optimizer.param_groups for parameter in group["params"])
        norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
        return bool(torch.stack(norms).isfinite().all())

    def _write(self, values: dict[str, float], data_time: float, images: int, seconds: float) -> None:
        storage = get_event_storage()
        storage.put_scalar("data_time", data_time)
        storage.put_scalar("images_per_second", images * comm.get_world_size() / seconds)
        storage.put_scalar("total_loss", sum(values.values()))
        storage.put_scalars(**values)


def _describe(what: str, step: int, values: dict[str, float], paths: list[str]) -> str:
    """All processes are in here at once: the paths are those of the whole batch."""
    paths = [path for part in comm.all_gather(paths) for path in part]
    terms = ", ".join(f"{name} {value:g}" for name, value in values.items())
    shown = "\n  ".join(paths[:64] + ([f"and {len(paths) - 64} more"] if len(paths) > 64 else []))
    return f"{what} is no finite number at step {step + 1}: {terms}. Images of the batch:\n  {shown}"
