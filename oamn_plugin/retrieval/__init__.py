"""Retrieval: occlusion unification, exact streaming evaluation, re-ranking, query expansion, significance."""

from __future__ import annotations

from oamn_plugin.retrieval.ranking import evaluate_distances, evaluate_ranking
from oamn_plugin.retrieval.result import RankingResult
from oamn_plugin.retrieval.store import DescriptorStore
from oamn_plugin.retrieval.unification import (
    QueryDescriptors,
    Unified,
    black_out,
    black_pixel,
    describe_gallery,
    describe_gallery_fast,
    describe_queries,
    needed_types,
    occlusion_types,
    unify,
)

__all__ = [
    "DescriptorStore",
    "QueryDescriptors",
    "RankingResult",
    "Unified",
    "black_out",
    "black_pixel",
    "describe_gallery",
    "describe_gallery_fast",
    "describe_queries",
    "evaluate_distances",
    "evaluate_ranking",
    "needed_types",
    "occlusion_types",
    "unify",
]
