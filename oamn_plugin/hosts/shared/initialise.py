"""``MODEL.INIT`` and ``model.init``: a model that starts from a weight file, whatever wrote it."""

from __future__ import annotations

from torch import nn

from oamn_plugin.hosts.shared.checkpoint import load_checkpoint
from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.modeling.initialise import InitialiseError, initialise, state_of
from oamn_plugin.weights import locate


def start_from(model: nn.Module, weights: str) -> str:
    """Loads what fits of a file into a model; see :func:`oamn_plugin.modeling.initialise.initialise`.

    Args:
        model: of any toolbox.
        weights: a file, or a name of the catalogue (:mod:`oamn_plugin.weights`).

    Returns:
        The table of what was taken, for the log.

    Raises:
        WeightsError: a name that the catalogue does not have, or a download that failed.
        CheckpointError: missing, damaged, holding more than data, or of another architecture.
    """
    path = locate(weights)
    try:
        return initialise(model, state_of(load_checkpoint(path), path), str(path)).table()
    except InitialiseError as error:
        raise CheckpointError(str(error)) from error
