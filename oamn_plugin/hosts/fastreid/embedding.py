"""Any meta-architecture of fastreid as an embedding model, with the colours of its input."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from oamn_plugin.hosts.fastreid.config import unification
from oamn_plugin.hosts.shared.evaluation import embedded
from oamn_plugin.retrieval.strips import fill_colour
from oamn_plugin.retrieval.unification import Unification


class Embedding(NamedTuple):
    """A model with what retrieval needs to know of it.

    Attributes:
        model: the embedding model.
        unification: what the configuration asks for, as far as the model can be cut.
        mean, std: what its images are normalised by before ``encode``, in 0..255; 0 and 1 where the host normalises.
    """

    model: Any
    unification: Unification
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images in 0..255 as ``encode`` takes them."""
        mean, std = (
            images.new_tensor(values, dtype=torch.float64).float().view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        return (images.float() - mean) / std

    @property
    def colour(self) -> Tensor:
        """(3,) colour of strips on the image."""
        return fill_colour(self.unification.fill, self.mean, self.std, 255)


def embedding_of(cfg: CfgNode, model: nn.Module) -> Embedding:
    """A built model, in evaluation mode, and how it is unified.

    OAMN is the core's own; any other meta-architecture is wrapped by :func:`embedded`.
    """
    settings = unification(cfg)
    if hasattr(model, "oamn"):
        return Embedding(model.oamn, settings, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    flip = cfg.TEST.FLIP.ENABLED

    def forward(images: Tensor) -> Tensor:
        found = model({"images": images.clone()}).float()  # a copy: the host normalises in place
        return (found + model({"images": images.flip(3)}).float()) / 2 if flip else found

    core, settings = embedded(model, settings, tuple(cfg.INPUT.SIZE_TEST), forward, cfg.TEST.METRIC == "cosine")
    return Embedding(core, settings, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
