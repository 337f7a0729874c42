"""Writes a comparison of methods as HTML, Markdown, CSV, LaTeX and JSON, and prints its main tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import sections as parts
from .analysis import METRICS, Comparison, load_comparison
from .page import Picture, Section, render_markdown, render_page, save_pictures, slug
from .tables import Table, to_csv, to_latex, to_text


def write_comparison(
    run_dirs: Mapping[str, Sequence[str | Path]],
    out_dir: str | Path,
    baseline: str,
    title: str = "Comparison",
    pictures: Sequence[Picture] = (),
    *,
    ablation: Sequence[Sequence[str]] = (),
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
        ablation: groups of methods, each a table of its own, the full one first; the others stay out of the rest.
        settings: method name to the command that trained it.
        trained_as: method that trained nothing to the one whose weights it tests.
        notes: sentences shown with what is missing, e.g. failed runs.

    Returns:
        ``html``, ``markdown``, ``csv``, ``latex``, ``json`` and the path of each.

    Raises:
        ComparisonError: the baseline is not among the methods, or no method has a result.
    """
    everything = load_comparison(run_dirs, baseline, trained_as)
    comparison = everything.without([name for group in ablation for name in group[1:]])
    report = _sections(everything, comparison, pictures, ablation, settings or {}, notes)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    save_pictures(report, folder / "figures")
    lead = finding(comparison)
    contents = {
        "html": ("report.html", render_page(title, lead, report, parts.tiles(comparison), _footer(comparison))),
        "markdown": ("report.md", render_markdown(title, lead, report, "figures")),
        "csv": ("scores.csv", _csv(everything)),
        "latex": ("tables.tex", _latex(comparison, report)),
        "json": ("comparison.json", json.dumps(_json(everything), indent=2) + "\n"),
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
        return f"{measured}; {parts.ONE_SEED}."
    p_value = gap.judged_by
    verdict = "more than" if gap.significant else "no more than"
    equal = "" if p_value < 0.001 else "= "
    return f"{measured}, {verdict} the choice of queries explains (p {equal}{parts.p_text(p_value)})."


def _sections(
    everything: Comparison,
    comparison: Comparison,
    pictures: Sequence[Picture],
    ablation: Sequence[Sequence[str]],
    settings: Mapping[str, str],
    notes: Sequence[str],
) -> list[Section]:
    report = [Section("Example", blocks=pictures)] if pictures else []
    report += [parts.scores_section(comparison, name) for name in comparison.data_sets]
    report += parts.significance_section(comparison) + parts.ablation_section(everything, ablation)
    report += parts.occlusion_section(comparison) + parts.truth_section(comparison)
    report += parts.cmc_section(comparison) + parts.training_section(comparison) + parts.cost_section(comparison)
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
        table = parts.score_table(comparison, data_set)
        table.header, table.rows = ("Data set", *table.header), [[data_set, *row] for row in table.rows]
        lines = to_csv(table).splitlines(keepends=True)
        texts += lines if not texts or lines[0] != texts[0] else lines[1:]
    return "".join(texts)


def _latex(comparison: Comparison, report: Sequence[Section]) -> str:
    texts = ["% needs \\usepackage{booktabs}\n"]
    for data_set in comparison.data_sets:
        table = parts.score_table(comparison, data_set)
        table.caption = f"Scores on {data_set} in percent, mean ± standard deviation over seeds."
        texts.append(to_latex(table, f"tab:{slug(data_set)}"))
    ablation = [block for section in report if section.title == "Ablation" for block in section.blocks]
    texts += [to_latex(block) for block in ablation if isinstance(block, Table)]
    return "\n".join(texts)


def _json(comparison: Comparison) -> dict[str, Any]:
    """Every score by data set and method, for other programs."""
    return {
        "baseline": comparison.baseline,
        "data_sets": {
            data_set: {name: _json_scores(comparison, name, data_set) for name in comparison.methods}
            for data_set in comparison.data_sets
        },
    }


def _json_scores(comparison: Comparison, name: str, data_set: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in METRICS:
        score = comparison.score(name, data_set, metric)
        tested = name != comparison.baseline and metric in ("Rank-1", "mAP")
        gap = comparison.gap(name, comparison.baseline, data_set, metric) if tested else None
        if score is not None:
            found[metric] = {"mean": score.mean, "spread": score.spread, "seeds": score.count}
        if score is not None and gap is not None:
            found[metric]["against_baseline"] = {
                "points": gap.points.mean, "low": gap.points.low, "high": gap.points.high, "p": gap.p_value
            }  # fmt: skip
    return found


def _print(comparison: Comparison, title: str, lead: str, page: Path) -> None:
    print(f"\n{title}\n{lead}\n")
    for data_set in comparison.data_sets:
        table = parts.score_table(comparison, data_set)
        table.caption = data_set
        print(to_text(table))
    print(f"Report: {page}")
