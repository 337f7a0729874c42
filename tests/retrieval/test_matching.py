"""Matched unification against the formula written out pair by pair, and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval import evaluate_distances, evaluate_ranking, matched_distances, tpr_at_fpr
from oamn_plugin.retrieval.matching import EXPLAINING, Matching, matched_blocks
from oamn_plugin.retrieval.store import DescriptorStore
from oamn_plugin.retrieval.unification import Unification

QUERIES, GALLERY, DIM = 150, 1300, 12
PRIOR = torch.tensor([0.6, *[0.05] * 8])


def unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture(scope="module")
def sides() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    query = unit(QUERIES, DIM, seed=0)
    return query, {name: unit(GALLERY, DIM, seed=1 + t) for t, name in enumerate(OCCLUSION_TYPES)}


def straight(query: np.ndarray, variants: list[np.ndarray], prior: list[float], tau: float) -> float:
    """d(q, g) of one pair, as the formula reads."""
    terms = [p * math.exp(-float(((query - g) ** 2).sum()) / tau) for p, g in zip(prior, variants, strict=True)]
    return -tau * math.log(sum(terms))


def whole(query, gallery, matching, **options) -> torch.Tensor:
    return torch.cat([block.clone() for _, block in matched_blocks(query, gallery, matching, **options)])


@pytest.mark.parametrize("tau", [0.025, 0.05, 0.1, 1.0])
def test_blocks_equal_the_formula_pair_by_pair(sides, tau):
    query, gallery = sides
    found = whole(query, gallery, Matching(OCCLUSION_TYPES, PRIOR, tau)).numpy()
    for q, g in [(0, 0), (3, 1299), (149, 1024), (77, 500), (128, 1023)]:
        variants = [gallery[name][g].double().numpy() for name in OCCLUSION_TYPES]
        expected = straight(query[q].double().numpy(), variants, PRIOR.tolist(), tau)
        assert found[q, g] == pytest.approx(expected, abs=2e-6)
    small, posterior = matched_distances(query, torch.stack(list(gallery.values())), PRIOR.log()[None], tau)
    np.testing.assert_allclose(found, small.numpy(), atol=3e-6)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(QUERIES, GALLERY))


def test_a_prior_of_one_at_the_scorers_type_is_typed_unification(sides):
    query, gallery = sides
    types = torch.arange(QUERIES) % 9
    found = whole(query, gallery, Matching(OCCLUSION_TYPES, F.one_hot(types, 9).float(), 0.05))
    typed = torch.stack(
        [(query[q] - gallery[OCCLUSION_TYPES[t]]).square().sum(1) for q, t in enumerate(types.tolist())]
    )
    torch.testing.assert_close(found, typed, atol=1e-6, rtol=0)


def test_a_permutation_of_the_types_changes_nothing(sides):
    query, gallery = sides
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3)).tolist()
    names = [OCCLUSION_TYPES[t] for t in order]
    there = whole(query, gallery, Matching(names, PRIOR[order], 0.05))
    torch.testing.assert_close(there, whole(query, gallery, Matching(OCCLUSION_TYPES, PRIOR, 0.05)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk", [1, 128, 200])
def test_bits_depend_neither_on_the_block_nor_on_threads_nor_on_where_the_gallery_lies(sides, chunk, tmp_path):
    query, gallery = sides
    matching = Matching(OCCLUSION_TYPES, PRIOR, 0.05)
    expected = whole(query, gallery, matching)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        with DescriptorStore(tmp_path) as store:
            store.append(gallery)
            assert torch.equal(whole(query, store, matching, chunk_size=chunk), expected)
    finally:
        torch.set_num_threads(threads)


def labels(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    sizes = (40, QUERIES), (40, GALLERY), (3, QUERIES), (3, GALLERY)
    return tuple(rng.integers(0, kinds, count) for kinds, count in sizes)


def test_scores_are_those_of_the_whole_matrix_and_the_posterior_of_the_nearest_images(sides):
    query, gallery = sides
    matching = Matching(OCCLUSION_TYPES, PRIOR, 0.05)
    distances, shares = matched_distances(query, torch.stack(list(gallery.values())), PRIOR.log()[None], 0.05)
    found = evaluate_ranking(query, gallery, *labels(0), matching=matching)
    expected = evaluate_distances(whole(query, gallery, matching), *labels(0))
    assert np.array_equal(found.ap, expected.ap)
    assert np.array_equal(found.first_rank, expected.first_rank)
    nearest = distances.topk(EXPLAINING, dim=1, largest=False).indices
    mean = torch.stack([shares[q, row].mean(0) for q, row in enumerate(nearest)])
    np.testing.assert_allclose(found.posterior, mean.numpy(), atol=1e-4)
    assert sum(found.query_types.values()) == QUERIES


def test_images_that_could_not_be_read_count_nowhere(sides):
    query, gallery = sides
    matching, absent = Matching(OCCLUSION_TYPES, PRIOR, 0.05), np.zeros(GALLERY, dtype=bool)
    absent[[0, 7, 1100]] = True
    query_pids, pids, query_cams, cams = labels(1)
    rest = {name: rows[torch.from_numpy(~absent)] for name, rows in gallery.items()}
    without = (query_pids, pids[~absent], query_cams, cams[~absent])
    found = evaluate_ranking(query, gallery, *labels(1), matching=matching, absent=absent)
    expected = evaluate_ranking(query, rest, *without, matching=matching)
    assert np.array_equal(found.first_rank, expected.first_rank)
    assert found.num_gallery == GALLERY - 3
    rates = tpr_at_fpr(query, gallery, *labels(1), matching=matching, absent=absent)
    assert rates == pytest.approx(tpr_at_fpr(query, rest, *without, matching=matching))


def test_five_types_are_none_and_the_halves():
    matching = Unification("matched", types="five", none_prior=0.5).matching()
    assert list(matching.types) == ["none", "left_half", "right_half", "bottom_half", "top_half"]
    assert matching.prior.tolist() == pytest.approx([0.5, 0.125, 0.125, 0.125, 0.125])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((OCCLUSION_TYPES, PRIOR, 0.01), "temperature must be at least 0.025"),
        ((OCCLUSION_TYPES, PRIOR, float("nan")), "temperature must be at least"),
        ((OCCLUSION_TYPES, PRIOR[:4], 0.1), "cannot have the shape"),
        ((OCCLUSION_TYPES, 2 * PRIOR, 0.1), "sum to 1"),
        ((OCCLUSION_TYPES, PRIOR - torch.eye(9)[1] * 0.1 + torch.eye(9)[0] * 0.1, 0.1), "at least 0"),
    ],
)
def test_a_prior_or_temperature_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Matching(*arguments)


def test_what_would_give_false_distances_is_refused(sides):
    query, gallery = sides
    matching = Matching(OCCLUSION_TYPES, PRIOR, 0.05)
    with pytest.raises(ValueError, match="unit length"):
        whole(2 * query, gallery, matching)
    with pytest.raises(ValueError, match="lacks descriptors of none"):
        whole(query, {"left_half": gallery["left_half"]}, matching)
    broken = {**gallery, "none": gallery["none"].clone()}
    broken["none"][5] = torch.nan
    with pytest.raises(ValueError, match="gallery descriptors are not finite"):
        whole(query, broken, matching)
    with pytest.raises(ValueError, match="different numbers of images by type: 1299, 1300"):
        whole(query, {**gallery, "left_half": gallery["left_half"][1:]}, matching)
    with pytest.raises(ValueError, match="needs a gallery by occlusion type"):
        evaluate_ranking(query, gallery["none"], *labels(0), matching=matching)
