"""Matched unification: of all ways in which a gallery image can be occluded, the query's own brings the two closest.

With q the query's descriptor, g_t that of the gallery image with the strip of type t blanked, all of unit length, pi a
prior over the types and tau a temperature:

    d(q, g) = -tau * log sum_t pi_t * exp(-|q - g_t|^2 / tau)

A prior of 1 at the scorer's type gives the published unification, a uniform one needs neither scorer nor mask, and the
share of each type in the sum says how this gallery image explains the query. Not part of the published method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES, TYPE_INDEX
from oamn_plugin.retrieval.counting import WHOLE, Shard
from oamn_plugin.retrieval.distances import (
    GALLERY_STEP,
    QUERY_TILE,
    Descriptors,
    Tile,
    TileFiller,
    check_finite,
    check_shapes,
    descriptor_device,
    filled_blocks,
    squared_distances,
    squared_norms,
    tile_of,
)
from oamn_plugin.retrieval.metrics import IntArray

LEAST_TEMPERATURE = 0.025
"""Below it the terms of far images leave the range of float32."""
EXPLAINING = 5
"""Gallery images that say how a query is occluded: the nearest ones."""
EXPLAINED_TOGETHER = 64
"""Queries whose nearest images are read at once; with 2048 numbers and nine types they take 24 MB."""
_MIDDLE = 2.0  # of the range of squared distances of unit descriptors; keeps the terms within float32's range
_UNIT = 1e-2


@dataclass(frozen=True)
class Matching:
    """What matched unification knows beforehand.

    Attributes:
        types: the T occlusion types that are compared.
        prior: (T,) for all queries, or (Q, T); not negative, sums to 1 over the types.
        temperature: tau, at least :data:`LEAST_TEMPERATURE`.

    Raises:
        ValueError: a prior of another shape or sum, or a temperature out of range.
    """

    types: Sequence[str]
    prior: Tensor
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.prior.ndim not in (1, 2) or self.prior.shape[-1] != len(self.types):
            raise ValueError(f"a prior over {len(self.types)} types cannot have the shape {tuple(self.prior.shape)}")
        sums = self.prior.double().sum(-1)
        if bool((self.prior < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-5):
            raise ValueError("a prior over occlusion types must be at least 0 and sum to 1")
        if not LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise ValueError(f"temperature must be at least {LEAST_TEMPERATURE}, got {self.temperature}")

    def log_prior(self) -> Tensor:
        """(1, T) or (Q, T) float32, minus infinity where a type is ruled out."""
        return torch.atleast_2d(self.prior.float().log())


def matched_distances(query: Tensor, variants: Tensor, log_prior: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The formula on tensors that fit into memory, and the posterior of every pair.

    Args:
        query: (Q, D) unit descriptors.
        variants: (T, G, D) unit descriptors of the gallery, by type; or (T, Q, G, D), a gallery of its own for each
            query.
        log_prior: (1, T) or (Q, T).
        temperature: tau.

    Returns:
        distances (Q, G) and posterior (Q, G, T), which sums to 1.

    >>> gallery = torch.eye(2)[:, None]  # one image, two types
    >>> distance, posterior = matched_distances(torch.eye(2)[:1], gallery, torch.tensor([[0.5, 0.5]]).log(), 0.1)
    >>> round(distance.item(), 4), round(posterior[0, 0, 0].item(), 4)
    (0.0693, 1.0)
    """
    own = variants if variants.ndim == 4 else variants[:, None]
    squared = (query[None, :, None] - own).square().sum(-1).permute(1, 2, 0)
    terms = log_prior[:, None] - squared / temperature
    return -temperature * terms.logsumexp(-1), terms.softmax(-1)


def matched_blocks(
    query: Descriptors,
    gallery: Mapping[str, Descriptors],
    matching: Matching,
    *,
    chunk_size: int | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yields ``(first query of the block, matched distances (R, G))``, a tile at a time, as ``distance_blocks`` does.

    The bits depend neither on the size of a block nor on the number of threads, and neither does the memory on the
    number of types.

    Args:
        query: (Q, D) unit descriptors.
        gallery: by occlusion type (G, D) unit descriptors; those of ``matching.types`` are read.
        matching: prior and temperature.
        chunk_size: queries a block.

    Raises:
        ValueError: a type that the gallery lacks, descriptors that are not of unit length, or shapes that do not fit.
    """
    missing = [name for name in matching.types if name not in gallery]
    if missing:
        raise ValueError(f"the gallery lacks descriptors of {', '.join(missing)}: it has {', '.join(gallery)}")
    log_prior = matching.log_prior()
    if len(log_prior) not in (1, len(query)):
        raise ValueError(f"a prior for {len(log_prior)} queries, but {len(query)} queries")
    used = [number for number in range(len(matching.types)) if bool((log_prior[:, number] > -math.inf).any())]
    sides = [gallery[matching.types[number]] for number in used]
    for side in sides:
        check_shapes(query, side)
    counts = {len(side) for side in sides}
    if len(counts) > 1:
        raise ValueError(f"the gallery has different numbers of images by type: {', '.join(map(str, sorted(counts)))}")
    fill = _matched_filler(query, sides, log_prior[:, used], matching.temperature)
    yield from filled_blocks(query, sides[0], fill, chunk_size)


def _matched_filler(query: Descriptors, sides: Sequence[Descriptors], log_prior: Tensor, tau: float) -> TileFiller:
    device = descriptor_device(query, *sides)
    query_squares = squared_norms(query, QUERY_TILE, device)
    side_squares = [squared_norms(side, GALLERY_STEP, device) for side in sides]
    own = [("gallery", squares[: len(side)]) for side, squares in zip(sides, side_squares, strict=True)]
    for what, values in [("query", query_squares[: len(query)]), *own]:
        check_finite(values, what)
        if bool(((values - 1).abs() > _UNIT).any()):
            raise ValueError(f"matched unification needs {what} descriptors of unit length")
    offsets = log_prior.to(device) + _MIDDLE / tau

    def fill(columns: slice, tiles: Sequence[Tile]) -> None:
        for target, _, _ in tiles:
            target.zero_()
        for number, side in enumerate(sides):
            images, squares = tile_of(side, columns, device), side_squares[number][columns]
            for target, rows, block in tiles:
                term = squared_distances(block, images, query_squares[rows], squares)
                term.mul_(-1 / tau).add_(_rows_of(offsets[:, number, None], rows, len(target))).exp_()
                target.add_(term)
        for target, _, _ in tiles:
            target.log_().mul_(-tau).add_(_MIDDLE)

    return fill


def _rows_of(column: Tensor, rows: slice, count: int) -> Tensor:
    """The entries of a block's rows; rows that fill up the last tile take the last entry."""
    if len(column) == 1:
        return column
    part = column[rows]
    return part if len(part) == count else torch.cat([part, column[-1:].expand(count - len(part), -1)])


class Explanation:
    """The posterior of each query over the types, averaged over its nearest gallery images.

    Args:
        query: (Q, D).
        gallery: by occlusion type (G, D).
        matching: prior and temperature.
    """

    def __init__(self, query: Descriptors, gallery: Mapping[str, Descriptors], matching: Matching) -> None:
        self.query, self.gallery, self.matching = query, gallery, matching
        self._nearest = np.full((len(query), EXPLAINING), np.inf, dtype=np.float32)
        self._posterior = np.zeros((len(query), EXPLAINING, len(matching.types)), dtype=np.float32)

    def watch(self, blocks: Iterator[tuple[IntArray, Tensor]]) -> Iterator[tuple[IntArray, Tensor]]:
        """Hands ``(query numbers, matched distances)`` on and notes the nearest images of each query."""
        for rows, block in blocks:
            values, columns = block.topk(min(EXPLAINING, block.shape[1]), dim=1, largest=False)
            width = values.shape[1]
            self._nearest[rows, :width] = values.cpu().numpy()
            nearest = columns.cpu().numpy()
            for start in range(0, len(rows), EXPLAINED_TOGETHER):
                part = slice(start, start + EXPLAINED_TOGETHER)
                self._posterior[rows[part], :width] = self._posterior_of(rows[part], nearest[part])
            yield rows, block

    def _posterior_of(self, rows: IntArray, columns: IntArray) -> np.ndarray:
        """(R, K, T) posterior of queries and gallery images (R, K)."""
        query = torch.from_numpy(_rows(self.query, rows))
        own = [_rows(self.gallery[name], columns.ravel()) for name in self.matching.types]
        variants = torch.from_numpy(np.stack(own)).unflatten(1, columns.shape)
        log_prior = self.matching.log_prior()
        log_prior = log_prior[rows] if len(log_prior) > 1 else log_prior
        return matched_distances(query, variants, log_prior, self.matching.temperature)[1].numpy()

    def mean(self, shard: Shard = WHOLE) -> np.ndarray:
        """(Q, 9) float32 in the order of ``OCCLUSION_TYPES``, over the nearest images of all shards."""
        nearest, posterior = (np.concatenate(shard.gather(one), axis=1) for one in (self._nearest, self._posterior))
        order = np.argsort(nearest, axis=1, kind="stable")[:, :EXPLAINING]
        found = np.isfinite(np.take_along_axis(nearest, order, axis=1))[..., None]
        chosen = np.take_along_axis(posterior, order[..., None], axis=1)
        mean = (chosen * found).sum(1) / np.maximum(found.sum(1), 1)
        out = np.zeros((len(mean), len(OCCLUSION_TYPES)), dtype=np.float32)
        out[:, [TYPE_INDEX[name] for name in self.matching.types]] = mean
        return out


def _rows(array: Descriptors, rows: IntArray) -> np.ndarray:
    """Rows of descriptors, float32 on the CPU."""
    if isinstance(array, Tensor):
        return array[torch.from_numpy(rows).to(array.device)].float().cpu().numpy()
    return np.asarray(array[rows], dtype=np.float32)
