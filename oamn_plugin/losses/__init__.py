"""The losses of OAMN: each one alone, and the objective that weighs and routes them. Pure torch."""

from __future__ import annotations

from oamn_plugin.losses.common import groups_of
from oamn_plugin.losses.mask import MaskConsistencyLoss
from oamn_plugin.losses.objective import OAMNObjective
from oamn_plugin.losses.position import PositionLoss, coverage
from oamn_plugin.losses.score import OcclusionScoreLoss
from oamn_plugin.losses.triplet import GroupedTripletLoss

__all__ = [
    "GroupedTripletLoss",
    "MaskConsistencyLoss",
    "OAMNObjective",
    "OcclusionScoreLoss",
    "PositionLoss",
    "coverage",
    "groups_of",
]
