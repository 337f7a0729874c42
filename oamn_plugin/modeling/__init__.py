"""The network: backbones and their cut, the mask module, the scorer, OAMN as a whole. Pure torch."""

from __future__ import annotations

from oamn_plugin.modeling.backbones import BACKBONES, build_backbone
from oamn_plugin.modeling.cut import Split, split_backbone
from oamn_plugin.modeling.embedding import EmbeddingModel, SplitModel, WholeModel, embedding_model
from oamn_plugin.modeling.fold import folded
from oamn_plugin.modeling.mask import SpatialRelationMask
from oamn_plugin.modeling.oamn import OAMN, OAMNOutput
from oamn_plugin.modeling.scorer import OcclusionScorer

__all__ = [
    "BACKBONES",
    "OAMN",
    "EmbeddingModel",
    "OAMNOutput",
    "OcclusionScorer",
    "SpatialRelationMask",
    "Split",
    "SplitModel",
    "WholeModel",
    "build_backbone",
    "embedding_model",
    "folded",
    "split_backbone",
]
