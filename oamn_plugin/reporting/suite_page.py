"""A suite as a page of the documentation: scores at a glance, and what each part gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .analysis import TESTED, Comparison, load_comparison
from .page import Section, render_markdown
from .parts import READING, part_sections
from .sections import score_table
from .tables import Cell, Table


def glance(comparison: Comparison, methods: Sequence[str]) -> Table:
    """Rank-1 / mAP, means over seeds, of every method on every data set; the best Rank-1 of each in bold."""
    rows: list[list[Cell]] = [[name] for name in methods]
    for data_set in comparison.data_sets:
        scores = [[comparison.score(name, data_set, metric) for metric in TESTED] for name in methods]
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
    reading = f"Rank-1 / mAP in percent, mean over seeds. {READING}"
    sections = [Section("At a glance", [reading], [glance(comparison, methods)])]
    sections += part_sections(comparison, parts)
    for data_set in comparison.data_sets:
        sections.append(Section(f"All scores on {data_set}", [], [score_table(comparison, data_set, methods)]))
    commands = [f"{name}: `{settings[name]}`" for name in methods if name in settings]
    sections.append(Section("Commands", ["Of the first seed."], bullets=commands))
    if remarks := [*notes, *comparison.notes]:
        sections.append(Section("What is missing", bullets=remarks))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_markdown(title, lead, sections), encoding="utf-8")
