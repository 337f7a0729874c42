"""Writes the tables of docs/results.md from folders that `oamn test` or `oamn train` wrote, then the table at its top.

python docs/make_results.py RUNS --block NAME     RUNS/NETWORK/{none,matched}/ with results.json and per_query/
python docs/make_results.py                       the table at the top, which README.md has too, and its picture
python docs/make_results.py [RUNS] --check        exit code 1 if a page says something else

RUNS without a network that was tested both ways is refused, and so is a block that the page does not have.

Each run is compared with plain matching of the same network on the same queries: Rank-1 / mAP, the gain in Rank-1 with
its interval, and the p-value of the paired test. The table at the top gathers the blocks and the pages of suites.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # runs from a clone without installation

from oamn_plugin.reporting import plots  # noqa: E402
from oamn_plugin.retrieval.significance import paired_test  # noqa: E402

README, PAGE, PICTURE = DOCS.parent / "README.md", DOCS / "results.md", DOCS / "images" / "results.png"
HEAD = "| network | queries | plain | matched | gain, 95 % interval | p |\n|---|---|---|---|---|---|\n"
BLOCKS = {"matched": "elsewhere, 256 x 128", "packaged": "700 people, 256 x 128, 26 epochs"}
"""The blocks that the table at the top gathers, and how their networks were trained."""
SUITES = {
    DOCS / "market_field.md": "700 people, 256 x 128, 14 epochs",
    DOCS / "market_cpu.md": "250 people, 128 x 64",
}
"""The pages of suites that it gathers, and how their networks were trained."""
NAMES = {
    "PartialREIDOccluded": "Partial-REID, occluded",
    "PartialREID": "Partial-REID, partial",
    "PartialiLIDS": "Partial-iLIDS",
    "OccludedMarket1501": "Market-1501, occluded",
    "Market1501": "Market-1501, whole",
}


class Pair(NamedTuple):
    """Rank-1 of a network on one data set, plain and matched, and whether the difference is beyond chance."""

    plain: float
    matched: float
    sure: bool
    note: str = ""

    @property
    def text(self) -> str:
        """The table's cell."""
        matched = f"**{self.matched:.1f}**" if self.sure else f"{self.matched:.1f}"
        return f"{self.plain:.1f} → {matched}{self.note and f' ({self.note})'}"


Network = tuple[str, str]
"""Its name and how it was trained."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--block", default="matched", help="the table's name in the page's comments")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args(argv)
    pages = {file: file.read_text(encoding="utf-8") for file in (PAGE, README)}
    try:
        if args.runs is not None:
            pages[PAGE] = with_block(pages[PAGE], PAGE, args.block, HEAD + "".join(table(args.runs)))
        found = gathered(pages[PAGE])
        wanted = {file: with_block(text, file, "glance", glance(found)) for file, text in pages.items()}
    except ValueError as error:
        parser.error(str(error))
    if args.check:
        return int(any(text != file.read_text(encoding="utf-8") for file, text in wanted.items()))
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
    draw(found, PICTURE)
    return 0


def with_block(page: str, file: Path, name: str, content: str) -> str:
    """A page with other lines between the comments of a block."""
    begin, end = marks(name)
    return page.replace(f"{begin}{block(page, file, name)}{end}", f"{begin}\n{content}{end}")


def block(page: str, file: Path, name: str) -> str:
    """The text between the comments of a block.

    Raises:
        ValueError: the page has none of that name.
    """
    begin, end = marks(name)
    if not 0 <= page.find(begin) < page.find(end):
        raise ValueError(f"{file} has no block {begin} ... {end}")
    return page.split(begin)[1].split(end)[0]


def marks(name: str) -> tuple[str, str]:
    """The comments around a block."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def gathered(page: str) -> dict[Network, dict[str, Pair]]:
    """Rank-1 of every network by data set, from the blocks of the page and the pages of suites."""
    found: dict[Network, dict[str, Pair]] = {}
    for name, trained in BLOCKS.items():
        for network, data_set, *texts in cells(block(page, PAGE, name).splitlines())[1:]:
            network, _, note = network.partition(", ")
            pair = Pair(first(texts[0]), first(texts[1]), float(texts[3]) < 0.05, note)
            found.setdefault((network, trained), {})[data_set] = pair
    for suite, trained in SUITES.items():
        pairs_of = of_suite(suite.read_text(encoding="utf-8")) if suite.is_file() else {}
        found |= {(network, trained): pairs for network, pairs in pairs_of.items()}
    if unnamed := {name for pairs in found.values() for name in pairs} - set(NAMES):
        raise ValueError(f"NAMES has no name for {', '.join(sorted(unnamed))}")
    return found


def of_suite(page: str) -> dict[str, dict[str, Pair]]:
    """The same from a page that `oamn benchmark --docs` wrote: methods tested plain and matched with the same seeds."""
    header, *rows = cells(section(page, "At a glance")) or [[]]
    shown = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    beyond = {(row[0], row[2]): row[5] == "yes" for row in cells(section(page, "Matched unification"))}
    found: dict[str, dict[str, Pair]] = {}
    for data_set in header[1:]:
        seeds = {row[0]: row[-1] for row in cells(section(page, f"All scores on {data_set}"))}
        for name in shown:
            matched = f"{name}, matched"
            if (matched, data_set) in beyond and seeds.get(name) == seeds.get(matched):
                scores = first(shown[name][data_set]), first(shown[matched][data_set])
                found.setdefault(name, {})[data_set] = Pair(*scores, beyond[matched, data_set])
    return found


def section(page: str, title: str) -> list[str]:
    """Lines of a page below a heading of the second level, none without it."""
    return page.partition(f"\n## {title}\n")[2].split("\n## ")[0].splitlines()


def cells(lines: list[str]) -> list[list[str]]:
    """Rows of the Markdown tables in some lines, the header first."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if not re.fullmatch(r":?-+:?", row[0])]


def first(text: str) -> float:
    """Rank-1 of `Rank-1 / mAP`."""
    return float(text.strip("* ").split("/")[0])


def glance(found: dict[Network, dict[str, Pair]]) -> str:
    """The table at the top: networks x data sets."""
    shown = [name for name in NAMES if any(name in pairs for pairs in found.values())]
    lines = [["network", "trained on", *(NAMES[name] for name in shown)], ["---"] * (2 + len(shown))]
    for (name, trained), pairs in found.items():
        lines.append([name, trained, *(pairs[key].text if key in pairs else "-" for key in shown)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(found: dict[Network, dict[str, Pair]], path: Path) -> None:
    """Rank-1 of every network on every set of queries, a dot plain and a dot matched, as PNG."""
    canvas = Figure(figsize=(9.6, 0.3 * len(found) + 0.9), layout="constrained", facecolor="white")
    names = [name for name in NAMES if any(name in pairs for pairs in found.values())]
    panels = canvas.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(NAMES[name], fontsize=8.5, loc="left", color=plots.TEXT)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(plots.GRID)
        axes.grid(axis="x", color=plots.GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=8, colors=plots.QUIET)
        for place, pairs in enumerate(found.values()):
            if name in pairs:
                plain, matched, certain, _ = pairs[name]
                colour = plots.METHODS[0 if matched >= plain else 1]
                axes.plot([plain, matched], [place, place], color=colour, linewidth=2, zorder=1)
                axes.plot(
                    matched, place, "o", color=colour, markersize=7, markerfacecolor=colour if certain else "white"
                )
                axes.plot(plain, place, "o", color=plots.BASELINE, markersize=4)
    panels[0].set_yticks(
        range(len(found)),
        [f"{name}, {trained.partition(',')[0]}" for name, trained in found],
        fontsize=8.5,
        color=plots.TEXT,
    )
    panels[0].invert_yaxis()
    label = "Rank-1, %. Grey: plain matching. Green: matched, a gain; orange: a loss. Open: not beyond chance"
    canvas.supxlabel(label, fontsize=8.5, color=plots.QUIET)
    canvas.savefig(path, dpi=150, metadata={"Software": None})


def table(runs: Path) -> list[str]:
    """One row for each network and data set that was tested both ways.

    Raises:
        ValueError: there is none.
    """
    rows = []
    for folder in sorted(path.parent.parent for path in runs.glob("*/matched/results.json")):
        plain, matched = (stored_scores(folder / kind) for kind in ("none", "matched"))
        rows += [row(folder, name, plain[name], matched[name]) for name in matched if name in plain]
    if not rows:
        raise ValueError(
            f"{runs} has no NETWORK/none and NETWORK/matched with results.json and per_query of one data set"
        )
    return rows


def stored_scores(folder: Path) -> dict[str, Any]:
    """Scores by data set, of those whose queries were stored too; empty without any."""
    path = folder / "results.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: one for name, one in found.items() if (folder / "per_query" / f"{name}.npz").is_file()}


def row(folder: Path, name: str, plain: dict[str, Any], matched: dict[str, Any]) -> str:
    """A row of the table."""
    runs = [dict(np.load(folder / kind / "per_query" / f"{name}.npz")) for kind in ("none", "matched")]
    if not all(np.array_equal(runs[0][key], runs[1][key]) for key in ("valid", "paths")):
        raise ValueError(f"{folder}: plain and matched were not tested on the same queries of {name}")
    test = paired_test(*((run["first_rank"] == 1)[run["valid"]] for run in runs))
    texts = [f"{scores['Rank-1']:.1f} / {scores['mAP']:.1f}" for scores in (plain, matched)]
    low, high = 100 * test.low, 100 * test.high
    gain = f"{100 * test.difference:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"| {folder.name} | {name} | {texts[0]} | {texts[1]} | {gain} | {test.p_value:.4f} |\n"


if __name__ == "__main__":
    sys.exit(main())
