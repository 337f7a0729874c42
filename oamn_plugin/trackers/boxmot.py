"""boxmot: the appearance model of its trackers and pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from oamn_plugin.search.extractor import EncoderExtractor


class BoxmotEncoder:
    """An extractor as boxmot's appearance model, in both of its interfaces.

    As ``reid_model`` of a tracker (:meth:`get_features`), and as ``AppearanceEncoder`` of a pipeline (:meth:`encode`).

    Args:
        extractor: such as ``oamn_plugin.Extractor()``.
    """

    def __init__(self, extractor: EncoderExtractor) -> None:
        self.extractor = extractor

    def get_features(self, xyxys: Any, img: np.ndarray) -> np.ndarray:
        """(N, D) float32 unit descriptors of boxes (N, 4) in a frame (H, W, 3) of BGR, as OpenCV reads it."""
        return self.extractor.crops(img[..., ::-1], xyxys).descriptors.numpy()

    @property
    def embedding_dim(self) -> int:
        """Numbers in a descriptor."""
        return self.extractor.encoder.dim

    @cached_property
    def requirements(self) -> Any:
        """boxmot's ``EncoderRequirements``: boxes suffice."""
        from boxmot.reid.protocols import EncoderRequirements

        return EncoderRequirements()

    def encode(self, frames: Sequence[Any], detections: Sequence[Any]) -> list[Tensor]:
        """One (N, D) tensor a frame, of boxmot's ``Frame`` (RGB) and ``Detections`` with axis-aligned boxes."""
        pairs = zip(frames, detections, strict=True)
        return [self.extractor.crops(frame.image, found.geometry.values).descriptors for frame, found in pairs]
