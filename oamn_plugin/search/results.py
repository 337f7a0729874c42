"""What a search found, for people and for programs: a table for the terminal and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tabulate import tabulate
from torch import Tensor

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES, SIDES
from oamn_plugin.retrieval.unification import QueryDescriptors, describe_queries
from oamn_plugin.search.encoder import ImageEncoder, in_batches
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index import GalleryIndex, Match

WEIGHTED = "weighted"
"""``searched_as`` where both images are compared under all nine types."""


class Described(NamedTuple):
    """The same queries, for the search with unification and for the one without."""

    unified: QueryDescriptors
    plain: QueryDescriptors


@dataclass(frozen=True)
class SearchResult:
    """One query and what was found for it.

    Attributes:
        query: the query image.
        picture: its pixels as they were read.
        type_name: the occlusion type that the scorer read off it; the one that explains the mask best where
            unification is weighted.
        confidence: the scorer's largest probability; that type's share where unification is weighted.
        probabilities: probability of each side, in the order of ``SIDES``.
        searched_as: the type it was compared under; ``none`` for a model that does not unify, ``weighted`` where
            unification is.
        unified: matches with unification.
        plain: matches without.
    """

    query: GalleryImage
    picture: Image.Image
    type_name: str
    confidence: float
    probabilities: tuple[float, ...]
    searched_as: str
    unified: list[Match]
    plain: list[Match]

    def is_hit(self, match: Match) -> bool | None:
        """Whether a match shows the query's person; None where either identity is unknown."""
        if not self.query.pid or not match.image.pid:
            return None
        return self.query.pid == match.image.pid


def search(
    index: GalleryIndex,
    encoder: ImageEncoder,
    queries: Sequence[GalleryImage],
    pictures: Sequence[Image.Image],
    k: int = 20,
    other_cameras: bool = False,
) -> tuple[list[SearchResult], Described]:
    """Describes query images and searches for them, with unification and without.

    Args:
        index: the gallery.
        encoder: the model it was built with.
        queries: Q images.
        pictures: the same, read.
        k: matches a query.
        other_cameras: leave out images of the query's own person and camera, as evaluations do.

    Returns:
        Q results, and the described queries. Distances lie between 0, the same, and 4, the opposite.
    """
    pixels = [encoder.prepare(picture) for picture in pictures]
    described = describe_both(encoder, [torch.stack(list(part)) for part in in_batches(pixels)])
    wanted = len(index) if other_cameras else k
    own = described.unified
    ranked = [index.search(own, wanted), index.search(described.plain, wanted, plain=True)]
    searched_as = index.search_types(own)
    if encoder.options.weighted:
        searched_as = [WEIGHTED] * len(queries)
        ranked = [
            list(map(_mean_distances, lists, one.descriptors)) for lists, one in zip(ranked, described, strict=True)
        ]
    if other_cameras:
        ranked = [
            [_without_own(query, matches)[:k] for query, matches in zip(queries, lists, strict=True)]
            for lists in ranked
        ]
    probabilities = own.logits.softmax(dim=1).tolist()
    results = [
        SearchResult(query, picture, type_name, float(confidence), tuple(sides), searched_as, unified, plain)
        for query, picture, type_name, confidence, sides, searched_as, unified, plain in zip(
            queries, pictures, own.type_names, own.confidence, probabilities, searched_as, *ranked, strict=True,
        )
    ]  # fmt: skip
    return results, described


def describe_both(encoder: ImageEncoder, batches: Sequence[Tensor]) -> Described:
    """Describes queries for both searches in one gallery.

    A gallery of weighted unification holds every image under all nine types; plain matching needs the first of them,
    ``none``, alone.

    Args:
        encoder: the model.
        batches: (N, 3, H, W) pixels in 0..255 each.
    """
    unified = encoder.queries(batches)
    if not encoder.options.weighted:
        return Described(unified, unified)
    options = replace(encoder.options, unify=False, plain_share=0.0)
    clean = describe_queries(encoder.model, map(encoder.normalise, batches), options).descriptors
    padded = F.pad(clean, (0, unified.descriptors.shape[1] - clean.shape[1]))
    return Described(unified, unified._replace(descriptors=padded))


def masks_of(encoder: ImageEncoder, pictures: Sequence[Image.Image], type_names: Sequence[str]) -> list[np.ndarray]:
    """(h, w) mask of each picture with the strip of its type covered."""
    found: list[np.ndarray] = []
    pixels: list[Tensor] = [encoder.prepare(picture) for picture in pictures]
    for part in in_batches(list(zip(pixels, type_names, strict=True))):
        found += list(encoder.masks(torch.stack([p for p, _ in part]), [name for _, name in part]).numpy())
    return found


def results_json(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """The results as plain values."""
    return [
        {
            "query": result.query.path,
            "pid": result.query.pid,
            "type": result.type_name,
            "confidence": round(result.confidence, 6),
            "probabilities": {s: round(p, 6) for s, p in zip(SIDES, result.probabilities, strict=True)},
            "searched_as": result.searched_as,
            "unified": [_entry(rank, match) for rank, match in enumerate(result.unified, start=1)],
            "plain": [_entry(rank, match) for rank, match in enumerate(result.plain, start=1)],
        }
        for result in results
    ]


def results_text(results: Sequence[SearchResult], shown: int = 10) -> str:
    """The results as tables for a terminal; ``shown`` matches a query."""
    return "\n\n".join(_text(result, shown) for result in results)


def describe_type(result: SearchResult) -> str:
    """The occlusion type in words.

    >>> from PIL import Image
    >>> query, picture, sides = GalleryImage("a.jpg"), Image.new("RGB", (4, 8)), (0.91, 0, 0, 0.09)
    >>> describe_type(SearchResult(query, picture, "left_half", 0.91, sides, "left_half", [], []))
    'left half occluded, confidence 0.91'
    """
    if result.searched_as == WEIGHTED:
        words = "not" if result.type_name == NONE else result.type_name.replace("_", " ")
        return f"{words} occluded, as its mask is explained best"
    if result.type_name == NONE:
        return f"not occluded (no side above the threshold, the largest has {result.confidence:.2f})"
    return f"{result.type_name.replace('_', ' ')} occluded, confidence {result.confidence:.2f}"


def _text(result: SearchResult, shown: int) -> str:
    known = any(result.is_hit(match) is not None for match in result.unified)
    cameras = any(match.image.camid for match in result.unified)
    plain = {match.image.path: rank for rank, match in enumerate(result.plain, start=1)}
    rows = []
    for rank, match in enumerate(result.unified[:shown], start=1):
        row: list[Any] = [rank, match.image.name, f"{match.distance:.4f}", plain.get(match.image.path, "-")]
        row += [match.image.camid] if cameras else []
        row += [{True: "yes", False: "", None: "?"}[result.is_hit(match)]] if known else []
        rows.append([*row, *match.image.extra.values()])
    extra = list(result.unified[0].image.extra) if result.unified else []
    headers = ["rank", "image", "distance", "plain rank", *(["camera"] * cameras), *(["same person"] * known), *extra]
    table = tabulate(rows, headers=headers, disable_numparse=True)
    return f"{result.query.path}: {describe_type(result)}\n{table}"


def _entry(rank: int, match: Match) -> dict[str, Any]:
    image = match.image
    place = {"rank": rank, "path": image.path, "distance": round(match.distance, 6), "type": match.type_name}
    return {**place, "pid": image.pid, "camid": image.camid, **({"extra": dict(image.extra)} if image.extra else {})}


def _mean_distances(matches: list[Match], query: Tensor) -> list[Match]:
    """Matches with the weighted mean of the distances under the nine types, for that of the vectors of nine parts.

    The weights w_t sum to 1; the parts of the unit query have the lengths w_t / |w|, those of a gallery image 1 / 3.
    """
    count = len(OCCLUSION_TYPES)
    scale = count**0.5 / float(query.view(count, -1).norm(dim=1).sum())
    return [match._replace(distance=max(0.0, 2 - scale * (2 - match.distance))) for match in matches]


def _without_own(query: GalleryImage, matches: list[Match]) -> list[Match]:
    own = (query.pid, query.camid)
    return [match for match in matches if not all(own) or (match.image.pid, match.image.camid) != own]
