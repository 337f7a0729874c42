"""Loads weights of any toolbox into a model: pure functions on state dicts, and those that read files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint
from oamn_plugin.hosts.shared.errors import CheckpointError, ConfigError
from oamn_plugin.modeling.initialise import InitialiseError, current_names, initialise, match_in_order, state_of
from oamn_plugin.weights import catalogue, locate

State = Mapping[str, Tensor]
SCORER_FIT = "scorer_fit"
"""Entry of a checkpoint: options of an OAMN that its scorer was calibrated to, by name."""
_CLASSIFIER = re.compile(r"(^|\.)classifier|(^|[._])heads?\.weight$")


def is_classifier(name: str) -> bool:
    """Whether an entry belongs to the identity classifier, which is of another size for another data set.

    >>> [is_classifier(name) for name in ("oamn.classifier.weight", "b1_head.weight", "heads.bottleneck.0.bias")]
    [True, True, False]
    """
    return _CLASSIFIER.search(name) is not None


def missing_entries(own: State, state: State) -> list[str]:
    """Entries of a model that a state lacks or holds in another shape; counters of batches do not count."""
    return [
        name
        for name, value in own.items()
        if (name not in state or state[name].shape != value.shape) and not name.endswith(".num_batches_tracked")
    ]


def fitting(own: State, state: State, source: object) -> dict[str, Tensor]:
    """The entries of a state that go into a model; its classifier may have another size, the rest must fit.

    Args:
        own: the model's state dict.
        state: entry names to tensors, today's or those of fastreid's zoo.
        source: the file, for the message.

    Raises:
        CheckpointError: the weights are of another model; the message lists what differs.
    """
    if any(name not in own for name in state):
        state = current_names(state)
    if not any(name in own for name in state):
        raise CheckpointError(
            f"{source} does not hold weights of this model: none of its entries is known"
            + _of_other_toolbox(own, state, source)
        )
    lacking = [name for name in missing_entries(own, state) if not is_classifier(name)]
    parts = {
        "of another shape": [name for name in lacking if name in state],
        "missing": [name for name in lacking if name not in state],
        "unknown": [name for name in state if name not in own and not is_classifier(name)],
    }
    if any(parts.values()):
        listed = "; ".join(f"{len(names)} {what} ({_first(names)})" for what, names in parts.items() if names)
        raise CheckpointError(f"{source} does not fit this model: {listed}")
    return {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}


def _first(names: Iterable[str], count: int = 4) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _of_other_toolbox(own: State, state: State, source: object) -> str:
    if any(f"oamn.{name}" in own or name.removeprefix("oamn.") in own for name in state):
        return f". It is of the other toolbox: oamn convert {source} TARGET.pth converts it"
    return ""


def load_weights(model: nn.Module, path: Path | str) -> dict[str, Any]:
    """Loads the weights of a checkpoint into a model; see :func:`fitting` for what may differ.

    Args:
        model: what is loaded into.
        path: a file, or a name of the catalogue (:mod:`oamn_plugin.weights`).

    Returns:
        the content of the file, which may say more than weights do.

    Raises:
        CheckpointError: missing, damaged or of another model; the message lists what differs.
    """
    content = load_checkpoint(locate(str(path)) if str(path) in catalogue() else path)
    model.load_state_dict(fitting(model.state_dict(), state_of(content, path), path), strict=False)
    return content


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


@contextlib.contextmanager
def fetching(what: str, advice: str) -> Iterator[None]:
    """Turns any error of a download into a ConfigError that names the weights and says what to do."""
    try:
        yield
    except ExpectedError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        reason = words if len(words) <= 200 else f"{words[:200]} ..."
        raise ConfigError(
            f"the ImageNet weights of {what} could not be fetched ({type(error).__name__}: {reason}). {advice}"
        ) from error


def load_pretrained(backbone: nn.Module, path: Path | str, optional: str = r"$^") -> None:
    """Loads the weights of a file into a backbone, all of its tensors; whatever else the file holds is left.

    Args:
        backbone: what is loaded into.
        path: a file of ImageNet weights.
        optional: matches the names of tensors that need not be in the file.

    Raises:
        CheckpointError: missing, damaged, or lacking tensors; the message names the first of them.
    """
    state, own = state_of(load_checkpoint(path), path), backbone.state_dict()
    if not set(own) & set(state):  # contrastive pretraining, which fastreid's ResNeXt takes
        state = {name.removeprefix("encoder."): value for name, value in state.items()}
    if missing_entries(own, state):  # the same network under the names of another toolbox
        state |= {to: state[of] for to, of in (match_in_order(own, state) or {}).items()}
    lacking = [name for name in missing_entries(own, state) if not re.match(optional, name)]
    if lacking:
        raise CheckpointError(
            f"{path} is not of this backbone: {len(lacking)} of its {len(own)} tensors are missing or of another shape "
            f"({_first(lacking)})"
        )
    fit = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    backbone.load_state_dict(fit, strict=False)
