"""Every benchmark, one after the other, and one table: ``make bench``.

    python benchmarks/all.py [--full] [--only training_step startup] [--root FOLDER] [--doc FILE]

Each runs in a process of its own. The table is printed and written between the markers of docs/performance.md.
``--full`` takes the sizes of the published claims (MSMT17, a million descriptors): some 20 minutes and 13 GB.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from common import REPOSITORY, Row, load, machine, verdict

DOCUMENT = REPOSITORY / "docs" / "performance.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
RANKING_TARGET, RANKING_MEMORY, RANKING_ERROR = 5.0, 1.5, 1e-6


class Job(NamedTuple):
    """A script of this folder and its arguments; ``read`` makes rows of what it prints, where it has no ``--json``."""

    script: str
    quick: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    read: Callable[[str], list[Row]] | None = None


def read_ranking(text: str) -> list[Row]:
    """Rows of what ``ranking.py`` prints."""
    size = _found(r"exact ranking, (.*?), \d+ cores", text)
    faster = float(_found(r"ratio: ([\d.]+) times faster", text))
    less = _found(r"([\d.]+) times less processor time", text)
    memory = float(_found(r"^ours +[\d.]+ +[\d.]+ +([\d.-]+)", text))
    theirs = _found(r"^fastreid +[\d.]+ +[\d.]+ +([\d.-]+)", text)
    errors = [float(one) for one in re.findall(r"(?:CMC|mAP|mINP) (\d[\d.e+-]+)", text)]
    return [
        Row(
            f"exact ranking, {size}: speed over fastreid's",
            f">= {RANKING_TARGET:.0f} times",
            f"{faster:.1f} times ({less} in processor time)",
            faster >= RANKING_TARGET,
        ),
        Row(
            "its memory above the descriptors",
            f"<= {RANKING_MEMORY} GB",
            f"{memory:.2f} GB (fastreid {theirs} GB)",
            memory <= RANKING_MEMORY,
        ),
        Row(
            "largest difference of its CMC, mAP, mINP from fastreid's",
            f"<= {RANKING_ERROR:.0e}",
            f"{max(errors):.1e}",
            max(errors) <= RANKING_ERROR,
        ),
    ]


def read_scale(text: str) -> list[Row]:
    """Rows of what ``scale.py`` prints."""
    queries = _found(r"exact evaluation of (.*?), \d+ cores", text)
    lines = re.findall(r"^ *(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.-]+)$", text, re.MULTILINE)
    return [
        Row(
            f"evaluation of {queries}, gallery of {int(count):,} on disk ({disk} GB)",
            "stated",
            f"{seconds} s, {each} ns a distance, {memory} GB of memory",
        )
        for count, disk, seconds, each, memory in lines
    ]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise ValueError(f"the output has no {pattern!r}:\n{text}")
    return match[1]


JOBS = (
    Job("training_step.py", ("--rounds", "9"), ("--rounds", "15")),
    Job("precision.py"),
    Job("data_pipeline.py", ("--rounds", "5"), ("--rounds", "9")),
    Job(
        "unified_evaluation.py",
        ("--queries", "32", "--gallery", "64", "--rounds", "5"),
        ("--queries", "64", "--gallery", "128", "--types", "9", "--rounds", "3"),
    ),
    Job("ranking.py", ("--queries", "2900"), (), read_ranking),
    Job("sharding.py", ("--queries", "2900")),
    Job("scale.py", ("--sizes", "10000", "100000"), (), read_scale),
    Job("startup.py"),
    Job("matched.py", ("--queries", "2900"), ("--rounds", "3")),
)
GPU = Job("training_step.py", ("--device", "cuda", "--amp", "--images", "64", "--loader"))


def run(job: Job, arguments: Sequence[str]) -> list[Row]:
    """Runs one script; a failure is a row, so that the others' rows are not lost."""
    print(f"== {job.script} {' '.join(arguments)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        command = [sys.executable, str(Path(__file__).with_name(job.script)), *arguments]
        command += [] if job.read else ["--json", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        if done.returncode:
            return [Row(job.script, "", f"failed with status {done.returncode}", False)]
        return job.read(done.stdout) if job.read else [Row(**row) for row in json.loads(path.read_text())]


def gpu_rows() -> list[Row]:
    """The row that needs a GPU; where there is none, what would measure it."""
    import torch

    if torch.cuda.is_available():
        return run(GPU, GPU.quick)
    command = " ".join(["python", "benchmarks/" + GPU.script, *GPU.quick])
    what = "training step on a GPU with AMP: OAMN / plain backbone; share of time the GPU is busy"
    return [Row(what, "<= 1.15; > 90 %", f"not measured, no GPU here: `{command}`")]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | to reach | measured | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.target} | {row.measured} | {verdict(row.reached)} |" for row in rows]
    return "\n".join(lines)


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Puts text between the markers of a document.

    Raises:
        ValueError: the document has not both markers, in order.
    """
    content = path.read_text(encoding="utf-8")
    start, stop = content.find(begin), content.find(end)
    if not 0 <= start < stop:
        raise ValueError(f"{path} needs the lines {begin} and {end}, in this order")
    path.write_text(f"{content[: start + len(begin)]}\n{text}\n{content[stop:]}", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    command = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [job.script.removesuffix(".py") for job in JOBS]
    command.add_argument("--full", action="store_true", help="sizes of MSMT17 and of a million descriptors")
    command.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        help="some of the benchmarks; one alone is written to a block of its name, where the page has one",
    )
    command.add_argument("--root", default="", help="for data_pipeline.py: folder of Market-1501")
    command.add_argument("--doc", type=Path, default=DOCUMENT, help="document whose table is written")
    arguments = command.parse_args(argv)
    busy, rows = load(), []
    for job, name in zip(JOBS, names, strict=True):
        if name not in arguments.only:
            continue
        given = list(job.full if arguments.full else job.quick)
        if name == "data_pipeline" and arguments.root:
            given += ["--root", arguments.root, "--data-set", "Market1501"]
        rows += run(job, given)
        if name == "training_step":
            rows += gpu_rows()
    sizes = "published sizes (`--full`)" if arguments.full else "modest sizes"
    when = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    note = f"`make bench`, {sizes}, {when}. {machine()}; {busy} before the first benchmark."
    text = f"{note}\n\n{table(rows)}"
    print(text)
    if arguments.only == names:
        write(arguments.doc, text)
    elif len(arguments.only) == 1 and f"<!-- {arguments.only[0]}:begin -->" in arguments.doc.read_text("utf-8"):
        write(arguments.doc, text, *(f"<!-- {arguments.only[0]}:{side} -->" for side in ("begin", "end")))
    return int(any(row.measured.startswith("failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
