"""Several processes on CPUs or GPUs; one that dies takes all down, with its error on screen."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.utils import comm

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a process waits for the others, which evaluation on the first one may need."""


def launch(main: Callable[..., Any], processes: int, device: str, dist_url: str, args: tuple[Any, ...] = ()) -> Any:
    """Runs ``main(*args)`` in one process or in several that share the work.

    Under ``torchrun`` the processes are there already and ``processes`` is not used.

    Args:
        main: a module-level function.
        processes: how many, on this machine.
        device: ``cpu`` (gloo) or ``cuda`` (nccl, one GPU a process).
        dist_url: where the processes meet; ``auto`` takes a free local port.
        args: arguments of ``main``.

    Raises:
        ValueError: more processes than GPUs.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _join(int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"]), device, "env://")
        return main(*args)
    if processes <= 1:
        return main(*args)
    if device.startswith("cuda") and processes > torch.cuda.device_count():
        raise ValueError(f"--num-gpus {processes}, but this machine has {torch.cuda.device_count()}")
    url = f"tcp://127.0.0.1:{_free_port()}" if dist_url == "auto" else dist_url
    mp.spawn(_worker, nprocs=processes, args=(main, processes, device, url, args), daemon=False)
    return None


def _worker(rank: int, main: Callable[..., Any], world: int, device: str, url: str, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    _join(rank, world, device, url)
    try:
        main(*args)
    finally:
        dist.destroy_process_group()


def _join(rank: int, world: int, device: str, url: str) -> None:
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(rank)
    where = {} if url == "env://" else {"world_size": world, "rank": rank}
    dist.init_process_group("nccl" if cuda else "gloo", init_method=url, timeout=TIMEOUT, **where)
    comm._LOCAL_PROCESS_GROUP = dist.group.WORLD


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
