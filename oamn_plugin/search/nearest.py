"""What is nearest to a query: distances of all or of a few images, and the matches that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from oamn_plugin.occlusion import NONE
from oamn_plugin.retrieval.distances import check_some, distance_blocks
from oamn_plugin.retrieval.matching import Matching, matched_blocks, matched_distances
from oamn_plugin.retrieval.unification import QueryDescriptors, Unification
from oamn_plugin.search.descriptor_files import Rows
from oamn_plugin.search.gallery import GalleryImage

DECIDED = 2
"""Times an even share that a type's posterior has at least where it is shown."""


class Match(NamedTuple):
    """A gallery image that a search found."""

    image: GalleryImage
    distance: float
    """Squared Euclidean distance of the unit descriptors, 0 to 4, or the matched one."""
    type_name: str
    """The occlusion type that the gallery image was compared under; of a matched one that which explains it best."""
    posterior: Mapping[str, float] = {}
    """Share of each occlusion type in a matched distance; empty otherwise."""

    @property
    def decided(self) -> bool:
        """Whether it says what is hidden: the posterior is not close to even."""
        return not self.posterior or is_decided(self.posterior[self.type_name], len(self.posterior))

    @property
    def shown_type(self) -> str:
        """The type to be shown; none where it is not decided."""
        return self.type_name if self.decided else NONE


def is_decided(share: float, count: int) -> bool:
    """Whether the largest share of a posterior over ``count`` types says something.

    >>> is_decided(0.25, 9), is_decided(0.18, 9)
    (True, False)
    """
    return share * count >= DECIDED


def own_pairs(images: Sequence[GalleryImage] | None, count: int) -> list[tuple[str, str] | None]:
    """Person and camera of query images that are to be left out of their results; None where one is not known."""
    if images is None:
        return [None] * count
    return [(image.pid, image.camid) if image.pid and image.camid else None for image in images]


def compared_types(unification: Unification, queries: QueryDescriptors, plain: bool) -> list[str]:
    """The occlusion type that each query is compared under, where it is not matched."""
    typed = unification.kind == "typed" and not plain
    return queries.type_names if typed else [NONE] * len(queries.types)


def compared_groups(
    unification: Unification, queries: QueryDescriptors, plain: bool
) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """Types that are compared, and the rows of the queries that are compared under them."""
    if unification.kind == "matched" and not plain:
        yield tuple(unification.matching().types), list(range(len(queries.types)))
        return
    names = compared_types(unification, queries, plain)
    for name in dict.fromkeys(names):
        yield (name,), [row for row, own in enumerate(names) if own == name]


def variants_of(sides: Sequence[Rows], numbers: np.ndarray) -> np.ndarray:
    """(T, N, D) descriptors of images for every type, all of which hold them."""
    return np.stack([side.descriptors[np.searchsorted(side.numbers, numbers)] for side in sides])


def ranked(
    query: np.ndarray, numbers: np.ndarray, variants: np.ndarray, matching: Matching | None, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and distances of the k nearest of a few images, by the formula itself.

    Args:
        query: (D,).
        numbers: (N,) ascending.
        variants: (T, N, D) their descriptors.
        matching: None: plain distances, T is 1.
        k: how many.
    """
    if matching is None:
        distances = np.square(variants[0] - query).sum(axis=1)
    else:
        tensors = torch.from_numpy(query)[None], torch.from_numpy(variants)
        distances = matched_distances(*tensors, matching.log_prior(), matching.temperature)[0][0].numpy()
    order, values = next(nearest_rows(distances[None], k))
    return numbers[order], values


def matches_of(
    query: np.ndarray,
    images: Sequence[GalleryImage],
    distances: np.ndarray,
    variants: np.ndarray,
    names: Sequence[str],
    matching: Matching | None,
) -> list[Match]:
    """Matches of one query, with the posterior of each where the match decides.

    Args:
        query: (D,).
        images: the N found.
        distances: (N,).
        variants: (T, N, D) their descriptors.
        names: the T types.
        matching: None: no posterior, T is 1.
    """
    values = np.maximum(distances, 0).tolist()
    if matching is None:
        return [Match(image, value, names[0]) for image, value in zip(images, values, strict=True)]
    tensors = torch.from_numpy(query)[None], torch.from_numpy(variants)
    posterior = matched_distances(*tensors, matching.log_prior(), matching.temperature)[1][0].numpy()
    best = [names[column] for column in posterior.argmax(axis=1)]
    shares = [dict(zip(names, row, strict=True)) for row in posterior.tolist()]
    return [Match(*entry) for entry in zip(images, values, best, shares, strict=True)]


def exact_nearest(
    query: np.ndarray, sides: Sequence[Rows], matching: Matching | None, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers and distances of the k nearest of all images for each query, by the evaluator's own distances.

    Args:
        query: (Q, D) float32.
        sides: descriptors of the same images for each type that is compared.
        matching: None: plain distances of the first.
        k: how many; fewer if the gallery is smaller. Equal distances come in the gallery's order, at the end too.
    """
    check_some(sides[0].numbers)
    if matching is None:
        blocks = distance_blocks(query, sides[0].descriptors)
    else:
        by_name = {name: side.descriptors for name, side in zip(matching.types, sides, strict=True)}
        blocks = matched_blocks(query, by_name, matching)
    for _, block in blocks:
        yield from ((sides[0].numbers[rows], distances) for rows, distances in nearest_rows(block.numpy(), k))


def nearest_rows(block: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns and values of the k smallest of each row of distances (R, G), in a stable order."""
    for row in block:
        near = np.arange(len(row))
        if k < len(row):
            near = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1])
        order = near[np.argsort(row[near], kind="stable")][:k]
        yield order, row[order]
