"""The root of every error that a user can mend; commands show its message alone, without a traceback."""

from __future__ import annotations


class ExpectedError(Exception):
    """Something in what the user gave (a file, a key, a folder) that stands in the way; the message says what to do."""
