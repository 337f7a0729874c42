"""Several runs of several methods as one comparison: spread over seeds, intervals over queries, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oamn_plugin.errors import ExpectedError, did_you_mean
from oamn_plugin.retrieval.metrics import cmc
from oamn_plugin.retrieval.significance import bootstrap_interval, paired_test

from .runs import QueryScores, Run, read_run
from .tables import Figure, mean_and_spread

METRICS = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mAP_trapezoid", "mINP")
"""The columns of a report, percent."""
TESTED = ("Rank-1", "mAP")
"""Those of which differences are tested."""
_SAMPLES = 5000


class ComparisonError(ExpectedError, ValueError):
    """Runs that cannot be compared; the message says why."""


class Gap(NamedTuple):
    """A method minus another one: difference in points with its 95 % interval, and the p-value of a paired test.

    Attributes:
        points: the difference, averaged over the seeds that both methods have; over all where they share none.
        p_value: of the paired test over queries.
        seeds: how many they share; where they share none, the runs of the method that has fewer. Of one, interval and
            test speak of its queries alone.
        adjusted: the p-value adjusted for the number of comparisons.
        same_weights: whether each seed's two runs test the same weights.
    """

    points: Figure
    p_value: float
    seeds: int
    adjusted: float | None = None
    same_weights: bool = False

    @property
    def judged_by(self) -> float:
        """The p-value that counts: the adjusted one where there is one."""
        return self.p_value if self.adjusted is None else self.adjusted

    @property
    def one_training(self) -> bool:
        """Whether it compares two single trainings, of which another seed could say the opposite."""
        return self.seeds == 1 and not self.same_weights

    @property
    def significant(self) -> bool:
        """Whether the difference is larger than chance explains; never between two single trainings."""
        return not self.one_training and self.judged_by < 0.05


@dataclass(frozen=True)
class Comparison:
    """Runs of several methods on the same data sets.

    Attributes:
        methods: method name to its runs, one a seed, in the order of the report.
        baseline: the method that the others are compared with.
        notes: what is missing, one sentence each.
        trained_as: method that trained nothing to the one whose weights it tests.
    """

    methods: Mapping[str, Sequence[Run]]
    baseline: str
    notes: Sequence[str] = field(default_factory=tuple)
    trained_as: Mapping[str, str] = field(default_factory=dict)
    _gaps: dict[tuple[str, str, str, str], Gap | None] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def data_sets(self) -> list[str]:
        """Every data set that some run was tested on, in order of first appearance."""
        return list(dict.fromkeys(name for runs in self.methods.values() for run in runs for name in run.results))

    def score(self, method: str, data_set: str, metric: str) -> Figure | None:
        """Mean and spread over seeds in percent; None where no run has the score."""
        values = [run.score(data_set, metric) for run in self.methods[method]]
        return mean_and_spread([value for value in values if value is not None])

    def per_query(self, method: str, data_set: str, metric: str) -> dict[str, float] | None:
        """Percent of every query with a match, averaged over the seeds; None where queries are not recorded.

        Queries are known by their file; a run without recorded files is matched by position.
        """
        return _averaged(self.methods[method], data_set, metric)

    def paired_runs(self, method: str, other: str, data_set: str) -> dict[int, tuple[Run, Run]]:
        """Seed to the runs of two methods that recorded their queries, for the seeds that both have.

        Empty where they share no seed, a seed stands twice, or seeds are unknown.
        """
        tested = [[run for run in self.methods[name] if data_set in run.queries] for name in (method, other)]
        ours, theirs = ({run.seed: run for run in runs if run.seed is not None} for runs in tested)
        if len(ours) < len(tested[0]) or len(theirs) < len(tested[1]):
            return {}
        return {seed: (run, theirs[seed]) for seed, run in ours.items() if seed in theirs}

    def interval(self, method: str, data_set: str, metric: str) -> Figure | None:
        """The score with its 95 % bootstrap interval over queries, seeds averaged."""
        values = self.per_query(method, data_set, metric)
        if values is None:
            return None
        found = bootstrap_interval(list(values.values()), samples=_SAMPLES)
        return Figure(found.value, low=found.low, high=found.high)

    def gap(self, method: str, other: str, data_set: str, metric: str) -> Gap | None:
        """A method minus another one on the queries that both were tested on; None where they share none."""
        key = (method, other, data_set, metric)
        if key not in self._gaps:
            self._gaps[key] = self._measure_gap(*key)
        return self._gaps[key]

    def _measure_gap(self, method: str, other: str, data_set: str, metric: str) -> Gap | None:
        pairs = self.paired_runs(method, other, data_set)
        runs: list[Sequence[Run]] = [*zip(*pairs.values(), strict=True)]
        runs = runs or [self.methods[name] for name in (method, other)]
        first, second = (_averaged(own, data_set, metric) for own in runs)
        if first is None or second is None:
            return None
        shared = [name for name in first if name in second]
        if not shared:
            return None
        ours, theirs = ([table[name] for name in shared] for table in (first, second))
        test = paired_test(theirs, ours, samples=_SAMPLES)
        seeds = min(sum(data_set in run.queries for run in own) for own in runs)
        same = bool(pairs) and self.trained_as.get(method, method) == self.trained_as.get(other, other)
        points = Figure(test.difference, signed=True, low=test.low, high=test.high)
        return Gap(points, test.p_value, seeds, same_weights=same)

    def gaps(self, data_set: str, metric: str) -> dict[str, Gap]:
        """Every method against the baseline, p-values adjusted for the number of comparisons (Holm)."""
        found = {
            name: self.gap(name, self.baseline, data_set, metric) for name in self.methods if name != self.baseline
        }
        known = {name: gap for name, gap in found.items() if gap is not None}
        return dict(zip(known, adjusted_together(list(known.values())), strict=True))

    def cmc(self, method: str, data_set: str) -> NDArray[np.float64] | None:
        """(20,) CMC curve averaged over seeds."""
        scores = [run.queries[data_set] for run in self.methods[method] if data_set in run.queries]
        curves = [cmc(queries.arrays["first_rank"].astype(int), 20) for queries in scores if queries.valid.any()]
        return np.mean(curves, axis=0) if curves else None

    def query_paths(self, data_set: str) -> dict[str, str]:
        """Query name, as in :meth:`per_query`, to its image file."""
        for run in (run for runs in self.methods.values() for run in runs):
            if data_set in run.queries and "paths" in run.queries[data_set].arrays:
                scores = run.queries[data_set]
                return dict(zip(_query_names(scores), map(str, scores.arrays["paths"]), strict=True))
        return {}


def load_comparison(
    run_dirs: Mapping[str, Sequence[str | Path]], baseline: str, trained_as: Mapping[str, str] | None = None
) -> Comparison:
    """Reads run folders.

    Args:
        run_dirs: method name to its run folders, one a seed. Methods without results are left out, with a note.
        baseline: one of the names.
        trained_as: method that trained nothing to the one whose weights it tests.

    Raises:
        ComparisonError: the baseline is not among the methods, or no method has a result.
    """
    if baseline not in run_dirs:
        hint = did_you_mean(baseline, run_dirs, cutoff=0.3)
        raise ComparisonError(f"the baseline {baseline!r} is none of the methods {', '.join(run_dirs)}.{hint}")
    methods, notes = {}, []
    for name, folders in run_dirs.items():
        runs = [read_run(folder) for folder in folders]
        notes += [f"{name}: {note}" for run in runs for note in run.notes]
        finished = [run for run in runs if run.results]
        if finished:
            methods[name] = finished
        else:
            notes.append(f"{name}: no run has results yet")
    if not methods:
        folders = ", ".join(str(folder) for paths in run_dirs.values() for folder in paths)
        raise ComparisonError(f"no run folder holds a results.json: {folders or 'none given'}")
    baseline = baseline if baseline in methods else next(iter(methods))
    return Comparison(methods, baseline, tuple(dict.fromkeys(notes)), trained_as or {})


def adjusted_together(gaps: Sequence[Gap]) -> list[Gap]:
    """The same gaps, their p-values adjusted for the number of them (Holm)."""
    return [gap._replace(adjusted=p) for gap, p in zip(gaps, holm([gap.p_value for gap in gaps]), strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = largest
    return adjusted


def _averaged(runs: Sequence[Run], data_set: str, metric: str) -> dict[str, float] | None:
    scores = [run.queries[data_set] for run in runs if data_set in run.queries]
    tables = [table for table in (_by_query(queries, metric) for queries in scores) if table]
    if not tables:
        return None
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: 100 * sum(table[name] for table in tables) / len(tables) for name in shared} or None


def _query_names(scores: QueryScores) -> list[str]:
    """A name for every query that stays the same between machines: folder and file, or its position."""
    if "paths" not in scores.arrays:
        return [str(position) for position in range(len(scores))]
    return ["/".join(str(path).replace("\\", "/").split("/")[-2:]) for path in scores.arrays["paths"]]


def _by_query(scores: QueryScores, metric: str) -> dict[str, float] | None:
    try:
        values = scores.score(metric)
    except KeyError:
        return None
    names = _query_names(scores)
    return {name: float(value) for name, value, ok in zip(names, values, scores.valid, strict=True) if ok}
