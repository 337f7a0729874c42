"""A suite as a page of the documentation: scores at a glance, and what each part gives, in words chosen by figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .analysis import Comparison, Gap, adjusted_together, load_comparison
from .page import Section, render_markdown
from .sections import ONE_SEED, p_text, score_table
from .tables import Cell, Table

_METRICS = ("Rank-1", "mAP")


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
        for metric in _METRICS
        if (gap := comparison.gap(method, other, data_set, metric)) is not None
    ]
    gaps = adjusted_together([one.gap for one in found])
    return [one._replace(gap=gap) for one, gap in zip(found, gaps, strict=True)]


def _agreed(comparison: Comparison, method: str, other: str, data_set: str, metric: str) -> bool:
    ours, theirs = (
        {run.seed: run.score(data_set, metric) for run in comparison.methods[name]} for name in (method, other)
    )
    signs = {(a > b) - (a < b) for seed, a in ours.items() if a is not None and (b := theirs.get(seed)) is not None}
    return len(signs) == 1 and 0 not in signs


def verdict(part: str, found: Sequence[Contrast]) -> str:
    """What a part gives, in a sentence."""
    if not found:
        return f"**{part}: not measured yet.**"
    if all(one.gap.one_training for one in found):
        return f"**{part}: {ONE_SEED}.**"
    points = [one.gap.points.mean for one in found if one.beyond_chance]
    gains, losses = [value for value in points if value > 0], [value for value in points if value < 0]
    counted = f"of {len(found)} comparisons"
    if not points:
        return f"**{part}: no gain beyond chance**, in none {counted}."
    told = [
        f"a {word} beyond chance in {len(values)} {counted}, {_span(values)} points"
        for word, values in (("gain", gains), ("loss", losses))
        if values
    ]
    return f"**{part}: {told[0]}**" + "".join(f"; {text}" for text in told[1:]) + "."


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


def part_section(part: str, found: Sequence[Contrast]) -> Section:
    """A part's sentences, and all of its differences as a table."""
    pairs = {(one.method, one.other): [o for o in found if o[:2] == one[:2]] for one in found}
    rows: list[list[Cell]] = []
    for (method, other), own in pairs.items():
        for data_set in dict.fromkeys(one.data_set for one in own):
            row: list[Cell] = [method, other, data_set]
            for one in (one for one in own if one.data_set == data_set):
                row += [one.gap.points, p_text(one.gap.judged_by), "yes" if one.beyond_chance else "no"]
            rows.append(row)
    header = ("With", "Without", "Queries", *(word for metric in _METRICS for word in (metric, "p", "beyond chance")))
    told = [pair_text(own) for own in pairs.values() if not own[0].gap.one_training]
    return Section(part, [], [Table(header, rows)] if rows else [], told)


def glance(comparison: Comparison, methods: Sequence[str]) -> Table:
    """Rank-1 / mAP, means over seeds, of every method on every data set; the best Rank-1 of each in bold."""
    rows: list[list[Cell]] = [[name] for name in methods]
    for data_set in comparison.data_sets:
        scores = [[comparison.score(name, data_set, metric) for metric in _METRICS] for name in methods]
        best = max((rank.mean for rank, _ in scores if rank), default=None)
        for row, (rank, mean) in zip(rows, scores, strict=True):
            text = f"{rank.mean:.1f} / {mean.mean:.1f}" if rank and mean else None
            row.append(f"**{text}**" if rank and text and rank.mean == best else text)
    return Table(("Trained and tested as", *comparison.data_sets), rows)


def write_suite_page(
    path: Path,
    run_dirs: Mapping[str, Sequence[str | Path]],
    baseline: str,
    title: str,
    lead: str,
    parts: Mapping[str, Sequence[Sequence[str]]],
    settings: Mapping[str, str],
    trained_as: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Writes a suite's page.

    Args:
        path: Markdown file.
        run_dirs: method name to its run folders, one a seed, in the order of the page.
        baseline: one of the names.
        title, lead: heading and first paragraph.
        parts: what is asked about to pairs of methods, with it and without it.
        settings: method name to the command that ran it.
        trained_as: method that trained nothing to the one whose weights it tests.
        notes: what is missing.

    Raises:
        ComparisonError: no method has a result.
    """
    comparison = load_comparison(run_dirs, baseline, trained_as)
    methods = [name for name in run_dirs if name in comparison.methods]
    found = {part: contrasts(comparison, pairs) for part, pairs in parts.items()}
    reading = (
        "Rank-1 / mAP in percent, mean over seeds. A difference counts as beyond chance where its p-value (paired test "
        "over queries, seeds averaged, adjusted for all comparisons of the part) is below 0.05 and every seed's own "
        "difference has the same sign. In brackets: 95 % interval over queries."
    )
    sections = [Section("At a glance", [reading], [glance(comparison, methods)])]
    if parts:
        sections.append(Section("What each part gives", bullets=[verdict(part, own) for part, own in found.items()]))
    sections += [part_section(part, own) for part, own in found.items() if own]
    for data_set in comparison.data_sets:
        sections.append(Section(f"All scores on {data_set}", [], [score_table(comparison, data_set, methods)]))
    commands = [f"{name}: `{settings[name]}`" for name in methods if name in settings]
    sections.append(Section("Commands", ["Of the first seed."], bullets=commands))
    if remarks := [*notes, *comparison.notes]:
        sections.append(Section("What is missing", bullets=remarks))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_markdown(title, lead, sections), encoding="utf-8")
