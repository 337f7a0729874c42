"""Tables of mean and spread over seeds, written as Markdown, CSV, LaTeX, plain text and HTML; the best in bold."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tabulate import tabulate

from oamn_plugin.errors import printable

DASH = "\N{EN DASH}"
"""An empty cell."""


@dataclass(frozen=True)
class Figure:
    """A number in a cell.

    Attributes:
        mean: the value, or its mean over seeds.
        spread: sample standard deviation over seeds; None with a single seed.
        count: number of seeds.
        digits: decimals shown.
        signed: show a plus sign, for differences.
        low, high: ends of an interval, shown after the number where given.
    """

    mean: float
    spread: float | None = None
    count: int = 1
    digits: int = 1
    signed: bool = False
    low: float | None = None
    high: float | None = None

    def text(self) -> str:
        """The number as it is printed, e.g. ``61.2 ± 0.8`` or ``+5.1 [3.2, 7.0]``."""
        style = f"{'+' if self.signed else ''},.{self.digits}f"
        if not np.isfinite(self.mean):
            return DASH
        shown = format(self.mean, style)
        if self.spread is not None:
            shown += f" ± {self.spread:,.{self.digits}f}"
        if self.low is not None and self.high is not None:
            shown += f" [{format(self.low, style)}, {format(self.high, style)}]"
        return shown


Cell = str | Figure | None


@dataclass
class Table:
    """A table with named columns.

    Attributes:
        header: names of the columns.
        rows: cells; None is an empty one.
        caption: one sentence on what the table shows.
        best: by column, +1 to set the largest number in bold, -1 the smallest, 0 none. Missing: all 0.
    """

    header: Sequence[str]
    rows: list[list[Cell]]
    caption: str = ""
    best: Sequence[int] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row has {len(row)} cells, the header {len(self.header)}: {row}")

    def best_cells(self) -> set[tuple[int, int]]:
        """(row, column) of the cells in bold; ties as printed share it, a column with one number has none."""
        found = set()
        for column, direction in enumerate(self.best):
            values = {
                row: direction * round(cell.mean, cell.digits)
                for row, cells in enumerate(self.rows)
                if isinstance(cell := cells[column], Figure) and np.isfinite(cell.mean)
            }
            if direction and len(values) > 1:
                found |= {(row, column) for row, value in values.items() if value == max(values.values())}
        return found

    def cells(self, bold: str) -> list[list[str]]:
        """Every cell as text, the best ones put into ``bold``."""
        best = self.best_cells()
        return [
            [(bold if (r, c) in best else "{}").format(_text(cell)) for c, cell in enumerate(cells)]
            for r, cells in enumerate(self.rows)
        ]


def mean_and_spread(values: Sequence[float], digits: int = 1) -> Figure | None:
    """Mean and sample standard deviation (n - 1) of one score over seeds; None of no values.

    >>> mean_and_spread([60.0, 62.0]).text()
    '61.0 ± 1.4'
    """
    if not len(values):
        return None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Figure(float(np.mean(values)), spread, len(values), digits)


def to_markdown(table: Table) -> str:
    """GitHub's Markdown, the best in bold."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in table.cells("**{}**")]
    body = tabulate(rows, [name.replace("|", "\\|") for name in table.header], tablefmt="pipe",
                    colalign=_alignment(table), disable_numparse=True)  # fmt: skip
    return without_html((f"{table.caption}\n\n" if table.caption else "") + body + "\n")


def without_html(markdown: str) -> str:
    """Markdown in which no name begins an HTML tag or comment.

    >>> without_html("<b>ours</b>, p < 0.05")
    '&lt;b>ours&lt;/b>, p < 0.05'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", markdown)


def to_text(table: Table) -> str:
    """Plain text for a terminal; the best are marked with a star."""
    body = tabulate(table.cells("* {}"), list(table.header), tablefmt="simple", colalign=_alignment(table),
                    disable_numparse=True)  # fmt: skip
    return (f"{table.caption}\n" if table.caption else "") + body + "\n"


def to_csv(table: Table) -> str:
    """Comma separated values with full precision; a number with a spread fills two columns."""
    rows = [[_csv_values(cell) for cell in row] for row in table.rows]
    parts = [dict.fromkeys(["", *(key for row in rows for key in row[c])]) for c in range(len(table.header))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = zip(map(_csv_text, table.header), parts, strict=True)
    writer.writerow([name + suffix for name, suffixes in header for suffix in suffixes])
    for row in rows:
        writer.writerow([cell.get(key, "") for cell, keys in zip(row, parts, strict=True) for key in keys])
    return out.getvalue()


def to_latex(table: Table, label: str = "") -> str:
    """A LaTeX table for the package booktabs, the best in bold."""
    cells = [[_latex(cell) for cell in row] for row in table.cells("\x01{}\x02")]
    body = tabulate(cells, [_latex(name) for name in table.header], tablefmt="latex_raw", colalign=_alignment(table),
                    disable_numparse=True)  # fmt: skip
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        body = body.replace("\\hline", rule, 1)
    caption = f"\\caption{{{_latex(table.caption)}}}\n" if table.caption else ""
    mark = f"\\label{{{label}}}\n" if label else ""
    return f"\\begin{{table}}[t]\n\\centering\n{caption}{mark}{body}\n\\end{{table}}\n"


def to_html(table: Table) -> str:
    """An HTML table in a scrolling box, every text escaped."""
    best, numeric = table.best_cells(), [align == "right" for align in _alignment(table)]
    head = "".join(
        f"<th{' class=num' if n else ''}>{html.escape(h)}</th>" for h, n in zip(table.header, numeric, strict=True)
    )
    body = []
    for r, cells in enumerate(table.rows):
        columns = [
            f'<td class="{"num" if numeric[c] else "name"}{" best" if (r, c) in best else ""}">{_html(cell)}</td>'
            for c, cell in enumerate(cells)
        ]
        body.append(f"<tr>{''.join(columns)}</tr>")
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _text(cell: Cell) -> str:
    return DASH if cell is None else cell.text() if isinstance(cell, Figure) else printable(cell)


def _alignment(table: Table) -> list[str]:
    """Numbers to the right, words to the left."""
    columns = ([row[column] for row in table.rows] for column in range(len(table.header)))
    return ["right" if any(isinstance(cell, Figure) for cell in cells) else "left" for cells in columns]


def _csv_values(cell: Cell) -> dict[str, str]:
    """What a cell holds, by the ending of its column's name."""
    if not isinstance(cell, Figure):
        return {"": _csv_text(cell or "")}
    spread = {} if cell.spread is None else {" spread": repr(float(cell.spread))}
    return {"": repr(float(cell.mean)), **spread}


def _csv_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe before what would begin one."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_LATEX = str.maketrans(
    {
        **{sign: "\\" + sign for sign in "&%$#_{}"},
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "±": "$\\pm$",
        DASH: "--",
        "→": "$\\to$",
        "\N{MINUS SIGN}": "$-$",
        "\x01": "\\textbf{",
        "\x02": "}",
    }
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)


def _html(cell: Cell) -> str:
    if not isinstance(cell, Figure):
        return html.escape(_text(cell))
    number, _, rest = cell.text().partition(" ")
    return f'{number} <span class="spread">{rest}</span>' if rest else number
