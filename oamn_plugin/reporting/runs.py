"""What a run left in its folder: configuration, training curves, scores, scores of every query, cost."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

CONFIGURATION, TEST_CONFIGURATION = "config.yaml", "test_config.yaml"
"""Files of a run folder with every value that its training used, and that its last evaluation alone used."""
_CORE = ("ap", "first_rank", "valid")


@dataclass(frozen=True)
class QueryScores:
    """Scores of the N queries of one data set.

    Attributes:
        arrays: the arrays of ``per_query/<data set>.npz``, each with N rows: ``ap``, ``ap_trapezoid``, ``inp``
            (fractions), ``first_rank`` (1-based rank of the first hit, 0 without a match), ``valid`` (the query has a
            match), and where known ``pids``, ``camids``, ``types``, ``confidence``, ``paths``.
    """

    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["ap"])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) whether the query has a match in the gallery; the others count in no score."""
        return self.arrays["valid"].astype(bool)

    def score(self, metric: str) -> NDArray[np.float64]:
        """(N,) the metric of each query as a fraction.

        Args:
            metric: ``Rank-k``, ``mAP``, ``mAP_trapezoid`` or ``mINP``.

        Raises:
            KeyError: the run did not record what the metric needs.
        """
        if metric.startswith("Rank-"):
            rank = self.arrays["first_rank"]
            return ((rank > 0) & (rank <= int(metric.removeprefix("Rank-")))).astype(float)
        return self.arrays[{"mAP": "ap", "mAP_trapezoid": "ap_trapezoid", "mINP": "inp"}[metric]].astype(float)


@dataclass(frozen=True)
class Run:
    """One training run, as far as its folder tells.

    Attributes:
        seed: its SEED, None where unknown.
        metrics: lines of ``metrics.json``, one dict an iteration, in order.
        results: data set name to its scores (percent) and counts.
        queries: data set name to the scores of every query.
        cost: contents of ``cost.json``: ``parameters``, ``gflops``, ``images_per_second``, ...
        notes: what is missing or unreadable, one sentence each.
    """

    seed: int | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    queries: dict[str, QueryScores] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def score(self, data_set: str, metric: str) -> float | None:
        """A score of ``results.json``; None where there is none."""
        value = self.results.get(data_set, {}).get(metric)
        return float(value) if isinstance(value, (int, float)) else None

    def curve(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Iterations and finite values of one training curve; empty where it was never logged."""
        points = [(line["iteration"], line[name]) for line in self.metrics if _is_number(line.get(name))]
        table = np.array(points, dtype=float).reshape(-1, 2)
        table = table[np.isfinite(table).all(axis=1)]
        return table[:, 0], table[:, 1]


def read_run(path: str | Path) -> Run:
    """Reads a run folder; whatever is missing or unreadable becomes a note, never an error.

    Args:
        path: the run folder. What earlier versions left in its ``evaluation/`` folder is read too.
    """
    folder = Path(path)
    notes: list[str] = []
    tested = not (folder / CONFIGURATION).is_file() and (folder / TEST_CONFIGURATION).is_file()
    file = folder / (TEST_CONFIGURATION if tested else CONFIGURATION)
    config = _read(file, lambda file: yaml.safe_load(file.read_text(encoding="utf-8")), notes)
    results: dict[str, dict[str, Any]] = {}
    queries: dict[str, QueryScores] = {}
    for place in (folder / "evaluation", folder):
        optional = place != folder
        results |= _mapping(_read(place / "results.json", _load_json, notes, optional=optional))
        queries |= _read_queries(place / "per_query", notes)
    notes += [f"{folder.name}: no scores by query for {name}" for name in results if name not in queries]
    config = _mapping(config)
    seed = config.get("SEED", config.get("train", {}).get("seed") if isinstance(config.get("train"), dict) else None)
    return Run(
        seed=seed if isinstance(seed, int) else None,
        metrics=_read_metrics(folder / "metrics.json", notes, optional=_tests_given_weights(config)),
        results={name: scores for name, scores in results.items() if isinstance(scores, dict)},
        queries=queries,
        cost=_mapping(_read(folder / "cost.json", _load_json, notes, optional=True)),
        notes=notes,
    )


def _load_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _read(path: Path, reader: Any, notes: list[str], optional: bool = False) -> Any:
    label = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        if not optional:
            notes.append(f"{label} is missing")
        return None
    try:
        return reader(path)
    except (OSError, ValueError, yaml.YAMLError, zipfile.BadZipFile, EOFError, RecursionError) as error:
        notes.append(f"{label} is unreadable ({' '.join(str(error).split())[:120]})")
        return None


def _tests_given_weights(config: dict[str, Any]) -> bool:
    """Whether a configuration, fastreid's or torchreid's, starts from a checkpoint: nothing may have been trained."""
    return bool(_mapping(config.get("MODEL")).get("WEIGHTS") or _mapping(config.get("model")).get("load_weights"))


def _read_metrics(path: Path, notes: list[str], optional: bool) -> list[dict[str, Any]]:
    """Lines of metrics.json by iteration: a resumed run writes some iterations twice, the later line counts."""
    lines = (_read(path, lambda file: file.read_text(encoding="utf-8"), notes, optional) or "").splitlines()
    merged: dict[int, dict[str, Any]] = {}
    for text in lines:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # the line that was being written when the run was killed
            continue
        if isinstance(line, dict) and isinstance(line.get("iteration"), int):
            merged.setdefault(line["iteration"], {}).update(line)
    return [merged[iteration] for iteration in sorted(merged)]


def _read_queries(folder: Path, notes: list[str]) -> dict[str, QueryScores]:
    found = {}
    for path in sorted(folder.glob("*.npz")):
        arrays = _read(path, _load_arrays, notes)
        if arrays is None:
            continue
        absent = [name for name in _CORE if name not in arrays]
        if absent or len({len(arrays[name]) for name in _CORE}) > 1:
            notes.append(f"{path.name}: {'without ' + ', '.join(absent) if absent else 'arrays of several lengths'}")
            continue
        found[path.stem] = QueryScores(arrays)
    return found


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
