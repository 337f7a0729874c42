"""The small OAMN that ships with the package: half-precision weights as safetensors, and a card.

The pair lies in ``oamn_plugin/assets``: ``oamn_small.safetensors`` and ``oamn_small.json``. The card holds what builds
the network (backbone, input size, options), its input (normalisation, resampling), the command that trained it and its
scores. ``oamn package`` writes the pair from the folder of a training run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from oamn_plugin.errors import ExpectedError
from oamn_plugin.modeling.oamn import OAMN
from oamn_plugin.presets import without_removed

ASSETS = Path(__file__).resolve().parents[1] / "assets"
NAME = "oamn_small"
CARD_FORMAT = 1
LIMIT = 6_000_000
"""Bytes that a packaged weight file may have."""
_WHOLE = 25_000
"""Numbers, at most, of a tensor that is stored in single precision."""


class PackagedModelError(ExpectedError, ValueError):
    """Packaged weights that are missing, damaged or too large; the message says what to do."""


@dataclass(frozen=True)
class ModelCard:
    """What there is to know of packaged weights.

    Attributes:
        backbone: name for :func:`oamn_plugin.modeling.build_backbone`.
        last_stride: stride of a ResNet's last stage.
        input_size: image (height, width) in pixels.
        options: fields of :class:`oamn_plugin.presets.Options`; those that are missing do not matter for testing.
        pixel_mean, pixel_std: normalisation, in 0..255.
        resample: ``bilinear`` or ``bicubic``.
        sha256: of the weight file.
        command: what trained the weights, from the repository's root.
        data_set: what they were trained on.
        terms: what the training images allow.
        unification: fields of :class:`oamn_plugin.retrieval.Unification`, as the run had them; none: the options' own.
        scores: data set to scores in percent, measured with the stored (half-precision) weights.
        format: version of this file.
    """

    backbone: str
    input_size: tuple[int, int]
    options: Mapping[str, Any]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    resample: str
    last_stride: int = 2
    sha256: str = ""
    command: str = ""
    data_set: str = ""
    terms: str = ""
    unification: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    format: int = CARD_FORMAT

    def build(self) -> OAMN:
        """The network without its weights, in evaluation mode, on the CPU."""
        size = (int(self.input_size[0]), int(self.input_size[1]))
        return OAMN(self.backbone, 0, size, last_stride=self.last_stride, **without_removed(self.options)).eval()


def is_packaged(folder: Path = ASSETS) -> bool:
    """Whether weights are there."""
    return _weights(folder).exists() and _card(folder).exists()


def read_card(folder: Path = ASSETS) -> ModelCard:
    """The card of the packaged weights.

    Raises:
        PackagedModelError: missing or damaged.
    """
    try:
        content = json.loads(_card(folder).read_text(encoding="utf-8"))
        card = ModelCard(**content)
    except FileNotFoundError:
        raise PackagedModelError(
            f"no weights are packaged in {folder}: give weights and a configuration of your own"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise PackagedModelError(f"the card {_card(folder)} is damaged: {error}") from error
    if card.format != CARD_FORMAT:
        raise PackagedModelError(f"the card {_card(folder)} is of format {card.format}, known is {CARD_FORMAT}")
    return card


def load_packaged(folder: Path = ASSETS) -> OAMN:
    """The packaged network with its weights, single precision, in evaluation mode, on the CPU.

    Raises:
        PackagedModelError: missing, damaged, or weights and card do not belong together.
    """
    card = read_card(folder)
    try:
        content = _weights(folder).read_bytes()
    except OSError as error:
        raise PackagedModelError(f"cannot read {_weights(folder)}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise PackagedModelError(f"{_weights(folder)} is damaged, or not the file that its card describes")
    model, tensors = card.build(), load_safetensors(content)
    own = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    wrong += [name for name in tensors if name not in own]
    if wrong:
        raise PackagedModelError(f"{len(wrong)} packaged weights do not fit the card's network, such as {wrong[0]}")
    model.load_state_dict({name: value.to(torch.float32) for name, value in tensors.items()}, strict=False)
    return model


def save_packaged(model: OAMN, card: ModelCard, folder: Path) -> ModelCard:
    """Writes weights and card of a network; see :func:`stored`.

    Returns:
        The card as written, with the checksum of the weight file.

    Raises:
        PackagedModelError: weights that half precision cannot hold, or a file above :data:`LIMIT`.
    """
    content = save_safetensors(stored(model))
    if len(content) > LIMIT:
        raise PackagedModelError(
            f"the weights take {len(content):,} bytes, more than {LIMIT:,}: use a smaller backbone"
        )
    card = ModelCard(**{**asdict(card), "sha256": hashlib.sha256(content).hexdigest()})
    folder.mkdir(parents=True, exist_ok=True)
    _weights(folder).write_bytes(content)
    _card(folder).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def stored(model: OAMN) -> dict[str, Tensor]:
    """The tensors of a weight file: a state dict without classifier and counters, its large matrices in half precision.

    Small tensors, mask and scorer stay whole: occlusion types sit near their thresholds, and what the first layers
    round off moved descriptors seven times as far as all the rest.
    """
    kept = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not name.startswith("classifier."):
            whole = value.numel() <= _WHOLE or name.startswith(("mask.", "scorer."))
            kept[name] = value.detach().cpu().to(torch.float32 if whole else torch.float16).contiguous()
    endless = [name for name, value in kept.items() if not value.isfinite().all()]
    if endless:
        raise PackagedModelError(f"half precision cannot hold {', '.join(endless[:3])}")
    return kept


def _weights(folder: Path) -> Path:
    return folder / f"{NAME}.safetensors"


def _card(folder: Path) -> Path:
    return folder / f"{NAME}.json"
