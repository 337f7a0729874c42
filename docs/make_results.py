"""Writes tables of matched unification into docs/results.md, from folders that `oamn test` or `oamn train` wrote.

python docs/make_results.py RUNS [--block NAME]    RUNS/NETWORK/{none,matched}/ with results.json and per_query/
python docs/make_results.py RUNS --check           exit code 1 if the page says something else

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


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--block", default="matched", help="the table's name in the page's comments")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    page = PAGE.read_text()
    begin, end = f"<!-- {args.block}:begin -->", f"<!-- {args.block}:end -->"
    before, rest = page.split(begin)
    wanted = before + begin + "\n" + table(args.runs) + end + rest.split(end)[1]
    if args.check:
        return int(wanted != page)
    PAGE.write_text(wanted)
    return 0


def table(runs: Path) -> str:
    """One row for each network and data set that was tested both ways."""
    rows = []
    for folder in sorted(path.parent.parent for path in runs.glob("*/matched/results.json")):
        plain, matched = (json.loads((folder / kind / "results.json").read_text()) for kind in ("none", "matched"))
        rows += [
            row(folder, name, plain[name], matched[name])
            for name in matched
            if name in plain and (folder / "none/per_query" / f"{name}.npz").exists()
        ]
    return HEAD + "".join(rows)


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
