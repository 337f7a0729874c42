"""When a search should answer "nobody in this gallery": a threshold on distances, learnt from strangers.

A stranger is a query whose person is not in the gallery. Its nearest gallery image is a false match if the distance is
at most the threshold, so the threshold is a quantile of the strangers' nearest distances. Strangers are made by leaving
the query's person out of the gallery; people whom a threshold is tested on later must be others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tqdm import tqdm

from oamn_plugin.errors import ExpectedError
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search.encoder import ImageEncoder, in_batches
from oamn_plugin.search.files import IndexFileError
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index import GalleryIndex, Match

NOTE = "threshold"
MOST = 2000
"""Images of the gallery's own that are used as queries, spread over it."""
_GROWTH = 1.5  # nearest distances shrink with the size of a gallery


class CalibrationError(ExpectedError, ValueError):
    """Images that a threshold cannot be learnt from; the message says what is missing."""


@dataclass(frozen=True)
class Threshold:
    """Above which nearest distance a query shows nobody of the gallery.

    Attributes:
        distance: as matches have it; the nearest match of a query must lie at or below it.
        false_match_rate: share of strangers that may be taken for somebody.
        strangers: queries it was learnt from.
        people: their identities; 0 where they have none.
        pairs: query and gallery images that were compared.
        gallery: images in the index then.
        turned_away: share of the queries of people in the gallery for whom the answer would be "nobody"; None if the
            calibration saw no such query.
        unification: settings it holds for.
    """

    distance: float
    false_match_rate: float
    strangers: int
    people: int
    pairs: int
    gallery: int
    turned_away: float | None
    unification: dict[str, Any]

    def __str__(self) -> str:
        """In words.

        >>> print(Threshold(0.71, 0.01, 300, 60, 9000, 300, 0.2, {}))
        threshold 0.7100 (1 % false matches, from 300 strangers)
        """
        rate = f"{100 * self.false_match_rate:g} % false matches"
        return f"threshold {self.distance:.4f} ({rate}, from {self.strangers} strangers)"

    def accepts(self, matches: Sequence[Match]) -> bool:
        """Whether the nearest of a query's matches is near enough to be somebody."""
        return bool(matches) and matches[0].distance <= self.distance


def own_images(index: GalleryIndex) -> list[GalleryImage]:
    """At most :data:`MOST` images of the gallery whose identity is known, to calibrate with.

    Raises:
        CalibrationError: no identity is known.
    """
    known = [image for image in index.images if image.pid]
    if not known:
        raise CalibrationError(
            f"{index.folder} knows no identities: give images of people who are not in the gallery, or build it again "
            "with a CSV file or --pattern"
        )
    return known[:: math.ceil(len(known) / MOST)]


def calibrate(
    index: GalleryIndex, encoder: ImageEncoder, images: Sequence[GalleryImage], rate: float, progress: bool = False
) -> Threshold:
    """The threshold at which at most a share ``rate`` of strangers finds a match.

    Args:
        index: the gallery.
        encoder: the model it was built with.
        images: queries such as will come. Each becomes a stranger: the images of its person are left out of the
            gallery. In a gallery without identities all of them must be strangers already.
        rate: false-match rate, between 0 and 1.
        progress: show a progress bar.

    Raises:
        CalibrationError: a rate out of range, identities that are unknown, or too few images for the rate.
    """
    if not 0 < rate < 1:
        raise CalibrationError(f"the false-match rate must lie between 0 and 1, got {rate:g}")
    counts = Counter(image.pid for image in index.images if image.pid)
    unnamed = sum(not image.pid for image in images)
    if counts and unnamed:
        raise CalibrationError(
            f"{unnamed} of {len(images)} images have no identity, so their people cannot be left out of the gallery: "
            "name them as in the gallery, give --pattern, or use a CSV file with the column pid"
        )
    allowed = math.floor(rate * (len(images) + 1))  # a new stranger is as likely at each of len + 1 places
    if not allowed:
        raise CalibrationError(
            f"{len(images)} images cannot tell a false-match rate of {rate:g}: give at least "
            f"{math.ceil(1 / rate - 1)} images, or a rate of {math.ceil(1e3 / (len(images) + 1)) / 1e3:g} or more"
        )
    wanted = max(counts.values(), default=0) + 2  # all of one's own, oneself, and one other at least
    nearest, known = [], []
    for part in tqdm(list(in_batches(images)), desc="calibrate", unit="batch", disable=not progress):
        described = encoder.queries([torch.stack([encoder.read(image.path) for image in part])])
        for query, matches in zip(part, index.search(described, wanted), strict=True):
            others = [match for match in matches if match.image.path != query.path]
            nearest.append(next((m.distance for m in others if not _same(query, m)), math.inf))
            if any(_same(query, match) for match in others):
                known.append(others[0].distance)
    distance = sorted(nearest)[allowed - 1]
    if math.isinf(distance):
        raise CalibrationError("the gallery has no image of anybody else: a threshold needs two people at least")
    return Threshold(
        distance=distance,
        false_match_rate=rate,
        strangers=len(nearest),
        people=len({image.pid for image in images} - {""}),
        pairs=sum(len(index) - counts[image.pid] for image in images),
        gallery=len(index),
        turned_away=sum(value > distance for value in known) / len(known) if known else None,
        unification=asdict(encoder.unification),
    )


def outdated(threshold: Threshold, index: GalleryIndex) -> str:
    """Why a threshold says nothing about searches in an index as it is now; empty if it does."""
    now, then = asdict(index.unification), asdict(Unification()) | threshold.unification
    names = ["kind"] if now["kind"] == "none" else list(now)  # plain distances depend on nothing else
    differing = [f"{name} {then[name]} (now {now[name]})" for name in names if then[name] != now[name]]
    if differing:
        return f"it was calibrated with {', '.join(differing)}"
    if not 1 / _GROWTH <= len(index) / threshold.gallery <= _GROWTH:
        return f"it was calibrated on {threshold.gallery} images, the gallery has {len(index)} now"
    return ""


def usable_threshold(index: GalleryIndex) -> tuple[Threshold | None, str]:
    """The threshold that is kept with an index, and why none is used although there is one: :func:`outdated`.

    Raises:
        IndexFileError: it is damaged.
    """
    content = index.load_note(NOTE)
    if content is None:
        return None, ""
    try:
        found = Threshold(**content)
        if not (math.isfinite(found.distance) and 0 < found.false_match_rate < 1 and found.gallery > 0):
            raise ValueError("numbers out of range")
        if not isinstance(found.unification, dict) or not isinstance(found.strangers, int):
            raise TypeError("entries of another kind")
    except (TypeError, ValueError) as error:
        raise IndexFileError(f"the {NOTE} of {index.folder} is damaged: calibrate again ({error})") from error
    reason = outdated(found, index)
    return (None if reason else found), reason


def _same(query: GalleryImage, match: Match) -> bool:
    return bool(query.pid) and query.pid == match.image.pid
