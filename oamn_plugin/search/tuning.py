"""How many lists and candidates a quick search needs, measured on images of the gallery that are held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.search.descriptor_files import Rows
from oamn_plugin.search.files import GalleryIndexError
from oamn_plugin.search.nearest import exact_nearest, ranked, variants_of

TOP = 10
"""Recall is the share of so many nearest images that are found."""
TUNING_QUERIES = 300
CANDIDATES = (50, 100, 200, 400, 800)
"""Numbers of candidates that tuning tries."""
_SURE = 1.645  # standard errors below a mean that its true value lies above with a probability of 95 %
_FINE = 1.15  # ratio of a number of lists that suffices and one that does not

CandidateSearch = Callable[[int, int, int], np.ndarray]
"""``search(row of the query, probes, candidates)`` gives numbers of images, ascending."""


@dataclass(frozen=True)
class Trial:
    """One setting of the quick search.

    Attributes:
        probes: lists looked into for a query.
        candidates: images compared by the exact formula, of which ten are wanted.
        recall: share of the ten nearest images found, mean over the tuning queries.
        at_least: the recall of further queries of this kind is as large as this with a probability of 95 %.
        milliseconds: processor time a query.
    """

    probes: int
    candidates: int
    recall: float
    at_least: float
    milliseconds: float


class TuningSet(NamedTuple):
    """Images of the gallery as queries, with known answers."""

    queries: np.ndarray
    """(Q, D)."""
    own: np.ndarray
    """(Q,) numbers of the queries themselves, which do not count as found."""
    handicaps: list[Mapping[str, float]]
    """The types that each is compared under, see :func:`handicaps_of`."""
    truth: list[np.ndarray]
    """Numbers of the ten nearest images of each, the query itself left out."""
    rank: Callable[[int, np.ndarray], np.ndarray]
    """Query row and candidates to the numbers of the nearest ten, by the exact formula."""


def handicaps_of(names: Sequence[str], matching: Matching | None) -> dict[str, float]:
    """What is added to the distance under each type before an image's nearest variant is chosen.

    A matched distance is a soft minimum over the types, of distances less ``temperature * log(prior)``.
    """
    if matching is None:
        return dict.fromkeys(names, 0.0)
    shares = (-matching.temperature * matching.log_prior()).reshape(-1, len(names))[0].tolist()
    return dict(zip(names, shares, strict=True))


def tuning_set(sides: Mapping[str, Rows], matching: Matching | None) -> TuningSet:
    """Queries spread over the gallery, in turn as they are and as the occlusion types cover them.

    Args:
        sides: descriptors of the types that are compared, all of the same images.
        matching: None: each query is compared under the type that covers it.
    """
    names, rows = list(sides), list(sides.values())
    numbers = rows[0].numbers[:: -(-len(rows[0].numbers) // TUNING_QUERIES)]
    places = np.searchsorted(rows[0].numbers, numbers)
    turns = np.arange(len(numbers)) % len(names)
    query = np.stack([rows[turn].descriptors[place] for turn, place in zip(turns, places.tolist(), strict=True)])
    groups = [(np.arange(len(numbers)), names)]
    if matching is None:
        groups = [(np.flatnonzero(turns == turn), [name]) for turn, name in enumerate(names) if turn in turns]
    truth: list[np.ndarray] = [numbers] * len(numbers)
    compared: list[list[str]] = [names] * len(numbers)
    for members, own in groups:
        near = exact_nearest(query[members], [sides[name] for name in own], matching, TOP + 1)
        for row, (found, _) in zip(members, near, strict=True):
            truth[row], compared[row] = found[found != numbers[row]][:TOP], own

    def rank(row: int, found: np.ndarray) -> np.ndarray:
        variants = variants_of([sides[name] for name in compared[row]], found)
        return ranked(query[row], found, variants, matching, TOP)[0]

    return TuningSet(query, numbers, [handicaps_of(own, matching) for own in compared], truth, rank)


def tried(search: CandidateSearch, lists: int, target_recall: float, tuning: TuningSet) -> list[Trial]:
    """The settings that were tried, cheapest first: for each number of candidates, lists are bisected for the fewest
    that surely reach the recall, until more candidates make it no cheaper.

    Args:
        search: names candidates.
        lists: how many there are.
        target_recall: what must be reached.
        tuning: the queries.

    Raises:
        GalleryIndexError: a recall that cannot be asked for.
    """
    if not 0 < target_recall < 1:
        raise GalleryIndexError(f"the recall that is asked for must lie between 0 and 1, got {target_recall}")
    trials: list[Trial] = []
    cheapest = float("inf")
    for candidates in CANDIDATES:
        good = _try(search, lists, candidates, tuning)
        trials.append(good)
        too_few = 1
        while good.at_least >= target_recall and good.probes > max(too_few + 1, _FINE * too_few):
            probes = round((too_few * good.probes) ** 0.5)
            trials.append(_try(search, probes, candidates, tuning))
            if trials[-1].at_least >= target_recall:
                good = trials[-1]
            else:
                too_few = probes
        if good.at_least >= target_recall:
            if good.milliseconds >= cheapest:
                break
            cheapest = good.milliseconds
    return sorted(trials, key=lambda trial: trial.milliseconds)


def _try(search: CandidateSearch, probes: int, candidates: int, tuning: TuningSet) -> Trial:
    found, start = [], time.process_time()
    for row in range(len(tuning.queries)):
        numbers = search(row, probes, candidates)
        found.append(tuning.rank(row, numbers[numbers != tuning.own[row]]))
    milliseconds = 1000 * (time.process_time() - start) / len(found)
    hits = np.array([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, tuning.truth, strict=True)])
    error = float(hits.std(ddof=1)) / len(hits) ** 0.5
    return Trial(probes, candidates, float(hits.mean()), float(hits.mean()) - _SURE * error, milliseconds)
