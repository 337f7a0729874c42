"""Retrieval: occlusion unification, exact streaming evaluation, re-ranking, query expansion, significance."""

from __future__ import annotations

from oamn_plugin.retrieval.query_expansion import expand_all, expand_queries
from oamn_plugin.retrieval.ranking import evaluate_distances, evaluate_ranking
from oamn_plugin.retrieval.rerank import Reranking
from oamn_plugin.retrieval.result import RankingResult
from oamn_plugin.retrieval.roc import tpr_at_fpr
from oamn_plugin.retrieval.significance import Interval, PairedTest, bootstrap_intervals, paired_test
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
    "Interval",
    "PairedTest",
    "QueryDescriptors",
    "RankingResult",
    "Reranking",
    "Unified",
    "black_out",
    "black_pixel",
    "bootstrap_intervals",
    "describe_gallery",
    "describe_gallery_fast",
    "describe_queries",
    "evaluate_distances",
    "evaluate_ranking",
    "expand_all",
    "expand_queries",
    "needed_types",
    "occlusion_types",
    "paired_test",
    "tpr_at_fpr",
    "unify",
]
