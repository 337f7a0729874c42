"""What makes the unmodified fastreid 1.4.0 import, train and evaluate on a current stack, and nothing more.

Two shims are needed while the host is imported and are taken away again afterwards:

- ``collections.Mapping`` (gone since Python 3.10; data/build.py and evaluation/testing.py import it from there);
- ``torch._six.string_classes`` (gone since torch 2.0; data/build.py imports it).

What else breaks is not patched but avoided by the adapter, which uses its own part instead:

- ``ContiguousParams``: the optimiser holds flat buffers whose gradients ``zero_grad`` of torch 2 sets to None, so that
  nothing is ever updated, silently. Our trainer builds the optimiser from the parameters themselves;
- ``DataLoaderX`` needs CUDA; ``ReidEvaluator`` compiles Cython at run time and exits when that fails; ``AMPTrainer``
  asserts CUDA; ``launch`` asserts NCCL: see loaders.py, evaluator.py, step.py, launch.py.
"""

from __future__ import annotations

import collections
import collections.abc
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from oamn_plugin.hosts.shared.errors import HostMissingError

SUPPORTED = "1.4.0"
INSTALL_COMMAND = f"pip install --no-deps fastreid=={SUPPORTED}"
_MODULES = ("fastreid.engine", "fastreid.modeling", "fastreid.data", "fastreid.evaluation", "fastreid.config")


@contextmanager
def shims() -> Iterator[None]:
    """Inside, the names exist that the host imports and current packages no longer have."""
    missing_mapping = not hasattr(collections, "Mapping")
    missing_six = importlib.util.find_spec("torch._six") is None
    if missing_mapping:
        collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]
    if missing_six:
        six = types.ModuleType("torch._six")
        six.string_classes = (str, bytes)  # type: ignore[attr-defined]
        sys.modules["torch._six"] = six
    try:
        yield
    finally:
        if missing_mapping:
            del collections.Mapping  # type: ignore[attr-defined]
        if missing_six:
            sys.modules.pop("torch._six", None)


def install() -> None:
    """Imports the host under the shims; does nothing when it is imported already.

    Raises:
        HostMissingError: fastreid or something that it imports is not installed.
    """
    if all(name in sys.modules for name in _MODULES):
        return
    if importlib.util.find_spec("fastreid") is None:
        raise HostMissingError(
            "fastreid is not installed. Its own pins forbid a current torch, so install it without them: "
            f"{INSTALL_COMMAND}"
        )
    with shims(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cython rank evaluation")  # this plugin ranks by itself
        try:
            for name in _MODULES:
                importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise HostMissingError(
                f"fastreid is installed but needs the missing package {error.name!r}: pip install {error.name}"
            ) from error
