"""What each part of a method gives: pairs of methods with it and without it, in words chosen by the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .analysis import TESTED, Comparison, Gap, adjusted_together
from .page import Section
from .sections import ONE_SEED, p_text
from .tables import Cell, Table

READING = (
    "A difference counts as beyond chance where its p-value (paired test over queries, averaged over the seeds that "
    "both have, adjusted for all comparisons of the part) is below 0.05 and every seed's own difference has the same "
    "sign; a difference between two single trainings never counts. In brackets: 95 % interval over queries."
)
"""How the sentences and tables of parts are read."""


class Contrast(NamedTuple):
    """A method with a part minus one without it, on one data set by one metric; the p-value is adjusted."""

    method: str
    other: str
    data_set: str
    metric: str
    gap: Gap
    agreed: bool
    """Whether every seed's own difference has the sign of the mean."""

    @property
    def judged(self) -> bool:
        """Whether chance can be told from a finding: not between two single trainings."""
        return not self.gap.one_training

    @property
    def beyond_chance(self) -> bool:
        """Whether neither the choice of queries nor that of a seed explains the difference."""
        return self.gap.significant and self.agreed


def contrasts(comparison: Comparison, pairs: Sequence[Sequence[str]]) -> list[Contrast]:
    """Every pair ``(with, without)`` on every data set, p-values adjusted for the number of all these (Holm)."""
    found = [
        Contrast(method, other, data_set, metric, gap, _agreed(comparison, method, other, data_set, metric))
        for method, other in pairs
        if method in comparison.methods and other in comparison.methods
        for data_set in comparison.data_sets
        for metric in TESTED
        if (gap := comparison.gap(method, other, data_set, metric)) is not None
    ]
    gaps = adjusted_together([one.gap for one in found])
    return [one._replace(gap=gap) for one, gap in zip(found, gaps, strict=True)]


def _agreed(comparison: Comparison, method: str, other: str, data_set: str, metric: str) -> bool:
    pairs = comparison.paired_runs(method, other, data_set).values()
    scores = [[run.score(data_set, metric) for run in pair] for pair in pairs]
    signs = {(a > b) - (a < b) for a, b in scores if a is not None and b is not None}
    return len(signs) == 1 and 0 not in signs


def verdict(part: str, found: Sequence[Contrast]) -> str:
    """What a part gives, in a sentence that counts the comparisons that can be judged: not single trainings."""
    if not found:
        return f"**{part}: not measured yet.**"
    judged = [one for one in found if one.judged]
    if not judged:
        return f"**{part}: {ONE_SEED}.**"
    points = [one.gap.points.mean for one in judged if one.beyond_chance]
    gains, losses = [value for value in points if value > 0], [value for value in points if value < 0]
    counted = f"of {len(judged)} comparisons"
    left = f"; {len(found) - len(judged)} more are of single trainings, and {ONE_SEED}" if judged != found else ""
    if not points:
        return f"**{part}: no gain beyond chance**, in none {counted}{left}."
    told = [
        f"a {word} beyond chance in {len(values)} {counted}, {_span(values)} points"
        for word, values in (("gain", gains), ("loss", losses))
        if values
    ]
    return f"**{part}: {told[0]}**" + "".join(f"; {text}" for text in told[1:]) + f"{left}."


def _span(values: Sequence[float]) -> str:
    low, high = (f"{value:+.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def pair_text(found: Sequence[Contrast]) -> str:
    """One pair in words: gains and losses with their intervals, and where there is neither."""
    sure = [one for one in found if one.beyond_chance]
    told = [
        f"{one.metric} on {one.data_set} {one.gap.points.mean:+.1f} ({one.gap.points.low:+.1f} to "
        f"{one.gap.points.high:+.1f})"
        for one in sure
    ]
    silent = [name for name in dict.fromkeys(one.data_set for one in found) if name not in {o.data_set for o in sure}]
    told += [f"no difference beyond chance on {', '.join(silent)}"] if silent else []
    return f"{found[0].method} against {found[0].other}: {'; '.join(told)}."


def part_sections(
    comparison: Comparison, parts: Mapping[str, Sequence[Sequence[str]]], text: Sequence[str] = ()
) -> list[Section]:
    """What each part gives: a sentence for each, then its sentences and differences one by one.

    Args:
        comparison: the runs.
        parts: what is asked about to pairs of methods, with it and without it.
        text: paragraphs above the sentences.

    Returns:
        Nothing without parts; else the section of the sentences, and one for each part that is measured.
    """
    if not parts:
        return []
    found = {part: contrasts(comparison, pairs) for part, pairs in parts.items()}
    told = Section("What each part gives", text, bullets=[verdict(part, own) for part, own in found.items()])
    return [told, *(_part_section(part, own) for part, own in found.items() if own)]


def _part_section(part: str, found: Sequence[Contrast]) -> Section:
    """A part's sentences, and all of its differences as a table."""
    pairs = {(one.method, one.other): [o for o in found if o[:2] == one[:2]] for one in found}
    rows: list[list[Cell]] = []
    for (method, other), own in pairs.items():
        for data_set in dict.fromkeys(one.data_set for one in own):
            row: list[Cell] = [method, other, data_set]
            for one in (one for one in own if one.data_set == data_set):
                row += [one.gap.points, p_text(one.gap.judged_by), "yes" if one.beyond_chance else "no"]
            rows.append(row)
    header = ("With", "Without", "Queries", *(word for metric in TESTED for word in (metric, "p", "beyond chance")))
    judged = [[one for one in own if one.judged] for own in pairs.values()]
    return Section(part, [], [Table(header, rows)], [pair_text(own) for own in judged if own])
