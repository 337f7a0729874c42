"""What a search found, and the same as plain values for programs; :mod:`oamn_plugin.search.words` says it to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from oamn_plugin.datasets.images import BadImageError, read_image
from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES, SIDES
from oamn_plugin.retrieval.matching import EXPLAINING
from oamn_plugin.retrieval.strips import side_probabilities
from oamn_plugin.retrieval.unification import QueryDescriptors
from oamn_plugin.search.calibration import Threshold
from oamn_plugin.search.encoder import ImageEncoder, in_batches
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.nearest import Match, compared_types, own_pairs


@dataclass(frozen=True)
class SearchResult:
    """One query and what was found for it.

    Attributes:
        query: the query image.
        picture: its pixels as they were read.
        type_name: how it is occluded: as the scorer says where it was calibrated or nothing was matched, else as its
            nearest matches explain it; ``none`` without either.
        confidence: that type's mean share in the nearest matches, or the scorer's largest probability.
        probabilities: share of each occlusion type in the nearest matches, or the scorer's probability of each side;
            empty without either.
        searched_as: the type it was compared under; ``matched`` where the match decides, ``none`` for plain matching.
        unified: matches with unification.
        plain: matches without.
        threshold: how far away the nearest match may be; None: not calibrated.
        left_out: gallery images of the query's own person and camera that are not among the matches; None: all may
            be, or either is not known.
        is_plain: nothing is unified: the two rankings are one.
    """

    query: GalleryImage
    picture: Image.Image
    type_name: str
    confidence: float
    probabilities: Mapping[str, float]
    searched_as: str
    unified: list[Match]
    plain: list[Match]
    threshold: Threshold | None = field(default=None, kw_only=True)
    left_out: int | None = field(default=None, kw_only=True)
    is_plain: bool = field(default=False, kw_only=True)

    @property
    def judge(self) -> str:
        """Who says how it is occluded: ``scorer``, of sides, or ``nearest matches``, of types; empty for nobody."""
        if not self.probabilities:
            return ""
        return "scorer" if set(self.probabilities) == set(SIDES) else "nearest matches"

    @property
    def nobody(self) -> bool | None:
        """Whether the query's person is not in the gallery; None without a threshold."""
        return None if self.threshold is None else not self.threshold.accepts(self.unified)

    def is_hit(self, match: Match) -> bool | None:
        """Whether a match shows the query's person; None where either identity is unknown."""
        if not self.query.pid or not match.image.pid:
            return None
        return self.query.pid == match.image.pid


def read_pictures(
    images: Sequence[GalleryImage],
) -> tuple[list[GalleryImage], list[Image.Image], dict[str, str]]:
    """Those images that can be read, their pixels, and path to reason of the others.

    Raises:
        BadImageError: none of them can be read; the first one's error.
    """
    found, pictures, bad = [], [], []
    for image in images:
        try:
            pictures.append(read_image(image.path))
            found.append(image)
        except BadImageError as error:
            bad.append(error)
    if bad and not found:
        raise bad[0]
    return found, pictures, {error.path: error.reason for error in bad}


def search(
    index: GalleryIndex,
    encoder: ImageEncoder,
    queries: Sequence[GalleryImage],
    pictures: Sequence[Image.Image],
    k: int = 20,
    other_cameras: bool = False,
    threshold: Threshold | None = None,
) -> tuple[list[SearchResult], QueryDescriptors]:
    """Describes query images and searches for them, with unification and without.

    Args:
        index: the gallery.
        encoder: the model it was built with.
        queries: Q images.
        pictures: the same, read.
        k: matches a query.
        other_cameras: leave out images of the query's own person and camera, as evaluations do.
        threshold: above which a query shows nobody of the gallery.

    Returns:
        Q results, and the described queries. Distances lie between 0, the same, and 4, the opposite.
    """
    pixels = [encoder.prepare(picture) for picture in pictures]
    described = encoder.queries([torch.stack(list(part)) for part in in_batches(pixels)])
    matched, is_plain = encoder.unification.kind == "matched", encoder.unification.kind == "none"
    how: dict[str, Any] = {}
    if other_cameras:
        how = {"leave_out": queries, "exact": index.approximate is not None}
    ranked = [index.search(described, k, **how)]
    ranked.append(ranked[0] if is_plain else index.search(described, k, plain=True, **how))
    left_out = index.how_many(own_pairs(queries if other_cameras else None, len(queries)))
    searched_as = ["matched"] * len(queries) if matched else compared_types(index.unification, described, False)
    results = []
    for row, (query, picture, unified, plain) in enumerate(zip(queries, pictures, *ranked, strict=True)):
        judged: tuple[str, float, dict[str, float]] = (NONE, 0.0, {})
        if encoder.has_scorer and (encoder.unification.score_temperature or not matched):
            shares = side_probabilities(described.logits[row : row + 1], encoder.unification.score_temperature)[0]
            sides = dict(zip(SIDES, shares.tolist(), strict=True))
            judged = described.type_names[row], float(described.confidence[row]), sides
        elif matched:
            judged = _explained(unified)
        results.append(
            SearchResult(
                query, picture, *judged, searched_as[row], unified, plain,
                threshold=threshold, left_out=left_out[row], is_plain=is_plain,
            )
        )  # fmt: skip
    return results, described


def _explained(matches: Sequence[Match]) -> tuple[str, float, dict[str, float]]:
    """Type, its share and all shares, as the nearest matches explain the query."""
    near = [match.posterior for match in matches[:EXPLAINING]]
    names = [name for name in OCCLUSION_TYPES if any(name in shares for shares in near)]
    mean = {name: sum(shares.get(name, 0.0) for shares in near) / len(near) for name in names}
    best = max(mean, key=lambda name: mean[name], default=NONE)
    return best, mean.get(best, 0.0), mean


def masks_of(encoder: ImageEncoder, pictures: Sequence[Image.Image], type_names: Sequence[str]) -> list[np.ndarray]:
    """(h, w) mask of each picture with the strip of its type covered, of a model that has masks."""
    found: list[np.ndarray] = []
    for part in in_batches(list(zip(pictures, type_names, strict=True))):
        pixels = torch.stack([encoder.prepare(picture) for picture, _ in part])
        found += list(encoder.masks(pixels, [name for _, name in part]).numpy())
    return found


def results_json(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """The results as plain values."""
    return [
        {
            "query": result.query.path,
            "pid": result.query.pid,
            "type": result.type_name,
            "confidence": round(result.confidence, 6),
            "judge": result.judge,
            "probabilities": {name: round(share, 6) for name, share in result.probabilities.items()},
            "searched_as": result.searched_as,
            **({} if result.nobody is None else {"nobody": result.nobody}),
            **({} if result.left_out is None else {"left_out": result.left_out}),
            "unified": [_entry(rank, match) for rank, match in enumerate(result.unified, start=1)],
            "plain": [_entry(rank, match) for rank, match in enumerate(result.plain, start=1)],
        }
        for result in results
    ]


def to_document(
    results: Sequence[SearchResult],
    index: GalleryIndex,
    encoder: ImageEncoder,
    scores: Mapping[str, Any],
    unreadable: Mapping[str, str],
) -> dict[str, Any]:
    """A whole search as plain values: gallery, model, threshold, results, scores and images that cannot be read."""
    threshold = results[0].threshold if results else None
    return {
        "index": str(index.folder),
        "gallery": len(index),
        "model": {"name": encoder.name, "unification": asdict(encoder.unification)},
        **({"threshold": asdict(threshold)} if threshold else {}),
        "queries": results_json(results),
        **({"unreadable": dict(unreadable)} if unreadable else {}),
        **({"scores": dict(scores)} if scores else {}),
    }


def _entry(rank: int, match: Match) -> dict[str, Any]:
    image = match.image
    place = {"rank": rank, "path": image.path, "distance": round(match.distance, 6), "type": match.type_name}
    posterior = (
        {"posterior": {name: round(share, 6) for name, share in match.posterior.items()}} if match.posterior else {}
    )
    extra = {"extra": dict(image.extra)} if image.extra else {}
    return {**place, "pid": image.pid, "camid": image.camid, **posterior, **extra}
