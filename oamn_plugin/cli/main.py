"""The command ``oamn``: finds the command's module, imports it, and turns expected errors into one message."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial

from oamn_plugin import __version__
from oamn_plugin.environment import keep_freed_memory
from oamn_plugin.errors import ExpectedError, MissingPackageError, did_you_mean, misfit

COMMANDS = {
    "train": "train or test a model from a YAML configuration",
    "test": "score any model, network files too, on known data sets",
    "search": "index a gallery of person images and search it",
    "extract": "write the descriptors of images",
    "benchmark": "train and test the methods of a suite and write one report",
    "data": "list, check and prepare data sets",
    "weights": "list and download pretrained weights",
    "export": "export a model to ONNX or torch.export",
    "app": "open a search page on this computer",
    "visualize": "draw rank lists, masks and augmented views",
    "convert": "convert a checkpoint of OAMN between fastreid and torchreid",
    "convert-official": "convert a checkpoint of the released OAMN code, or back",
    "held-out": "score a training on its held-out people",
    "package": "turn a training into a small model that needs no toolbox",
    "doctor": "print versions, toolboxes, data sets and devices, for a bug report",
    "completion": "print a completion script for bash, zsh or fish",
}
"""Every command and what it does; ``held-out`` is ``oamn_plugin/cli/held_out.py``."""
BAD_INPUT, INTERRUPTED = 2, 130


def main(argv: list[str] | None = None) -> int:
    """Runs ``oamn COMMAND ...``; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"oamn {__version__}")
        return 0
    if words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS).strip() or "`oamn --help` lists them."
        print(f"oamn: there is no command {words[0]!r}. {hint}", file=sys.stderr)
        return BAD_INPUT
    return run(words[0], words[1:])


def command(name: str) -> Callable[..., int]:
    """The command as a function of its arguments (default: those of the process), for the scripts in ``tools/``."""
    return partial(run, name)


def run(name: str, argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        its own exit code; 2 after an expected error, whose message is printed; 130 after Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else argv
    sys.argv[0] = f"oamn {name}"  # what the command's help and usage errors call it
    keep_freed_memory()
    try:
        return int(importlib.import_module(module_of(name)).main(words) or 0)
    except ExpectedError as error:
        print(f"oamn {name}: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"oamn {name}: {where}{error.strerror or error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "oamn_plugin":
            raise
        print(f"oamn {name}: {MissingPackageError(error.name)}", file=sys.stderr)
    except RuntimeError as error:
        if not (what := misfit(error)):
            raise
        print(f"oamn {name}: {what}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"oamn {name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return BAD_INPUT


def module_of(name: str) -> str:
    """Full name of a command's module."""
    return f"oamn_plugin.cli.{name.replace('-', '_')}"


def overview() -> str:
    """The text of ``oamn --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["usage: oamn COMMAND ...", "", "Occluded person re-identification with fastreid and torchreid.", "", *lines,
         "", "`oamn COMMAND --help` explains a command; `oamn --version` prints the version."]
    )  # fmt: skip
