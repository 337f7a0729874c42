"""Distributed training that matches one process up to summation order.

Each process sends its share of the batch through the network; wherever an image's result depends on the other images
of the batch, the processes exchange what is needed:

- batch normalisation takes its statistics over all processes (torch's own ``SyncBatchNorm`` refuses CPU tensors);
- dropout draws the mask of the whole batch, and each process takes its rows;
- losses see the whole batch, gathered; each process differentiates its own rows.

The gradients of the processes then add up to those of one process. With one process nothing here does anything.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from oamn_plugin.losses.common import full_precision


def world_size() -> int:
    """How many processes train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def share(count: int) -> slice:
    """The rows of this process out of the ``count`` rows of the whole batch, which the processes divide evenly."""
    own = count // world_size()
    return slice(rank() * own, (rank() + 1) * own)


def any_process(value: int) -> int:
    """The largest of the processes' values (0 or above), so that all take the same decision at the same step."""
    if world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    largest = torch.tensor([value], device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def gather_objects(content: Any) -> list[Any]:
    """An object from every process, in the order of their ranks."""
    if world_size() == 1:
        return [content]
    everywhere: list[Any] = [None] * world_size()
    dist.all_gather_object(everywhere, content)
    return everywhere


def gather_arrays(array: np.ndarray) -> list[np.ndarray]:
    """An array from every process, in the order of their ranks; all have the same shape and type."""
    own = torch.from_numpy(np.ascontiguousarray(array))
    if dist.get_backend() == "nccl":
        own = own.cuda()
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return [part.cpu().numpy() for part in parts]


def gather(tree: Any) -> Any:
    """The whole batch of every tensor in a tensor, dict, list or (named) tuple; the same on each process.

    Backward gives each process the gradient of its own rows, times the number of processes: the mean that
    ``DistributedDataParallel`` takes of the parameters' gradients becomes their sum.
    """
    if world_size() == 1:
        return tree
    return tree_map(lambda leaf: _Gather.apply(leaf) if isinstance(leaf, Tensor) and leaf.ndim else leaf, tree)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient[share(len(gradient))] * world_size()


def compute_as_one(model: nn.Module) -> list[str]:
    """Makes a model's batch norms, dropouts and losses work on the batch of all processes, in place.

    Parameters, buffers and their names stay as they are. Losses are those of a module ``objective`` or of a method
    ``losses`` (the host's meta-architectures).

    Returns:
        names of the normalisations whose forward pass is their own: they keep the statistics of their process.
    """
    apart = []
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and _is_plain(module):
            module.__class__ = _mixed(_SharedNorm, type(module))  # type: ignore[arg-type]
        elif isinstance(module, _BatchNorm):
            apart.append(name)
        elif type(module) is nn.Dropout:
            module.__class__ = _mixed(_SharedDropout, nn.Dropout)
    if isinstance(getattr(model, "objective", None), nn.Module):
        model.objective.register_forward_pre_hook(lambda _, inputs: gather(inputs))  # type: ignore[union-attr]
    elif hasattr(model, "losses"):
        losses = model.losses
        model.losses = lambda *inputs: losses(*gather(inputs))  # type: ignore[assignment, operator]
    return apart


def _is_plain(module: nn.Module) -> bool:
    """Whether a batch norm only normalises, or normalises and then applies ``drop`` and ``act`` as timm's does."""
    return type(module).forward is _BatchNorm.forward or (hasattr(module, "act") and hasattr(module, "drop"))


@functools.cache
def _mixed(behaviour: type, kind: type) -> type:
    # a class of its own keeps isinstance, names and parameters as they were
    return type(f"Shared{kind.__name__}", (behaviour, kind), {})


class _SharedDropout:
    """``nn.Dropout`` whose mask is that of the whole batch: the very numbers that one process draws."""

    def forward(self: Any, images: Tensor) -> Tensor:
        if not self.training or not self.p:
            return images
        ones = images.new_ones(len(images) * world_size(), *images.shape[1:])
        return images * F.dropout(ones, self.p)[share(len(ones))]


class _SharedNorm:
    """A batch norm whose statistics in training are those of all processes."""

    def forward(self: Any, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)  # type: ignore[misc]
        out, mean, variance = _Normalise.apply(images, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._track(mean, variance, images.numel() // images.shape[1] * world_size())
        return self.act(self.drop(out)) if hasattr(self, "act") else out

    @torch.no_grad()
    def _track(self: Any, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / max(1, count - 1))
        self.running_mean.mul_(1 - momentum).add_(mean.to(self.running_mean.dtype), alpha=momentum)
        self.running_var.mul_(1 - momentum).add_(unbiased.to(self.running_var.dtype), alpha=momentum)


class _Normalise(torch.autograd.Function):
    """Normalises (N, C, ...) by the mean and variance of all processes; returns these too, without gradient."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = torch.stack(torch.var_mean(full_precision(images), _without_channels(images), correction=0))
        parts = [torch.empty_like(own) for _ in range(world_size())]
        dist.all_gather(parts, own)
        variances, means = torch.stack(parts, 1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(images, weight, mean, (variance + eps).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(images, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        images, weight, mean, scale = ctx.saved_tensors
        shape = [1, -1] + [1] * (images.ndim - 2)
        gradient, dims = full_precision(gradient), _without_channels(images)
        unit = (full_precision(images) - mean.view(shape)) * scale.view(shape)
        own = torch.stack([gradient.sum(dims), (gradient * unit).sum(dims)])
        both = own.clone()
        dist.all_reduce(both)
        both /= images.numel() // images.shape[1] * world_size()
        inner = gradient - both[0].view(shape) - unit * both[1].view(shape)
        inner *= (scale if weight is None else scale * weight).view(shape)
        return inner.to(images.dtype), *((own[1], own[0]) if weight is not None else (None, None)), None


def _without_channels(images: Tensor) -> list[int]:
    return [dim for dim in range(images.ndim) if dim != 1]
