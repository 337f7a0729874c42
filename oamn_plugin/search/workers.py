"""Several processes that encode one gallery, as torchrun starts them: each describes its share of a plan's blocks.

The first process leads: it holds the lock, writes the plan and puts the blocks together. The others wait for it to
announce a plan, describe their blocks and wait again. A crash of one ends all, as torchrun has it, and loses the blocks
that were being made; the next call carries on, with any number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.index_plan import Plan, PlanFolder


@contextmanager
def together(encoder: ImageEncoder) -> Iterator[bool]:
    """Joins the processes that torchrun started, if it did, each with a GPU of its own where there are as many.

    Yields:
        Whether this is the first process, the one that reports.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield True
        return
    local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if gpus:
        encoder.model.to(f"cuda:{local % gpus}")
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def rank_and_size() -> tuple[int, int]:
    """Number of this process and of all."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def wait() -> None:
    """Waits until all processes are here."""
    if rank_and_size()[1] > 1:
        dist.barrier()


def encode_together(pending: PlanFolder, plan: Plan, encoder: ImageEncoder, progress: bool) -> None:
    """Describes a plan's images with the help of all processes; called by the first one."""
    part = rank_and_size()
    if part[1] > 1:
        _announce(True)
    pending.encode(plan, encoder, progress, part)
    wait()


@contextmanager
def leading() -> Iterator[None]:
    """Lets the others go at the end, or when something went wrong."""
    try:
        yield
    finally:
        if rank_and_size()[1] > 1:
            _announce(False)


def follow(pending: PlanFolder, encoder: ImageEncoder) -> None:
    """What the other processes do until the first one lets them go."""
    while _announce(None):
        plan = pending.load()
        if plan is not None:
            pending.encode(plan, encoder, False, rank_and_size())
        wait()


def _announce(go_on: bool | None) -> bool:
    """Whether there is another plan, as the first process says."""
    message = [go_on]
    dist.broadcast_object_list(message, src=0)
    return bool(message[0])
