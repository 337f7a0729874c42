"""Parts of the torchreid adapter that train in seconds on one core, and the reason where the host is absent."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "torchreid"
TARGETS = ["OccludedPedestrians", "OccludedPedestriansHolistic"]
SIZE = (64, 32)


def require_torchreid() -> None:
    """Imports the host quietly; skips the module where it is not installed."""
    if importlib.util.find_spec("torchreid") is None:
        pytest.skip("torchreid is not installed: pip install --no-deps torchreid==0.2.5", allow_module_level=True)
    from oamn_plugin.hosts.torchreid.compat import install

    install()


def tiny_datamanager(root: Path, **changes: Any) -> Any:
    """The host's data manager on the smallest generated data set."""
    import torchreid

    settings: dict[str, Any] = {
        "sources": TARGETS[0],
        "targets": TARGETS,
        "height": SIZE[0],
        "width": SIZE[1],
        "transforms": [],
        "batch_size_train": 8,
        "batch_size_test": 16,
        "num_instances": 2,
        "train_sampler": "RandomIdentitySampler",
        "workers": 0,
        "use_gpu": False,
    }
    return torchreid.data.ImageDataManager(root=str(root), **(settings | changes))


def tiny_config(root: Path, output: Path, config: str = "oamn_osnet_x0_25", **changes: Any) -> Any:
    """``configs/torchreid/<config>.yml`` made small; ``changes`` are keys with ``__`` for the dot."""
    from oamn_plugin.hosts.torchreid.config import load_config

    return load_config(str(CONFIGS / f"{config}.yml"), tiny_options(root, output, **changes))


def tiny_options(root: Path, output: Path, **changes: Any) -> list[str]:
    """The same as ``KEY VALUE`` words of a command line."""
    settings: dict[str, Any] = {
        "data.root": root,
        "data.save_dir": output,
        "data.height": SIZE[0],
        "data.width": SIZE[1],
        "data.workers": 0,
        "embedded.size": "tiny",
        "train.batch_size": 8,
        "train.max_epoch": 2,
        "train.print_freq": 2,
        "sampler.train_sampler": "RandomIdentitySampler",
        "sampler.num_instances": 2,
        "test.batch_size": 16,
        "use_gpu": False,
    }
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    return [str(word) for pair in settings.items() for word in pair]


def liven(model: nn.Module, seed: int = 0) -> None:
    """Weights and statistics as after a training: no layer is the identity, the scorer has opinions."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
        elif name.endswith("scorer.fc"):
            nn.init.normal_(module.weight, 0, 1.0, generator=generator)  # type: ignore[arg-type]


def run_python(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, run in the repository."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
