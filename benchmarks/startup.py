"""How soon ``tools/train_net.py --help`` answers, and that it answers without torch.

python benchmarks/startup.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

from common import REPOSITORY, Row, finish, parser

TARGET = 1.0
HEAVY = ("torch", "torchvision", "fastreid", "cv2", "matplotlib", "sklearn")
COMMAND = [str(REPOSITORY / "tools" / "train_net.py"), "--help"]


def seconds(rounds: int) -> float:
    """Median time of the command."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, *COMMAND], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return median(taken)


def heavy_imports() -> list[str]:
    """Which of the slow packages the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    return [name for name in HEAVY if name in imported]


def measure(arguments: argparse.Namespace) -> list[Row]:
    taken, heavy = seconds(arguments.rounds), heavy_imports()
    return [
        Row("start-up of train_net.py --help", f"< {TARGET:.0f} s", f"{taken:.2f} s", taken < TARGET),
        Row("slow packages that it imports", "none", ", ".join(heavy) or "none", not heavy),
    ]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    command.add_argument("--rounds", type=int, default=7)
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    return finish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
