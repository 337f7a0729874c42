"""The root of every error that a user can mend, and the hint at what was meant; loads nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ExpectedError(Exception):
    """Something in what the user gave (a file, a key, a folder) that stands in the way; the message says what to do.

    Commands show its message alone, without a traceback.
    """


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The words " Did you mean ...?" with the most similar known name, or nothing.

    >>> did_you_mean("train.max_epochs", ["train.max_epoch", "train.lr"])
    " Did you mean 'train.max_epoch'?"
    >>> did_you_mean("x", ["train.lr"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else ""
