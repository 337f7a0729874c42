"""The released code's checkpoints: into our OAMN and back.

Official layout: ``{'MaskNet': state, 'TaskNet': state}``. TaskNet holds torchvision's ResNet-50 as ``base.*`` (its
unused ``base.fc`` included), ``feat_bn.*`` and ``classifier.*``; MaskNet the attention as ``fc.*_spatial.*``,
``score_bn.*`` and ``score_fc.*``. Only names differ from ours, values are copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.modeling.oamn import OAMN

CHECKPOINT_PREFIX = "oamn."
"""Prefix of our keys in a host's checkpoint: the host's meta-architecture holds the network as attribute ``oamn``."""
NETS = ("MaskNet", "TaskNet")

# (net, official prefix) to our prefix; the first match counts
_PREFIXES = {
    ("TaskNet", "base.layer4."): "encoder_high.layer4.",
    ("TaskNet", "base."): "encoder_low.",
    ("TaskNet", "feat_bn."): "feat_bn.",
    ("TaskNet", "classifier."): "classifier.",
    ("MaskNet", "fc.theta_spatial."): "mask.theta.",
    ("MaskNet", "fc.phi_spatial."): "mask.phi.",
    ("MaskNet", "fc.gx_spatial."): "mask.gx.",
    ("MaskNet", "fc.gg_spatial."): "mask.relation.",
    ("MaskNet", "fc.W_spatial."): "mask.weigh.",
    ("MaskNet", "score_bn."): "scorer.bn.",
    ("MaskNet", "score_fc."): "scorer.fc.",
}
_UNUSED = {"base.fc.weight": (1000, 2048), "base.fc.bias": (1000,)}


def our_key(net: str, key: str) -> str | None:
    """Returns our name of an official entry; None if we have no such part (``base.fc``) or it is unknown.

    >>> our_key("TaskNet", "base.layer4.0.conv1.weight"), our_key("MaskNet", "score_fc.bias")
    ('encoder_high.layer4.0.conv1.weight', 'scorer.fc.bias')
    """
    if key in _UNUSED:
        return None
    for (of, prefix), ours in _PREFIXES.items():
        if net == of and key.startswith(prefix):
            return ours + key[len(prefix) :]
    return None


def official_key(key: str) -> tuple[str, str]:
    """Returns (net, official name) of one of our entries.

    Raises:
        ValueError: the released network has no such part.

    >>> official_key("mask.weigh.3.weight")
    ('MaskNet', 'fc.W_spatial.3.weight')
    """
    for (net, prefix), ours in _PREFIXES.items():
        if key.startswith(ours):
            return net, prefix + key[len(ours) :]
    raise ValueError(
        f"the released network has no counterpart of {key!r}: only OAMN on a torchvision ResNet-50 has one"
    )


def load_official_state(model: OAMN, state: Mapping[str, Any]) -> None:
    """Copies a checkpoint of the released code into a model.

    Args:
        model: OAMN("resnet50", num_classes, (256, 128)). Without a classifier, the checkpoint's is kept aside.
        state: ``{'MaskNet': ..., 'TaskNet': ...}`` of arrays or tensors; other entries are ignored. What has no place
            in the model (``base.fc``) is remembered for :func:`to_official_state`.

    Raises:
        ValueError: entries are missing, unexpected or of another shape; the message lists them all. The model is
            untouched then.
    """
    absent = [net for net in NETS if not isinstance(state.get(net), Mapping)]
    if absent:
        raise ValueError(f"not a checkpoint of the released OAMN code: no {' and no '.join(absent)} in it")
    entries = {(net, key): _tensor(value) for net in NETS for key, value in state[net].items()}
    ours, extras, unexpected = _sort(model, entries)
    _refuse_differences(model, ours, unexpected)
    model.load_state_dict(ours)
    remember_extras(model, extras)


def to_official_state(model: OAMN) -> dict[str, dict[str, Tensor]]:
    """Returns a model's weights in the layout of the released code.

    ``base.fc``, which the released network carries unused, is what :func:`load_official_state` met, else zeros.

    Args:
        model: OAMN("resnet50", num_classes, (256, 128)).

    Returns:
        ``{'MaskNet': {name: tensor}, 'TaskNet': {name: tensor}}``, entries in the released order, sharing the model's
        memory.

    Raises:
        ValueError: the model is not OAMN on a torchvision ResNet-50 with a mask module and a classifier.
    """
    found: dict[str, dict[str, Tensor]] = {net: {} for net in NETS}
    for key, value in model.state_dict().items():
        net, name = official_key(key)
        found[net][name] = value
    extras = getattr(model, "official_extras", {})
    for name, shape in _UNUSED.items():
        found["TaskNet"][name] = extras.get(name, torch.zeros(shape))
    for name in ("classifier.weight", "classifier.bias"):
        if name in extras:
            found["TaskNet"].setdefault(name, extras[name])
    for name in ("classifier.weight", "base.layer4.2.conv3.weight"):
        if name not in found["TaskNet"]:
            raise ValueError(f"the model has no {name}, without which the released code cannot load it")
    if not found["MaskNet"]:
        raise ValueError("the model has no mask module, without which the released code cannot load it")
    return {net: dict(sorted(states.items(), key=lambda item: _rank(item[0]))) for net, states in found.items()}


def remember_extras(model: OAMN, extras: Mapping[str, Tensor]) -> None:
    """Keeps official entries without a place in the model beside it (not in its state dict)."""
    # a plain attribute: in the state dict it would make our checkpoints depend on where a model came from
    object.__setattr__(model, "official_extras", {key: value.clone() for key, value in extras.items()})


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _sort(
    model: OAMN, entries: Mapping[tuple[str, str], Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Official entries as (ours, kept aside, unexpected)."""
    wanted = model.state_dict().keys()
    ours: dict[str, Tensor] = {}
    extras: dict[str, Tensor] = {}
    unexpected = []
    for (net, key), value in entries.items():
        name = our_key(net, key)
        if name in wanted and name is not None:
            ours[name] = value
        elif net == "TaskNet" and (key in _UNUSED or (key.startswith("classifier.") and model.classifier is None)):
            extras[key] = value
        else:
            unexpected.append(f"{net} {key}")
    return ours, extras, unexpected


def _refuse_differences(model: OAMN, ours: Mapping[str, Tensor], unexpected: list[str]) -> None:
    lines = [f"unexpected: {name}" for name in unexpected]
    for key, value in model.state_dict().items():
        if key not in ours:
            try:
                lines.append("missing: " + " ".join(official_key(key)))
            except ValueError:
                lines.append(f"missing: {key} (no counterpart in the released network)")
        elif ours[key].shape != value.shape:
            shapes = f"{tuple(ours[key].shape)} in the checkpoint, {tuple(value.shape)} in the model"
            lines.append(f"another shape: {' '.join(official_key(key))}: {shapes}")
    if lines:
        raise ValueError(
            f"the checkpoint does not fit the model, {len(lines)} entries differ:\n  " + "\n  ".join(lines)
        )


_ORDER = ("base.conv1", "base.bn1", "base.layer1", "base.layer2", "base.layer3", "base.layer4", "base.fc", "feat_bn",
          "classifier", "fc.gx", "fc.gg", "fc.W", "fc.theta", "fc.phi", "score_bn", "score_fc")  # fmt: skip


def _rank(name: str) -> int:
    return next(index for index, prefix in enumerate(_ORDER) if name.startswith(prefix))
