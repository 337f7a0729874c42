"""Converts checkpoints of OAMN between toolboxes: the network is the same in both, only its wrapping differs.

fastreid keeps ``{"model": {"oamn.<entry>": ...}}``, torchreid ``{"state_dict": {"<entry>": ...}}``. One thing the
weights do not tell: fastreid's own ResNet pools its stem without padding (``ceil``), torchreid's and torchvision's pad
(``padded``); the same weights give other descriptors under the other pooling, so it travels along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oamn_plugin.hosts.shared.errors import CheckpointError
from oamn_plugin.modeling.official import CHECKPOINT_PREFIX as PREFIX

CEIL_POOLING = "ceil_pooling"
"""Entry of a torchreid-style checkpoint whose ResNet pools its stem as fastreid's does."""
_OWN = ("encoder_low.", "encoder_high.", "feat_bn.")
_STEM, _STAGE = "encoder_low.bn1.", "encoder_low.layer1."


def host_of_checkpoint(content: Mapping[str, Any]) -> str:
    """The toolbox that wrote a checkpoint of OAMN: ``fastreid`` or ``torchreid``.

    Raises:
        CheckpointError: of neither, or of another model than OAMN.
    """
    for host, key, prefix in (("fastreid", "model", PREFIX), ("torchreid", "state_dict", "")):
        state = content.get(key)
        if isinstance(state, Mapping):
            if any(name.startswith(tuple(prefix + own for own in _OWN)) for name in state):
                return host
            raise CheckpointError(f"its {key!r} holds another model than OAMN: only OAMN moves between toolboxes")
    raise CheckpointError("it is a checkpoint of neither fastreid ('model') nor torchreid ('state_dict')")


def is_resnet(state: Mapping[str, Any]) -> bool:
    """Whether the bare entries of OAMN are those of a ResNet, whose stem pooling matters."""
    return any(name.startswith(_STEM) for name in state) and any(name.startswith(_STAGE) for name in state)


def to_torchreid(content: Mapping[str, Any], pooling: str = "ceil") -> dict[str, Any]:
    """A checkpoint of fastreid as torchreid's.

    Args:
        content: of the file.
        pooling: how a ResNet was trained: ``ceil`` by fastreid's own, ``padded`` by its backbone ``torchvision``.
    """
    state = {name.removeprefix(PREFIX): value for name, value in content["model"].items() if name.startswith(PREFIX)}
    return {"state_dict": state, **({CEIL_POOLING: True} if pooling == "ceil" and is_resnet(state) else {})}


def to_fastreid(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of torchreid as fastreid's."""
    state = {name.removeprefix("module."): value for name, value in content["state_dict"].items()}
    return {"model": {PREFIX + name: value for name, value in state.items()}}
