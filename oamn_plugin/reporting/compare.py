"""Writes a comparison of methods as HTML, Markdown, CSV and LaTeX, and prints its main tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from . import sections
from .analysis import Comparison, load_comparison
from .page import Picture, Section, render_markdown, render_page, save_pictures, slug
from .parts import READING, part_sections
from .tables import Table, to_csv, to_latex, to_text


def write_comparison(
    run_dirs: Mapping[str, Sequence[str | Path]],
    out_dir: str | Path,
    baseline: str,
    title: str = "Comparison",
    pictures: Sequence[Picture] = (),
    *,
    parts: Mapping[str, Sequence[Sequence[str]]] | None = None,
    settings: Mapping[str, str] | None = None,
    trained_as: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Path]:
    """Compares methods and writes the report.

    Args:
        run_dirs: method name to its run folders, one a seed.
        out_dir: folder of the report, made if missing.
        baseline: the method that the others are compared with.
        title: heading of the report.
        pictures: what the report opens with, such as the rank lists of a query.
        parts: what is asked about to pairs of methods, with it and without it.
        settings: method name to the command that trained it.
        trained_as: method that trained nothing to the one whose weights it tests.
        notes: sentences shown with what is missing, e.g. failed runs.

    Returns:
        ``html``, ``markdown``, ``csv``, ``latex`` and the path of each.

    Raises:
        ComparisonError: the baseline is not among the methods, or no method has a result.
    """
    comparison = load_comparison(run_dirs, baseline, trained_as)
    asked = part_sections(comparison, parts or {}, [READING])
    report = _sections(comparison, pictures, asked, settings or {}, notes)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    save_pictures(report, folder / "figures")
    lead = finding(comparison)
    contents = {
        "html": ("report.html", render_page(title, lead, report, _footer(comparison))),
        "markdown": ("report.md", render_markdown(title, lead, report, "figures")),
        "csv": ("scores.csv", _csv(comparison)),
        "latex": ("tables.tex", _latex(comparison, asked)),
    }
    written = {kind: folder / name for kind, (name, _) in contents.items()}
    for kind, (_, content) in contents.items():
        written[kind].write_text(content, encoding="utf-8")
    _print(comparison, title, lead, written["html"])
    return written


def finding(comparison: Comparison) -> str:
    """The result in one or two sentences, gains and losses alike.

    Names the best method other than the baseline on the first data set, and whether its difference is larger than
    what new queries could explain.
    """
    data_set = comparison.data_sets[0]
    scores = {name: score for name in comparison.methods if (score := comparison.score(name, data_set, "Rank-1"))}
    rivals = [name for name in scores if name != comparison.baseline]
    if not rivals or comparison.baseline not in scores:
        return "; ".join(f"{name} reaches {s.text()} % Rank-1 on {data_set}" for name, s in scores.items()) + "."
    best = max(rivals, key=lambda name: scores[name].mean)
    text = (
        f"On {data_set}, {best} reaches {scores[best].text()} % Rank-1, {comparison.baseline} "
        f"{scores[comparison.baseline].text()} %."
    )
    gap = comparison.gaps(data_set, "Rank-1").get(best)
    if gap is None:
        return text
    measured = f"{text} Query by query that is {gap.points.mean:+.1f} points"
    if gap.one_training:
        return f"{measured}; {sections.ONE_SEED}."
    p_value = gap.judged_by
    verdict = "more than" if gap.significant else "no more than"
    equal = "" if p_value < 0.001 else "= "
    return f"{measured}, {verdict} the choice of queries explains (p {equal}{sections.p_text(p_value)})."


def _sections(
    comparison: Comparison,
    pictures: Sequence[Picture],
    asked: Sequence[Section],
    settings: Mapping[str, str],
    notes: Sequence[str],
) -> list[Section]:
    report = [Section("Example", blocks=pictures)] if pictures else []
    report += [sections.scores_section(comparison, name) for name in comparison.data_sets]
    report += [*sections.significance_section(comparison), *asked]
    report += sections.occlusion_section(comparison) + sections.truth_section(comparison)
    report += sections.cmc_section(comparison) + sections.training_section(comparison)
    report += sections.cost_section(comparison)
    if settings:
        lines = [f"{name}: {command}" for name, command in settings.items()]
        report.append(Section("Settings", ["The command of every method."], bullets=lines, folded=True))
    remarks = [*notes, *comparison.notes]
    if remarks:
        report.append(Section("What is missing", bullets=remarks, folded=not notes))
    return report


def _footer(comparison: Comparison) -> str:
    seeds = sorted({str(run.seed) for runs in comparison.methods.values() for run in runs if run.seed is not None})
    named = ", ".join(seeds) if len(seeds) <= 10 else f"{len(seeds)} different ones"
    return f"oamn_plugin. Baseline: {comparison.baseline}. Seeds: {named or 'not recorded'}."


def _csv(comparison: Comparison) -> str:
    texts: list[str] = []
    for data_set in comparison.data_sets:
        table = sections.score_table(comparison, data_set)
        table.header, table.rows = ("Data set", *table.header), [[data_set, *row] for row in table.rows]
        lines = to_csv(table).splitlines(keepends=True)
        texts += lines if not texts or lines[0] != texts[0] else lines[1:]
    return "".join(texts)


def _latex(comparison: Comparison, asked: Sequence[Section]) -> str:
    texts = ["% needs \\usepackage{booktabs}\n"]
    for data_set in comparison.data_sets:
        table = sections.score_table(comparison, data_set)
        table.caption = f"Scores on {data_set} in percent, mean ± standard deviation over seeds."
        texts.append(to_latex(table, f"tab:{slug(data_set)}"))
    for part in asked:
        tables = [replace(block, caption=part.title) for block in part.blocks if isinstance(block, Table)]
        texts += [to_latex(table, f"tab:part-{slug(part.title)}") for table in tables]
    return "\n".join(texts)


def _print(comparison: Comparison, title: str, lead: str, page: Path) -> None:
    print(f"\n{title}\n{lead}\n")
    for data_set in comparison.data_sets:
        table = sections.score_table(comparison, data_set)
        table.caption = data_set
        print(to_text(table))
    print(f"Report: {page}")
