"""The files of an evaluation: ``results.json`` and, for intervals and tests, the scores of every query."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from oamn_plugin.files import write_atomically
from oamn_plugin.hosts.shared.evaluation import Evaluation, column

SHOWN = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mAP_trapezoid", "mINP")


def write_results(folder: Path, results: Mapping[str, Mapping[str, Any]], note: Mapping[str, Any]) -> None:
    """Writes ``results.json`` (data set -> scores in percent) and, beside it, what the scores were computed from."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    if note:
        write_atomically(folder / "results_note.json", (json.dumps(note, indent=2) + "\n").encode())


def write_per_query(folder: Path, name: str, evaluation: Evaluation) -> None:
    """Writes ``per_query/<name>.npz``: scores, labels, occlusion types and, where matched, posterior of every query."""
    content = io.BytesIO()
    np.savez(
        content,
        **evaluation.result.per_query(),  # type: ignore[arg-type]
        pids=column(evaluation.query, "pid"),
        camids=column(evaluation.query, "camid"),
        paths=column(evaluation.query, "path"),
        types=evaluation.queries.types.numpy(),
        confidence=evaluation.queries.confidence.numpy(),
    )
    write_atomically(folder / "per_query" / f"{name}.npz", content.getbuffer())


def results_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores in percent as a table for the terminal."""
    rows = [[name, *(f"{scores[key]:.1f}" for key in SHOWN)] for name, scores in results.items()]
    return tabulate(rows, headers=["data set", *SHOWN], stralign="right", disable_numparse=True)
