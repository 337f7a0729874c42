"""Retrieval: occlusion unification, exact streaming evaluation, re-ranking, query expansion, significance."""

from __future__ import annotations

from oamn_plugin.retrieval.matching import matched_distances
from oamn_plugin.retrieval.neighbours import expand_all
from oamn_plugin.retrieval.ranking import evaluate_distances, evaluate_ranking
from oamn_plugin.retrieval.rerank import Reranking
from oamn_plugin.retrieval.roc import tpr_at_fpr
from oamn_plugin.retrieval.significance import bootstrap_interval, paired_test
from oamn_plugin.retrieval.store import DescriptorStore
from oamn_plugin.retrieval.strips import blank_strip, cover_strip, fill_colour, occlusion_types
from oamn_plugin.retrieval.unification import (
    Unification,
    describe_gallery,
    describe_queries,
    needed_types,
    unification_of,
)

__all__ = [
    "DescriptorStore",
    "Reranking",
    "Unification",
    "blank_strip",
    "bootstrap_interval",
    "cover_strip",
    "describe_gallery",
    "describe_queries",
    "evaluate_distances",
    "evaluate_ranking",
    "expand_all",
    "fill_colour",
    "matched_distances",
    "needed_types",
    "occlusion_types",
    "paired_test",
    "tpr_at_fpr",
    "unification_of",
]
