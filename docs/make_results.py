"""Writes tables of matched unification into docs/results.md, from folders that `oamn test` or `oamn train` wrote.

python docs/make_results.py RUNS [--block NAME]    RUNS/NETWORK/{none,matched}/ with results.json and per_query/
python docs/make_results.py RUNS --check           exit code 1 if the page says something else

RUNS without a network that was tested both ways is refused, and so is a block that the page does not have.

Each run is compared with plain matching of the same network on the same queries: Rank-1 / mAP, the gain in Rank-1 with
its interval, and the p-value of the paired test.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # runs from a clone without installation

from oamn_plugin.retrieval.significance import paired_test  # noqa: E402

PAGE = DOCS / "results.md"
HEAD = "| network | queries | plain | matched | gain, 95 % interval | p |\n|---|---|---|---|---|---|\n"


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--block", default="matched", help="the table's name in the page's comments")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args(argv)
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {args.block}:begin -->", f"<!-- {args.block}:end -->"
    if not 0 <= page.find(begin) < page.find(end):
        parser.error(f"{PAGE} has no block {begin} ... {end}")
    rows = table(args.runs)
    if not rows:
        parser.error(
            f"{args.runs} has no NETWORK/none and NETWORK/matched with results.json and per_query of one data set"
        )
    wanted = page.split(begin)[0] + begin + "\n" + HEAD + "".join(rows) + end + page.split(end)[1]
    if args.check:
        return int(wanted != page)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


def table(runs: Path) -> list[str]:
    """One row for each network and data set that was tested both ways."""
    rows = []
    for folder in sorted(path.parent.parent for path in runs.glob("*/matched/results.json")):
        plain, matched = (scores(folder / kind) for kind in ("none", "matched"))
        rows += [row(folder, name, plain[name], matched[name]) for name in matched if name in plain]
    return rows


def scores(folder: Path) -> dict[str, Any]:
    """Scores by data set, of those whose queries were stored too; empty without any."""
    path = folder / "results.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: one for name, one in found.items() if (folder / "per_query" / f"{name}.npz").is_file()}


def row(folder: Path, name: str, plain: dict[str, Any], matched: dict[str, Any]) -> str:
    """A row of the table."""
    arrays = [dict(np.load(folder / kind / "per_query" / f"{name}.npz")) for kind in ("none", "matched")]
    test = paired_test(*arrays, score="Rank-1")
    texts = [f"{scores['Rank-1']:.1f} / {scores['mAP']:.1f}" for scores in (plain, matched)]
    low, high = 100 * test.low, 100 * test.high
    gain = f"{100 * test.difference:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"| {folder.name} | {name} | {texts[0]} | {texts[1]} | {gain} | {test.p_value:.4f} |\n"


if __name__ == "__main__":
    sys.exit(main())
