"""TrackLab: a detection module that gives ``embeddings`` and ``visibility_scores``.

In a TrackLab configuration::

    reid:
      _target_: oamn_plugin.trackers.tracklab.OAMNReID
      batch_size: 32
      model: packaged
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch

from oamn_plugin.search.extractor import cut_box


@cache
def module_class() -> type:
    """The module's class, made when TrackLab is asked for."""
    import pandas as pd
    from tracklab.pipeline.detectionlevel_module import DetectionLevelModule

    class OAMNReID(DetectionLevelModule):
        """Descriptors of detections; arguments beside ``batch_size`` are those of ``oamn_plugin.Extractor``."""

        collate_fn = staticmethod(list_samples)
        input_columns: ClassVar[list[str]] = ["bbox_ltwh"]
        output_columns: ClassVar[list[str]] = ["embeddings", "visibility_scores"]

        def __init__(self, batch_size: int, **arguments: Any) -> None:
            super().__init__(batch_size)
            from oamn_plugin.hosts.extractor import Extractor

            self.extractor = Extractor(**arguments, batch_size=batch_size)

        def preprocess(self, image: np.ndarray, detection: Any, metadata: Any) -> np.ndarray:
            """The pixels of one detection; TrackLab's images are RGB."""
            left, top, width, height = detection.bbox_ltwh
            return np.ascontiguousarray(cut_box(image, np.array([left, top, left + width, top + height])))

        def process(self, batch: Any, detections: Any, metadatas: Any) -> Any:
            """One row a detection: ``embeddings`` (1, D) and ``visibility_scores`` (1,), for one part, the body."""
            crops = self.extractor(batch)
            share = torch.ones(len(crops)) if crops.visible is None else crops.visible
            columns = {"embeddings": crops.descriptors, "visibility_scores": share}
            rows = {name: list(values[:, None].numpy()) for name, values in columns.items()}
            return pd.DataFrame(rows, index=detections.index)

    return OAMNReID


def list_samples(samples: list[tuple[Any, np.ndarray]]) -> tuple[list[Any], list[np.ndarray]]:
    """Names and crops of a batch; crops differ in size and cannot be stacked."""
    return [name for name, _ in samples], [crop for _, crop in samples]


def __getattr__(name: str) -> Any:
    """``OAMNReID``, for configurations that name it."""
    if name == "OAMNReID":
        return module_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
