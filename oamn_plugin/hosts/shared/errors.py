"""What a user can mend, whatever the toolbox: each message says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from oamn_plugin.errors import ExpectedError


class HostMissingError(ExpectedError, ImportError):
    """A toolbox that an adapter needs is not installed; the message names the command that installs it."""


class ConfigError(ExpectedError, ValueError):
    """A configuration that cannot work; the message says which key, in which file, and what would be valid."""


class CheckpointError(ExpectedError, RuntimeError):
    """A weight file that is missing, damaged or of another shape; the message says which and what to do."""


class BadLossError(ExpectedError, FloatingPointError):
    """A loss that is not a finite number; the message names the step, the terms and the images."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The words " Did you mean ...?" with the most similar known name, or nothing.

    >>> nearest("train.max_epochs", ["train.max_epoch", "train.lr"])
    " Did you mean 'train.max_epoch'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else ""
