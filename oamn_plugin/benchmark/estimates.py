"""What the runs of a suite will cost, from what is known of them and of others."""

from __future__ import annotations

import heapq
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from oamn_plugin.benchmark.schedule import CONSOLE, TRAINED, UNTESTED, Job

_FREE = ("finished", "set aside", "wrong")
"""States of runs that nothing is started for."""
_LEFT = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d) left")


def estimate(jobs: Sequence[Job]) -> dict[str, tuple[float | None, str]]:
    """Seconds that each unfinished run will take, and where the estimate comes from.

    From the time that an interrupted run's log says is left; else from finished runs of the same method; else the mean
    of what other methods took.

    Returns:
        Label of the run to (seconds or None where nothing is known, reason).
    """
    return {job.label: _estimate(job, jobs) for job in jobs if job.state not in _FREE}


def makespan(costs: Sequence[float], jobs: int) -> float:
    """Seconds until all are done when ``jobs`` run at a time, in their order.

    >>> makespan([30, 10, 10, 10], jobs=2), makespan([30, 10], jobs=1), makespan([], jobs=2)
    (30.0, 40.0, 0.0)
    """
    free = [0.0] * jobs  # when each place is free again
    for cost in costs:
        heapq.heapreplace(free, free[0] + cost)
    return max(free)


def _estimate(job: Job, jobs: Sequence[Job]) -> tuple[float | None, str]:
    if job.state in UNTESTED:
        return None, "tested only"
    done = [other for other in jobs if other.state in TRAINED and other.record.seconds > 0]
    done = [other for other in done if bool(other.method.weights_of) == bool(job.method.weights_of)]  # tests are short
    own = [other.record.seconds for other in done if other.method.name == job.method.name]
    if job.state == "interrupted" and (left := _time_left(job.folder)) is not None:
        return left, "its own log"
    if own:
        return statistics.mean(own), f"{len(own)} finished run{'s' if len(own) > 1 else ''} of the method"
    if done:
        return statistics.mean(other.record.seconds for other in done), "the mean of other methods"
    return None, "nothing measured yet"


def _time_left(folder: Path) -> float | None:
    """Seconds that a run's own log says are left: ``eta_seconds`` of metrics.json, or ``1:02:03 left`` in a line."""
    for line in reversed(_tail(folder / CONSOLE) + _tail(folder / "metrics.json")):
        if found := _LEFT.search(line):
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            return 86400.0 * days + 3600 * hours + 60 * minutes + seconds
        if (left := _number(line, "eta_seconds")) is not None:
            return left
    return None


def _number(line: str, key: str) -> float | None:
    try:
        value = json.loads(line).get(key)
    except (ValueError, AttributeError, RecursionError):
        return None
    return float(value) if isinstance(value, (int, float)) else None


def _tail(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]
    except OSError:
        return []


def duration(seconds: float | None) -> str:
    """Seconds as they are read.

    >>> duration(42), duration(760), duration(9000), duration(None)
    ('42 s', '13 min', '2.5 h', 'unknown')
    """
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
