"""The root of every error that a user can mend; commands show its message alone, without a traceback."""

from __future__ import annotations

import importlib.util

EXTRAS = {
    "gradio": "app",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "openvino": "openvino",
    "pymilvus": "milvus",
    "timm": "timm",
    "cv2": "torchreid",
    "gdown": "torchreid",
    "h5py": "torchreid",
}
"""Importable packages that are not always installed, and the extra of this package that brings each."""


class ExpectedError(Exception):
    """Something in what the user gave (a file, a key, a folder) that stands in the way; the message says what to do."""


class MissingPackageError(ExpectedError, ImportError):
    """A package that only some commands use is not installed; the message names the command that installs it."""

    def __init__(self, *modules: str) -> None:
        extra = next((f"[{EXTRAS[module]}]" for module in modules if module in EXTRAS), "")
        command = f"pip install 'oamn_plugin{extra}'" if extra else "pip install oamn_plugin"
        verb = "are" if len(modules) > 1 else "is"
        super().__init__(f"{', '.join(modules)} {verb} needed and not installed: {command}", name=modules[0])


def need(*modules: str) -> None:
    """Makes sure that packages can be imported, without importing them.

    Raises:
        MissingPackageError: some cannot.

    >>> need("json")
    >>> need("json", "no_such_package")
    Traceback (most recent call last):
    oamn_plugin.errors.MissingPackageError: no_such_package is needed and not installed: pip install oamn_plugin
    """
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        raise MissingPackageError(*missing)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: a module without a specification, such as one that was blocked
        return False
