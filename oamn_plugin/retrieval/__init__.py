"""Retrieval: occlusion unification, exact streaming evaluation, re-ranking, query expansion, significance."""

from oamn_plugin.retrieval.ranking import evaluate_distances, evaluate_ranking
from oamn_plugin.retrieval.result import RankingResult

__all__ = ["RankingResult", "evaluate_distances", "evaluate_ranking"]
