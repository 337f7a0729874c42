"""The losses of OAMN: each one alone, and the objective that weighs and routes them. Pure torch."""

from __future__ import annotations

from oamn_plugin.losses.common import groups_of
from oamn_plugin.losses.mask import MaskConsistencyLoss
from oamn_plugin.losses.objective import OAMNObjective
from oamn_plugin.losses.position import PositionLoss, box_coverage, coverage
from oamn_plugin.losses.score import OcclusionScoreLoss, score_targets
from oamn_plugin.losses.triplet import CrossGroupTripletLoss, GroupedTripletLoss

__all__ = [
    "CrossGroupTripletLoss",
    "GroupedTripletLoss",
    "MaskConsistencyLoss",
    "OAMNObjective",
    "OcclusionScoreLoss",
    "PositionLoss",
    "box_coverage",
    "coverage",
    "groups_of",
    "score_targets",
]
