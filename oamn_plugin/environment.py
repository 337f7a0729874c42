"""What a process is given from outside: the folder of the data sets, cores, and how memory is given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

ROOT_VARIABLE = "FASTREID_DATASETS"
"""Environment variable of fastreid that names the folder of the data sets."""


def default_root() -> str:
    """The folder of the data sets where nothing else names one."""
    return os.environ.get(ROOT_VARIABLE, "datasets")


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, each operation of torch is computed by one thread; the caller's setting comes back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Has this process keep the memory that it frees, up to 2 GiB at the top of its heap.

    By default glibc maps every tensor of a batch anew and the system clears it page by page, which takes up to half of
    an evaluation on a CPU. Nothing happens with another C library, or where the user has set a ``MALLOC_`` variable or
    ``GLIBC_TUNABLES``.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    m_trim_threshold, m_mmap_max = -1, -4  # of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_mmap_max, 0)
