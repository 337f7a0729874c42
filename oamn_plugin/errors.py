"""The root of every error that a user can mend, and the hint at what was meant; loads nothing heavy."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable

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
    """Something in what the user gave (a file, a key, a folder) that stands in the way; the message says what to do.

    Commands show its message alone, without a traceback.
    """

    def __str__(self) -> str:
        return "\n".join(map(printable, super().__str__().split("\n")))


def printable(name: str) -> str:
    r"""A name from elsewhere, such as a file's, as text that every terminal, page and file takes.

    Bytes that are not UTF-8 (``surrogateescape``), control characters and marks that turn the direction of writing
    become escapes; a terminal would obey some of them, and UTF-8 cannot write others.

    >>> print(printable("caf\udce9\x1b[31m.jpg"), printable("Jürgen 4.jpg"))
    caf\xe9\x1b[31m.jpg Jürgen 4.jpg
    """
    return name if name.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in name)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The words " Did you mean ...?" with the most similar known name, upper or lower case, or nothing.

    >>> did_you_mean("train.max_epochs", ["train.max_epoch", "train.lr"])
    " Did you mean 'train.max_epoch'?"
    >>> did_you_mean("x", ["train.lr"])
    ''
    """
    written = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), list(written), n=1, cutoff=cutoff)
    return f" Did you mean {written[near[0]]!r}?" if near else ""


def misfit(error: BaseException) -> str:
    """What to do about an error of a torch and a torchvision that were built apart; empty for any other error.

    >>> misfit(RuntimeError("operator torchvision::nms does not exist"))[:48]
    'torch and torchvision do not fit together: pip i'
    """
    if "torchvision::" not in str(error):
        return ""
    return "torch and torchvision do not fit together: pip install --force-reinstall torch torchvision, from one place"


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
