"""What makes the unmodified torchreid import and run on a current stack, from PyPI (0.2.5) or from GitHub (1.4).

The two differ in layout only: PyPI's modules are ``torchreid.reid.models``, GitHub's ``torchreid.models``; the
attributes ``torchreid.models``, ``.data``, ``.engine``, ``.optim``, ``.utils`` resolve in both. Nothing of the host has
to be patched to import it; its warning that no compiled ranking is there is hushed, since this plugin ranks by itself.

What breaks later is avoided by the adapter, which uses its own part instead:

- ranking: ``np.bool`` (gone in numpy 1.24 to 1.26), a distance matrix held whole, one of the two average precisions;
- checkpoints: a numpy scalar in them, which ``weights_only=True`` refuses; ``scheduler=None``, which it cannot save;
- damaged images: its reader tries again for ever; ours stops and names the file;
- a finished run that is resumed: it would count its epochs from 0 again.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType
from typing import Any

from oamn_plugin.hosts.shared.errors import HostMissingError

SUPPORTED = "0.2.5"
INSTALL_COMMAND = f"pip install --no-deps torchreid=={SUPPORTED}"
"""A plain sdist without compiled parts: it builds on any Python. ``--no-deps`` because it declares no dependencies."""
_PACKAGES = {"cv2": "opencv-python-headless", "PIL": "pillow"}


def install() -> None:
    """Imports the host, quietly.

    Raises:
        HostMissingError: torchreid or something that it imports is not installed.
    """
    try:
        found = importlib.util.find_spec("torchreid") is not None
    except ValueError:  # imported already by other means than a file
        found = True
    if not found:
        raise HostMissingError(f"torchreid is not installed: {INSTALL_COMMAND}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cython evaluation")
        try:
            importlib.import_module("torchreid")
        except ModuleNotFoundError as error:
            name = _PACKAGES.get(error.name or "", error.name)
            raise HostMissingError(
                f"torchreid is installed but needs the missing package {name!r}: pip install {name}"
            ) from error


def host_module(name: str) -> ModuleType:
    """A module of the host by its GitHub name without ``torchreid.``, such as ``data.transforms``, in either layout."""
    import torchreid

    root = torchreid.models.__name__.rpartition(".")[0]
    return importlib.import_module(f"{root}.{name}")


def model_factory() -> dict[str, Any]:
    """The host's dict from model name to builder; the host has no function to add to it.

    Raises:
        HostMissingError: this torchreid keeps its models elsewhere.
    """
    factory = vars(host_module("models")).get("__model_factory")
    if not isinstance(factory, dict):
        raise HostMissingError(
            f"this torchreid has no model factory; the supported one is {SUPPORTED}: {INSTALL_COMMAND}"
        )
    return factory


def image_datasets() -> dict[str, Any]:
    """The host's dict from data set name to class."""
    return vars(host_module("data.datasets"))["__image_datasets"]
