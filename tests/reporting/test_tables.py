from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from oamn_plugin.reporting.tables import (
    Figure,
    Table,
    mean_and_spread,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)


def example() -> Table:
    rows = [
        ["plain_50%", mean_and_spread([60.0, 62.0]), Figure(3.0, digits=0)],
        ["ours | <b>", mean_and_spread([70.0, 71.0]), Figure(1.0, digits=0)],
        ["not run", None, Figure(float("nan"))],
    ]
    return Table(("Method", "Rank-1", "Cost"), rows, "Scores & more", best=(0, 1, -1))


def test_mean_and_spread_agree_with_the_formula() -> None:
    values = [61.0, 63.5, 60.25]
    figure = mean_and_spread(values)
    assert figure is not None
    mean = sum(values) / 3
    assert figure.mean == pytest.approx(mean)
    assert figure.spread == pytest.approx((sum((v - mean) ** 2 for v in values) / 2) ** 0.5)
    assert mean_and_spread([]) is None
    single = mean_and_spread([4.0])
    assert single is not None
    assert single.spread is None


def test_best_is_bold_by_column_and_direction() -> None:
    assert example().best_cells() == {(1, 1), (1, 2)}


def test_ties_as_printed_share_the_bold() -> None:
    rows = [["a", Figure(61.04)], ["b", Figure(61.01)], ["c", Figure(60.0)]]
    assert Table(("m", "x"), rows, best=(0, 1)).best_cells() == {(0, 1), (1, 1)}


def test_single_figure_has_no_best() -> None:
    assert Table(("m", "x"), [["a", Figure(61.0)], ["b", None]], best=(0, 1)).best_cells() == set()


def test_markdown_escapes_bars_and_marks_the_best() -> None:
    text = to_markdown(example())
    assert "**70.5 ± 0.7**" in text
    assert "ours \\| &lt;b>" in text


def test_csv_reads_back_with_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(example()))))
    assert rows[1]["Method"] == "ours | <b>"
    assert float(rows[1]["Rank-1"]) == 70.5
    assert float(rows[1]["Rank-1 spread"]) == pytest.approx(np.sqrt(0.5))
    assert rows[2]["Rank-1"] == ""


def test_latex_escapes_and_uses_booktabs() -> None:
    text = to_latex(example(), "tab:x")
    assert "plain\\_50\\%" in text
    assert "\\textbf{70.5 $\\pm$ 0.7}" in text
    assert "Scores \\& more" in text
    assert [text.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\hline")] == [1, 1, 1, 0]


def test_html_escapes_every_cell() -> None:
    text = to_html(example())
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "Scores &amp; more" in text


def test_text_shows_every_row() -> None:
    assert all(name in to_text(example()) for name in ("plain_50%", "not run", "* 70.5 ± 0.7"))


def test_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells, the header 1"):
        Table(("a",), [["x", "y"]])


def test_interval_and_sign_are_printed() -> None:
    assert Figure(5.1, signed=True, low=3.2, high=7.0).text() == "+5.1 [+3.2, +7.0]"


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1"])
def test_a_name_is_no_formula_in_a_spreadsheet(name: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(Table((name, "x"), [[name, Figure(-1.0)]])))))
    assert rows == [[f"'{name}", "x"], [f"'{name}", "-1.0"]]


def test_a_name_gives_a_terminal_no_orders() -> None:
    assert "\x1b" not in to_text(Table(("m",), [["a\x1b]0;title\x07"]]))
