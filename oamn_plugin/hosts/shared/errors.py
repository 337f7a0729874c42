"""Errors that a user can correct, in either toolbox: each message says what is wrong, where, and what to do."""

from __future__ import annotations

from oamn_plugin.errors import ExpectedError


class HostMissingError(ExpectedError, ImportError):
    """A toolbox that an adapter needs is not installed; the message names the command that installs it."""


class ConfigError(ExpectedError, ValueError):
    """A configuration that cannot work; the message says which key, in which file, and what would be valid."""


class CheckpointError(ExpectedError, RuntimeError):
    """A weight file that is missing, damaged or of another shape; the message says which and what to do."""


class BadLossError(ExpectedError, FloatingPointError):
    """A loss or gradient that is not a finite number; the message names the step, the terms and the images."""
