"""What every benchmark shares: the repository on the path, fair timing on a busy machine, and rows of the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not take processor time from others
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Environment in which glibc gives buffers back at once: peak memory is then what is in use, run after run."""
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # runs from a clone without installation


@dataclass
class Row:
    """One row of docs/performance.md.

    Attributes:
        what: the quantity.
        target: what is to be reached, in words.
        measured: what was measured, in words.
        reached: whether it was; None where nothing is asked or nothing could be measured.
    """

    what: str
    target: str
    measured: str
    reached: bool | None = None


@dataclass
class Timing:
    """Seconds of one side of a comparison, a number per round.

    Attributes:
        wall: on the clock.
        processor: on the processors, all threads together; hardly changes when others use the machine too.
    """

    wall: list[float]
    processor: list[float]


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1) -> dict[str, Timing]:
    """Runs all sides in turn, round after round, so that drift of a busy machine meets all alike.

    Args:
        sides: name to what is timed.
        rounds: timed rounds.
        warm: untimed rounds before.
    """
    timings = {name: Timing([], []) for name in sides}
    for number in range(warm + rounds):
        # every second round backwards: a side must not always profit from what ran before it
        for name in sorted(sides, reverse=True) if number % 2 else sorted(sides):
            wall, processor = time.perf_counter(), time.process_time()
            sides[name]()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            if number >= warm:
                timings[name].wall.append(wall)
                timings[name].processor.append(processor)
    return timings


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over rounds of ours / theirs.

    >>> ratio([2.0, 3.0, 80.0], [1.0, 1.0, 40.0])
    2.0
    """
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def machine() -> str:
    """The machine in a line: processor, cores, memory, versions."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    parts = [
        _processor(),
        f"{os.cpu_count()} cores",
        f"{memory:.0f} GiB memory",
        f"torch {torch.__version__}",
        f"{torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
        platform.system(),
    ]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(part.split(":", 1) for part in lines if ":" in part)
    name = next((fields[key].strip() for key in fields if key.strip() == "model name"), platform.processor())
    flags = next((fields[key].split() for key in fields if key.strip() == "flags"), [])
    return (name or platform.machine()) + (" (AVX-512)" if "avx512f" in flags else "")


def load() -> str:
    """How busy the machine is with everything, in the system's own terms."""
    if not hasattr(os, "getloadavg"):
        return "load unknown"
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory from before the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    import resource

    scale = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def in_own_process(script: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Any:
    """Runs a script of this folder in a process of its own; the JSON on the last line that it prints."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    surroundings = {**os.environ, **(environment or {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=surroundings)
    if done.returncode:
        raise SystemExit(f"{script} failed with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with the option that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=(description or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--json", type=Path, help="also write the rows of the table to this file")
    return made


def finish(rows: Sequence[Row], path: Path | None) -> list[Row]:
    """Ends a script: prints the machine, its load and the rows, writes the rows where ``--json`` says; the rows."""
    print(f"{machine()}; {load()}")
    for row in rows:
        print(f"{row.what}: {row.measured} (to reach: {row.target}){verdict(row.reached, ' - ')}")
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return list(rows)


def verdict(reached: bool | None, before: str = "") -> str:
    """``reached`` or ``not reached``; nothing where nothing was asked.

    >>> verdict(True), verdict(None, " - ")
    ('reached', '')
    """
    return "" if reached is None else before + ("reached" if reached else "not reached")
