"""What a search found, for people and for programs: a table for the terminal and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor

from oamn_plugin.errors import printable
from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES, SIDES
from oamn_plugin.retrieval.matching import EXPLAINING
from oamn_plugin.retrieval.unification import QueryDescriptors
from oamn_plugin.search.encoder import ImageEncoder, in_batches
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index import GalleryIndex, Match


@dataclass(frozen=True)
class SearchResult:
    """One query and what was found for it.

    Attributes:
        query: the query image.
        picture: its pixels as they were read.
        type_name: how it is occluded: as its nearest matches explain it where they were matched, else as the scorer
            says.
        confidence: that type's mean share in the nearest matches, or the scorer's largest probability.
        probabilities: probability of each side, in the order of ``SIDES``: the shares of a half and a quarter at it,
            or the scorer's.
        searched_as: the type it was compared under; ``matched`` where the match decides, ``none`` for plain matching.
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
) -> tuple[list[SearchResult], QueryDescriptors]:
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
    described = encoder.queries([torch.stack(list(part)) for part in in_batches(pixels)])
    wanted = len(index) if other_cameras else k
    ranked = [index.search(described, wanted), index.search(described, wanted, plain=True)]
    if other_cameras:
        ranked = [
            [_without_own(query, matches)[:k] for query, matches in zip(queries, lists, strict=True)]
            for lists in ranked
        ]
    matched = encoder.unification.kind == "matched"
    searched_as = ["matched"] * len(queries) if matched else index.search_types(described)
    results = []
    for row, (query, picture, unified, plain) in enumerate(zip(queries, pictures, *ranked, strict=True)):
        judged = _explained(unified) if matched else _scored(described, row)
        results.append(SearchResult(query, picture, *judged, searched_as[row], unified, plain))
    return results, described


def _explained(matches: Sequence[Match]) -> tuple[str, float, tuple[float, ...]]:
    """Type, its share and the share of each side, as the nearest matches explain the query."""
    near = [match.posterior for match in matches[:EXPLAINING]]
    mean = {name: sum(one.get(name, 0.0) for one in near) / max(1, len(near)) for name in OCCLUSION_TYPES}
    best = max(mean, key=lambda name: mean[name])
    sides = tuple(sum(share for name, share in mean.items() if name.startswith(side)) for side in SIDES)
    return best, mean[best], sides


def _scored(described: QueryDescriptors, row: int) -> tuple[str, float, tuple[float, ...]]:
    """The same, as the scorer says."""
    sides = tuple(described.logits[row].softmax(0).tolist())
    return described.type_names[row], float(described.confidence[row]), sides


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
    if result.searched_as == "matched":
        if result.type_name == NONE:
            return f"not occluded, {result.confidence:.2f} as its nearest matches explain it"
        return f"{result.type_name.replace('_', ' ')} hidden, {result.confidence:.2f} as its nearest matches explain it"
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
        row += [printable(match.image.camid)] if cameras else []
        row += [{True: "yes", False: "", None: "?"}[result.is_hit(match)]] if known else []
        rows.append([*row, *map(printable, match.image.extra.values())])
    extra = list(map(printable, result.unified[0].image.extra)) if result.unified else []
    headers = ["rank", "image", "distance", "plain rank", *(["camera"] * cameras), *(["same person"] * known), *extra]
    table = tabulate(rows, headers=headers, disable_numparse=True)
    return f"{printable(result.query.path)}: {describe_type(result)}\n{table}"


def _entry(rank: int, match: Match) -> dict[str, Any]:
    image = match.image
    place = {"rank": rank, "path": image.path, "distance": round(match.distance, 6), "type": match.type_name}
    posterior = (
        {"posterior": {name: round(share, 6) for name, share in match.posterior.items()}} if match.posterior else {}
    )
    extra = {"extra": dict(image.extra)} if image.extra else {}
    return {**place, "pid": image.pid, "camid": image.camid, **posterior, **extra}


def _without_own(query: GalleryImage, matches: list[Match]) -> list[Match]:
    own = (query.pid, query.camid)
    return [match for match in matches if not all(own) or (match.image.pid, match.image.camid) != own]
