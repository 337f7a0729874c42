"""The network: backbones and their split, the mask module, the scorer, OAMN as a whole. Pure torch."""

from __future__ import annotations

from oamn_plugin.modeling.backbones import build_backbone
from oamn_plugin.modeling.embedding import EmbeddingModel, SplitModel, WholeModel, embedding_model
from oamn_plugin.modeling.mask import SpatialRelationMask
from oamn_plugin.modeling.oamn import OAMN, OAMNOutput, OcclusionScorer
from oamn_plugin.modeling.split import split_backbone

__all__ = [
    "OAMN",
    "EmbeddingModel",
    "OAMNOutput",
    "OcclusionScorer",
    "SpatialRelationMask",
    "SplitModel",
    "WholeModel",
    "build_backbone",
    "embedding_model",
    "split_backbone",
]
