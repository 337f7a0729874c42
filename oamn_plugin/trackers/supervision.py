"""roboflow's supervision, its trackers, which keep the data that detections carry, and the call of its reid."""

from __future__ import annotations

from typing import Any

import numpy as np

from oamn_plugin.search.extractor import EncoderExtractor

DESCRIPTORS, VISIBLE, TYPES = "embeddings", "visible", "occlusion_type"
"""Keys in ``Detections.data``."""


def add_descriptors(detections: Any, frame: np.ndarray, extractor: EncoderExtractor, bgr: bool = True) -> Any:
    """Describes the people of a frame; the result stays with them through filters and trackers.

    Args:
        detections: ``supervision.Detections`` of N people.
        frame: (H, W, 3) uint8, BGR as OpenCV reads it.
        extractor: such as ``oamn_plugin.Extractor()``.
        bgr: False: the frame is RGB.

    Returns:
        The detections given, with (N, D) ``embeddings`` and, where the model has a mask and a scorer, ``visible`` and
        ``occlusion_type`` in their ``data``.
    """
    crops = extractor.crops(frame[..., ::-1] if bgr else frame, detections.xyxy)
    detections.data[DESCRIPTORS] = crops.descriptors.numpy()
    if crops.visible is not None:
        detections.data[VISIBLE] = crops.visible.numpy()
        detections.data[TYPES] = np.array(crops.types, dtype=np.str_)
    return detections


class SupervisionEncoder:
    """An extractor in the place of a ``ReIDModel`` of roboflow's reid.

    Args:
        extractor: such as ``oamn_plugin.Extractor()``.
    """

    def __init__(self, extractor: EncoderExtractor) -> None:
        self.extractor = extractor

    def extract_embeddings(self, detections: Any, frame: np.ndarray) -> np.ndarray:
        """(N, D) float32 unit descriptors of ``supervision.Detections`` in a frame (H, W, 3) of BGR."""
        return self.extractor.crops(frame[..., ::-1], detections.xyxy).descriptors.numpy()
