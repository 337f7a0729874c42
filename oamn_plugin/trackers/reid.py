"""roboflow's ``reid``: an extractor in the place of its appearance model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oamn_plugin.search.extractor import EncoderExtractor


class ReIDModel:
    """An extractor with the calls of ``reid.ReIDModel``.

    Their ``batch_size`` and ``num_workers`` change no descriptor; the extractor goes by its own batch size.

    Args:
        extractor: such as ``oamn_plugin.Extractor()``.
    """

    def __init__(self, extractor: EncoderExtractor) -> None:
        self.extractor = extractor

    def extract_embeddings(self, detections: Any, frame: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """(N, D) float32 unit descriptors of ``supervision.Detections`` in a frame (H, W, 3) of BGR."""
        return self.extractor.crops(frame[..., ::-1], detections.xyxy).descriptors.numpy()

    def extract_embeddings_from_paths(
        self, image_paths: Sequence[str], *, batch_size: int = 32, num_workers: int = 0
    ) -> np.ndarray:
        """(N, D) float32 unit descriptors of image files of one person each."""
        return self.extractor(list(image_paths)).descriptors.numpy()
