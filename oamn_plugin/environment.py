"""What a process is given from outside: the folder of the data sets, and cores."""

from __future__ import annotations

import os

ROOT_VARIABLE = "FASTREID_DATASETS"
"""Environment variable of fastreid that names the folder of the data sets."""


def default_root() -> str:
    """The folder of the data sets where nothing else names one."""
    return os.environ.get(ROOT_VARIABLE, "datasets")


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
