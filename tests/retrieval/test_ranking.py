"""The fast evaluation against a straight version that sorts every row, and against fastreid's own."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval import evaluate_distances, evaluate_ranking
from oamn_plugin.retrieval.counting import WHOLE, Shard
from oamn_plugin.retrieval.distances import distance_blocks
from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.retrieval.rerank import Reranking


def straight(distances, q_pids, g_pids, q_camids, g_camids):
    """Per query (ap, trapezoid, inp, first rank), zeros without a match: stable argsort and loops."""
    scores = []
    for row, pid, camid in zip(distances, q_pids, q_camids, strict=True):
        order = [j for j in np.argsort(row, kind="stable") if not (g_pids[j] == pid and g_camids[j] == camid)]
        hits = [k for k, j in enumerate(order, 1) if g_pids[j] == pid]
        precisions = [n / k for n, k in enumerate(hits, 1)]
        before = [(n - 1) / (k - 1) if k > 1 else 1.0 for n, k in enumerate(hits, 1)]
        if hits:
            area = np.mean([(a + b) / 2 for a, b in zip(before, precisions, strict=True)])
            scores.append((np.mean(precisions), area, len(hits) / hits[-1], hits[0]))
        else:
            scores.append((0, 0, 0, 0))
    return np.array(scores, dtype=float)


def labels(rng, num_query, num_gallery, identities=6, cameras=3):
    pids = rng.integers(0, identities, num_query), rng.integers(-1, identities, num_gallery)
    return *pids, rng.integers(0, cameras, num_query), rng.integers(0, cameras, num_gallery)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def assert_equal(result, expected):
    np.testing.assert_allclose(result.ap, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(result.ap_trapezoid, expected[:, 1], atol=1e-12)
    np.testing.assert_allclose(result.inp, expected[:, 2], atol=1e-12)
    np.testing.assert_array_equal(result.first_rank, expected[:, 3])


def fastreid_rank():
    """fastreid's file alone, so that nothing else of the host has to import; None where it is not installed."""
    host = importlib.util.find_spec("fastreid")
    if host is None or not host.submodule_search_locations:
        return None
    path = Path(host.submodule_search_locations[0], "evaluation", "rank.py")
    spec = importlib.util.spec_from_file_location("fastreid_rank_alone", path)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    num_query=st.integers(1, 20),
    num_gallery=st.integers(1, 60),
    levels=st.integers(1, 6),
    identities=st.integers(1, 8),
)
def test_equals_straight_version_with_ties(seed, num_query, num_gallery, levels, identities):
    rng = np.random.default_rng(seed)
    # few integer coordinates: distances are exact in float32 and many are equal
    query = rng.integers(0, levels, (num_query, 3)).astype(np.float32)
    gallery = rng.integers(0, levels, (num_gallery, 3)).astype(np.float32)
    q_pids, g_pids, q_camids, g_camids = labels(rng, num_query, num_gallery, identities)
    distances = ((query[:, None] - gallery[None]) ** 2).sum(-1)
    expected = straight(distances, q_pids, g_pids, q_camids, g_camids)
    if not expected[:, 3].any():
        with pytest.raises(ValueError, match="has a match"):
            evaluate_ranking(query, gallery, q_pids, g_pids, q_camids, g_camids)
        return
    result = evaluate_ranking(query, gallery, q_pids, g_pids, q_camids, g_camids)
    assert_equal(result, expected)
    assert_equal(evaluate_distances(distances, q_pids, g_pids, q_camids, g_camids), expected)
    matched = expected[:, 3][expected[:, 3] > 0]
    assert result.num_without_match == num_query - len(matched)
    assert len(result.cmc) == min(50, num_gallery)
    np.testing.assert_allclose(result.cmc, [(matched <= k).mean() for k in range(1, len(result.cmc) + 1)])
    assert result.mAP == pytest.approx(expected[:, 0][expected[:, 3] > 0].mean())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("identities", [2, 40])
def test_equals_straight_version_when_sorting_pays(identities, tied):
    rng = np.random.default_rng(identities)
    distances = rng.standard_normal((30, 300)).astype(np.float32)
    if tied:
        distances = np.round(distances)
    q_pids, g_pids, q_camids, g_camids = labels(rng, 30, 300, identities)
    expected = straight(distances, q_pids, g_pids, q_camids, g_camids)
    assert_equal(evaluate_distances(distances, q_pids, g_pids, q_camids, g_camids), expected)


@pytest.mark.parametrize("chunk_size", [1, 128, 200, 1000])
@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_bits_do_not_depend_on_chunk_size(chunk_size, metric):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(300, 33, generator=generator)
    gallery = torch.randn(5000, 33, generator=generator)
    whole = torch.cat([b.clone() for _, b in distance_blocks(query, gallery, metric=metric)])
    parts = [(s, b.clone()) for s, b in distance_blocks(query, gallery, metric=metric, chunk_size=chunk_size)]
    assert torch.equal(torch.cat([b for _, b in parts]), whole)
    assert [s for s, _ in parts] == list(range(0, 300, -(-chunk_size // 128) * 128))
    expected = torch.cdist(query.double(), gallery.double()) ** 2
    if metric == "cosine":
        unit = [torch.nn.functional.normalize(x.double()) for x in (query, gallery)]
        expected = 1 - unit[0] @ unit[1].T
    torch.testing.assert_close(whole.double(), expected, atol=1e-4, rtol=1e-5)


def test_bits_do_not_depend_on_the_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(count, 65, generator=generator) for count in (140, 5000))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.cat([block.clone() for _, block in distance_blocks(query, gallery)]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_ranks_inside_and_outside_of_inference_mode():
    rng = np.random.default_rng(8)
    query, gallery = (torch.from_numpy(rng.standard_normal((n, 8)).astype(np.float32)) for n in (8, 40))
    args = labels(rng, 8, 40)
    expected = evaluate_ranking(query.requires_grad_(), gallery, *args)
    with torch.inference_mode():
        inside = query * 1, gallery * 1
        np.testing.assert_array_equal(evaluate_ranking(*inside, *args).ap, expected.ap)
    np.testing.assert_array_equal(evaluate_ranking(*inside, *args, metric="cosine").valid, expected.valid)


def test_equal_images_tie_wherever_they_stand():
    generator = torch.Generator().manual_seed(1)
    gallery = torch.randn(5_000, 65, generator=generator)
    places = [17, 2047, 2048, 4095, 4999]  # in the last full tile and in the rest
    gallery[places] = gallery[3].clone()
    for _, block in distance_blocks(torch.randn(140, 65, generator=generator), gallery):
        assert torch.equal(block[:, places], block[:, [3]].expand(-1, len(places)))


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy, np.float64, np.float16])
def test_accepts_arrays_of_any_kind(wrap):
    rng = np.random.default_rng(3)
    query, gallery = (rng.integers(0, 9, (n, 4)).astype(np.float32) for n in (8, 40))
    args = labels(rng, 8, 40)
    expected = evaluate_ranking(query, gallery, *args)
    result = evaluate_ranking(wrap(query), wrap(gallery), *map(torch.from_numpy, args))
    np.testing.assert_array_equal(result.ap, expected.ap)


def test_memory_mapped_gallery(tmp_path):
    rng = np.random.default_rng(4)
    query, gallery = (rng.standard_normal((n, 8)).astype(np.float32) for n in (8, 40))
    np.save(tmp_path / "gallery.npy", gallery)
    args = labels(rng, 8, 40)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = evaluate_ranking(query, gallery, *args)
    np.testing.assert_array_equal(evaluate_ranking(query, mapped, *args).ap, expected.ap)


def test_mapping_meets_each_query_with_the_gallery_of_its_type():
    rng = np.random.default_rng(5)
    query = rng.standard_normal((40, 8)).astype(np.float32)
    galleries = {name: rng.standard_normal((50, 8)).astype(np.float32) for name in OCCLUSION_TYPES}
    q_pids, g_pids, q_camids, g_camids = labels(rng, 40, 50)
    types = rng.choice([0, 2, 7], 40)
    distances = np.stack(
        [((q - galleries[OCCLUSION_TYPES[t]]) ** 2).sum(-1) for q, t in zip(query, types, strict=True)]
    )
    expected = straight(distances, q_pids, g_pids, q_camids, g_camids)
    names = [OCCLUSION_TYPES[t] for t in types]
    asked = []

    def lazily(name):
        return lambda: (asked.append(name), galleries[name])[1]

    for gallery, given_types in ((galleries, names), (galleries, torch.from_numpy(types))):
        result = evaluate_ranking(query, gallery, q_pids, g_pids, q_camids, g_camids, query_types=given_types)
        assert_equal(result, expected)
        assert result.query_types == {OCCLUSION_TYPES[t]: int((types == t).sum()) for t in (0, 2, 7)}
    lazy = {name: lazily(name) for name in OCCLUSION_TYPES}
    assert_equal(evaluate_ranking(query, lazy, q_pids, g_pids, q_camids, g_camids, query_types=names), expected)
    assert asked == [OCCLUSION_TYPES[t] for t in (0, 2, 7)], "a type that no query has must not be computed"


@pytest.mark.skipif(fastreid_rank() is None, reason="fastreid is not installed")
@pytest.mark.parametrize("seed", range(4))
def test_equals_fastreid(seed):
    rng = np.random.default_rng(seed)
    q_pids, g_pids, q_camids, g_camids = labels(rng, 60, 400, identities=30)
    # every query keeps at least max_rank images, which fastreid needs; a permutation a row leaves no ties
    distances = np.stack([rng.permutation(400) for _ in range(60)]).astype(np.float32)
    theirs = fastreid_rank().evaluate_rank(distances, q_pids, g_pids, q_camids, g_camids, use_cython=False)
    ours = evaluate_distances(distances, q_pids, g_pids, q_camids, g_camids)
    np.testing.assert_allclose(ours.cmc, theirs[0], atol=1e-6)
    np.testing.assert_allclose(ours.ap[ours.valid], theirs[1], atol=1e-12)
    np.testing.assert_allclose(ours.inp[ours.valid], theirs[2], atol=1e-12)


@pytest.mark.skipif(fastreid_rank() is None, reason="fastreid is not installed")
def test_equals_fastreid_under_ties_in_a_stable_order(monkeypatch):
    module, rng = fastreid_rank(), np.random.default_rng(9)
    q_pids, g_pids, q_camids, g_camids = labels(rng, 40, 200)
    distances = rng.integers(0, 12, (40, 200)).astype(np.float32)
    # the host leaves the order of ties to numpy's unstable sort: break them as the gallery stands before it looks
    untied = np.argsort(np.argsort(distances, axis=1, kind="stable"), axis=1).astype(np.float32)
    theirs = module.evaluate_rank(untied, q_pids, g_pids, q_camids, g_camids, use_cython=False)
    ours = evaluate_distances(distances, q_pids, g_pids, q_camids, g_camids)
    np.testing.assert_allclose(ours.cmc, theirs[0], atol=1e-6)
    np.testing.assert_allclose((ours.mAP, ours.mINP), (np.mean(theirs[1]), np.mean(theirs[2])), atol=1e-12)


def test_one_image_gallery():
    result = evaluate_ranking(np.ones((2, 4)), np.zeros((1, 4)), [1, 2], [1], [0, 0], [1])
    assert (result.cmc.tolist(), result.mAP, result.num_without_match, result.num_query) == ([1.0], 1.0, 1, 2)
    assert result.to_percent()["Rank-20"] == 100


def test_blocks_of_distances_may_have_any_size():
    rng = np.random.default_rng(6)
    distances, args = rng.standard_normal((10, 30)).astype(np.float32), labels(rng, 10, 30)
    whole = evaluate_distances(distances, *args)
    np.testing.assert_array_equal(evaluate_distances(iter([distances[:3], distances[3:]]), *args).ap, whole.ap)
    with pytest.raises(ValueError, match="distances for 3 queries but 10"):
        evaluate_distances(distances[:3], *args)


@pytest.mark.parametrize("chunk_size", [None, 128])
@pytest.mark.parametrize("kind", ["plain", "typed", "matched"])
def test_processes_without_a_gallery_image_change_nothing(kind, chunk_size):
    """They take part in every exchange: 300 queries are three blocks of 128."""
    rng = np.random.default_rng(0)
    names, identities = ("none", "left_half"), labels(rng, 300, 40)
    query, *sides = (unit(rng.standard_normal((count, 16)).astype(np.float32)) for count in (300, 40, 40))
    matching = Matching(names, torch.tensor([0.5, 0.5]), 0.1) if kind == "matched" else None
    types = [names[number % 2] for number in range(300)] if kind == "typed" else None
    parts, barrier = [None, None], threading.Barrier(2, timeout=20)

    def rank(shard, columns):
        gallery = sides[0][columns] if kind == "plain" else dict(zip(names, (s[columns] for s in sides), strict=True))
        options = {"query_types": types, "matching": matching, "chunk_size": chunk_size}
        return evaluate_ranking(query, gallery, *identities, **options, shard=shard)

    def process(number):
        def gather(array):
            parts[number] = array
            barrier.wait()
            found = list(parts)
            barrier.wait()
            return found

        return rank(Shard(0, gather), slice(0, 40 * number))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(process, range(2)))
    expected = rank(WHOLE, slice(None))
    for result in found:
        np.testing.assert_array_equal(result.ap, expected.ap)
        np.testing.assert_array_equal(result.first_rank, expected.first_rank)


def test_errors_say_what_is_wrong():
    query, gallery, args = np.ones((2, 4)), np.ones((3, 4)), ([1, 2], [1, 2, 2], [0, 0], [1, 1, 1])
    with pytest.raises(
        ValueError, match="1 query descriptors are not finite or too long to be compared, the first at row 1"
    ):
        evaluate_ranking(np.array([[0.0], [np.nan]]), np.ones((3, 1)), *args)
    with pytest.raises(ValueError, match="unknown metric 'l1'"):
        evaluate_ranking(query, gallery, *args, metric="l1")
    with pytest.raises(ValueError, match="same D"):
        evaluate_ranking(query, np.ones((3, 5)), *args)
    with pytest.raises(ValueError, match="query_types must be given"):
        evaluate_ranking(query, {"none": gallery}, *args)
    with pytest.raises(ValueError, match="type left_half but the gallery only has none"):
        evaluate_ranking(query, {"none": gallery}, *args, query_types=["none", "left_half"])
    with pytest.raises(ValueError, match="unknown occlusion types lefthalf"):
        evaluate_ranking(query, gallery, *args, query_types=["none", "lefthalf"])
    with pytest.raises(ValueError, match="occlusion types are numbered 0 to 8"):
        evaluate_ranking(query, gallery, *args, query_types=np.array([0, -1]))
    with pytest.raises(ValueError, match="there is no gallery image"):
        evaluate_ranking(query, gallery[:0], [1, 2], [], [0, 0], [])
    with pytest.raises(ValueError, match=r"query_camids must have shape \(1,\), got shape \(2,\)"):
        evaluate_ranking(query, gallery, [1], *args[1:])
    with pytest.raises(ValueError, match="2 query descriptors but 1 query_pids"):
        evaluate_ranking(query, gallery, [1], args[1], [0], args[3])
    with pytest.raises(ValueError, match="4 gallery descriptors but 3 gallery_pids"):
        evaluate_ranking(query, np.ones((4, 4)), *args)
    with pytest.raises(ValueError, match="contain NaN"):
        evaluate_distances(np.full((2, 3), np.nan), *args)


@pytest.mark.parametrize("rerank", [None, Reranking(k1=2, k2=1)], ids=["plain", "re-ranked"])
def test_norms_near_the_limit_of_float32_gave_distances_that_are_no_numbers(rerank):
    rng = np.random.default_rng(0)
    query, gallery = (unit(rng.standard_normal((n, 8))).astype(np.float32) for n in (4, 9))
    args = labels(rng, 4, 9)
    scores = evaluate_ranking(query, gallery, *args, rerank=rerank)
    long = evaluate_ranking(query * 1e18, gallery * 1e18, *args, rerank=rerank)
    np.testing.assert_array_equal(long.ap, scores.ap)
    with pytest.raises(ValueError, match="too long to be compared, the first at row 0"):
        evaluate_ranking(query * 1.5e19, gallery * 1.5e19, *args, rerank=rerank)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_ranks_of_the_cpu():
    rng = np.random.default_rng(7)
    query, gallery = (torch.from_numpy(rng.integers(0, 4, (n, 5)).astype(np.float32)) for n in (90, 700))
    args = labels(rng, 90, 700)
    on_cpu, on_gpu = evaluate_ranking(query, gallery, *args), evaluate_ranking(query.cuda(), gallery.cuda(), *args)
    np.testing.assert_array_equal(on_gpu.ap, on_cpu.ap)
