"""The model that a command works with: the packaged one, or weights with their configuration."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from oamn_plugin.errors import ExpectedError

if TYPE_CHECKING:
    from oamn_plugin.search.encoder import ImageEncoder


class ModelChoiceError(ExpectedError, ValueError):
    """Half of what names a model."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--config-file``, ``--weights`` and ``--opts`` to a command."""
    group = parser.add_argument_group("model", "both or none; none: the small model that ships with the package")
    group.add_argument("--config-file", default="", metavar="FILE", help="YAML file that the model was trained with")
    group.add_argument("--weights", default="", metavar="FILE", help="its checkpoint, such as model_final.pth")
    group.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="keys that replace the file's")


def load_model(config_file: str = "", weights: str = "", opts: list[str] | None = None) -> ImageEncoder:
    """The encoder of weights with their configuration; of the packaged model where both are empty.

    Raises:
        ModelChoiceError: one without the other.
        ExpectedError: a configuration or weights that do not work; the message says why.
    """
    if not config_file and not weights:
        from oamn_plugin.search.encoder import packaged_encoder

        return packaged_encoder()
    if not config_file or not weights:
        given, missing = ("--weights", "--config-file") if weights else ("--config-file", "--weights")
        raise ModelChoiceError(f"{given} needs {missing} too; leave out both to use the packaged model")
    import oamn_plugin.hosts.fastreid  # noqa: F401 only registration
    from oamn_plugin.hosts.fastreid.inference import load_encoder

    return load_encoder(config_file, weights, opts or ())
