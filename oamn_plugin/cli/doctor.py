"""Prints what a bug report needs: versions, toolboxes, data sets, devices, and how to install what is missing."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from oamn_plugin import __version__
from oamn_plugin.cli.parser import Parser
from oamn_plugin.configurations import CONFIGS
from oamn_plugin.environment import ROOT_VARIABLE, default_root
from oamn_plugin.errors import EXTRAS, misfit

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pillow",
    "safetensors",
    "faiss-cpu",
    "scikit-learn",
    "matplotlib",
)
TOOLBOXES = {"fastreid": "1.4.0", "torchreid": "0.2.5"}
EXTRA_PACKAGES = {"cv2": "opencv-python-headless"}
"""Names of packages that are imported by another one."""


def build_parser() -> Parser:
    """The command line."""
    return Parser(description=__doc__)


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    build_parser().parse_args(argv)
    sections: dict[str, Callable[[], list[str]]] = {
        "system": _system,
        "packages": lambda: [f"{name} {_version(name) or 'is missing: pip install ' + name}" for name in PACKAGES],
        "toolboxes": lambda: [_host(name, wanted) for name, wanted in TOOLBOXES.items()],
        "extras": _extras,
        "devices": _devices,
        "model": _packaged_model,
        "data sets": _data_sets,
    }
    for title, lines in sections.items():
        print(title, flush=True)
        try:
            found = lines()
        except Exception as error:  # a report must name whatever is broken, and go on
            found = [_told(error)]
        for line in found:
            print(f"  {line}")
    return 0


def _told(error: Exception) -> str:
    return misfit(error) or str(error) or type(error).__name__


def _system() -> list[str]:
    return [
        f"oamn_plugin {__version__} in {Path(__file__).parents[1]}",
        f"configurations in {CONFIGS}",
        f"Python {platform.python_version()} in {sys.prefix}",
        f"{platform.platform()}, {os.cpu_count()} processors",
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _host(name: str, wanted: str) -> str:
    found = _version(name)
    if not found:
        return f"{name} is not installed: pip install --no-deps {name}=={wanted}"
    line = f"{name} {found}" if found == wanted else f"{name} {found} (made for {wanted})"
    try:
        importlib.import_module(f"oamn_plugin.hosts.{name}.compat").install()
    except Exception as error:  # a report must name whatever an import raises
        return f"{line}: {_told(error)}"
    return line


def _extras() -> list[str]:
    names: dict[str, list[str]] = {}
    for module, extra in EXTRAS.items():
        names.setdefault(extra, []).append(EXTRA_PACKAGES.get(module, module))
    lines = []
    for extra, packages in sorted(names.items()):
        missing = [name for name in packages if not _version(name)]
        there = ", ".join(f"{name} {_version(name)}" for name in packages if name not in missing)
        lines.append(
            f"{extra}: {there}" if not missing else f"{extra} is not installed: pip install 'oamn_plugin[{extra}]'"
        )
    return lines


def _devices() -> list[str]:
    import torch

    lines = [f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        lines.append(f"cuda:{number} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        lines.append(
            f"no CUDA device (torch is built for {'CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU'})"
        )
    if torch.backends.mps.is_available():
        lines.append("mps")
    return lines


def _packaged_model() -> list[str]:
    from oamn_plugin.modeling.packaged import is_packaged

    return [
        "the packaged model is there" if is_packaged() else "the packaged model is missing: name one with --weights"
    ]


def _data_sets() -> list[str]:
    from oamn_plugin.datasets.catalogue import CATALOGUE
    from oamn_plugin.datasets.records import DataSetError

    root = Path(default_root())
    source = ROOT_VARIABLE if ROOT_VARIABLE in os.environ else f"{ROOT_VARIABLE} is not set"
    lines = [f"folder {root} ({source}){'' if root.is_dir() else ' does not exist'}"]
    for entry in CATALOGUE.values():
        try:
            lines.append(f"{entry.name} in {entry.layout.find(str(root))}")
        except DataSetError:
            continue
    return lines if len(lines) > 1 else [*lines, "none of the known sets; `oamn data list` names them"]
