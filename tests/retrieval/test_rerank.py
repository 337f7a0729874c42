"""Sparse re-ranking against the dense formulas of the paper."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval import Reranking, evaluate_distances, evaluate_ranking
from oamn_plugin.retrieval.neighbours import nearest
from oamn_plugin.retrieval.rerank import reranked_blocks


def dense(query, gallery, k1, k2, share):
    """k-reciprocal encoding with a square matrix and Python sets, formula by formula."""
    images = np.concatenate([query, gallery]).astype(np.float64)
    count = len(images)
    distances = ((images[:, None] - images[None]) ** 2).sum(-1)
    distances /= distances.max(axis=1, keepdims=True)
    order = distances.argsort(axis=1, kind="stable")

    def near(i, k):
        return set(order[i, : k + 1].tolist())

    def reciprocal(i, k):
        return {j for j in near(i, k) if i in near(j, k)}

    vectors = np.zeros((count, count))
    for i in range(count):
        expanded = set(reciprocal(i, k1))
        for j in reciprocal(i, k1):
            other = reciprocal(j, round(k1 / 2))
            if len(other & reciprocal(i, k1)) > 2 / 3 * len(other):
                expanded |= other
        members = sorted(expanded)
        vectors[i, members] = np.exp(-distances[i, members])
        vectors[i] /= vectors[i].sum()
    if k2 > 1:
        vectors = np.stack([vectors[order[i, :k2]].mean(axis=0) for i in range(count)])
    jaccard = np.array(
        [
            [1 - np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in vectors[len(query) :]]
            for a in vectors[: len(query)]
        ]
    )
    return (1 - share) * jaccard + share * distances[: len(query), len(query) :]


def fastreid_file(name):
    """One file of fastreid on its own; None where the host is not installed."""
    host = importlib.util.find_spec("fastreid")
    if host is None or not host.submodule_search_locations:
        return None
    path = Path(host.submodule_search_locations[0], "evaluation", name)
    spec = importlib.util.spec_from_file_location(f"fastreid_alone_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clustered(rng, num_query=20, num_gallery=70, identities=8):
    centres = rng.standard_normal((identities, 6))
    pids = rng.integers(0, identities, num_query), rng.integers(0, identities, num_gallery)
    return pids, [(centres[p] + 0.5 * rng.standard_normal((len(p), 6))).astype(np.float32) for p in pids]


@pytest.mark.parametrize(("k1", "k2", "share"), [(20, 6, 0.3), (6, 1, 0.0), (5, 3, 1.0), (1, 2, 0.5), (200, 150, 0.3)])
def test_equals_dense_version(k1, k2, share):
    _, (query, gallery) = clustered(np.random.default_rng(k1))
    blocks = [(start, block.clone()) for start, block in reranked_blocks(query, gallery, Reranking(k1, k2, share))]
    expected = dense(query, gallery, k1, min(k2, 90), share)
    np.testing.assert_allclose(torch.cat([b for _, b in blocks]).numpy(), expected, atol=2e-5)


def test_evaluation_of_reranked_distances_by_type():
    rng = np.random.default_rng(1)
    pids, (query, gallery) = clustered(rng)
    galleries = {"none": gallery, "top_half": gallery[:, ::-1].copy()}
    types = np.array(["none", "top_half"] * 10)
    args = (*pids, np.zeros(20), np.ones(70))
    settings = Reranking(k1=8, k2=3)
    result = evaluate_ranking(query, galleries, *args, query_types=types, rerank=settings)
    for name, descriptors in galleries.items():
        rows = types == name
        distances = dense(query[rows], descriptors, 8, 3, 0.3)
        expected = evaluate_distances(distances, pids[0][rows], *args[1:2], np.zeros(rows.sum()), args[3])
        np.testing.assert_allclose(result.ap[rows], expected.ap, atol=1e-12)
    assert result.mAP > evaluate_ranking(query, galleries, *args, query_types=types).mAP


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_nearest_equals_a_stable_sort(metric):
    rng = np.random.default_rng(2)
    images, database = (rng.integers(0, 3, (n, 2)).astype(np.float32) + 1 for n in (9, 30))
    near = nearest(images, database, 5, metric=metric)
    distances = ((images[:, None] - database[None]) ** 2).sum(-1)
    if metric == "cosine":
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, database)]
        distances = 1 - unit[0] @ unit[1].T
    np.testing.assert_allclose(near.distances, np.sort(distances, axis=1)[:, :5], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(distances, near.indices, 1), near.distances, atol=1e-6)
    np.testing.assert_allclose(near.farthest, distances.max(axis=1), atol=1e-6)
    tied = np.diff(near.distances, axis=1) == 0
    assert (np.diff(near.indices, axis=1)[tied] > 0).all()


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="share in"):
        Reranking(share=1.5)


@pytest.mark.skipif(fastreid_file("rerank.py") is None, reason="fastreid is not installed")
def test_equals_fastreids_dense_reranking():
    _, (query, gallery) = clustered(np.random.default_rng(3))

    def euclidean(a, b):
        return np.sqrt(((a[:, None].astype(float) - b[None]) ** 2).sum(-1))

    expected = fastreid_file("rerank.py").re_ranking(
        euclidean(query, gallery), euclidean(query, query), euclidean(gallery, gallery), k1=10, k2=4
    )
    [(_, block)] = reranked_blocks(query, gallery, Reranking(k1=10, k2=4))
    np.testing.assert_allclose(block.numpy(), expected, atol=2e-5)
