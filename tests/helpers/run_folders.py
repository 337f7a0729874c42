"""Synthetic run folders for the tests of reporting."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from oamn_plugin.occlusion import SIDES


def make_truth(folder: Path, count: int = 200, seed: int = 0) -> list[str]:
    """An annotations.csv as the generated data set has it; returns the paths of its queries."""
    rng = np.random.default_rng(seed)
    (folder / "query").mkdir(parents=True, exist_ok=True)
    names = [f"{i // 2:04d}_c{i % 2 + 1}s1_{i:06d}_00.jpg" for i in range(count)]
    with (folder / "annotations.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "side", "area_fraction", "type"])
        for name in names:
            writer.writerow([name, "query", SIDES[rng.integers(4)], f"{rng.uniform(0.2, 0.65):.4f}", "left_half"])
    return [str(folder / "query" / name) for name in names]


def make_run(
    folder: Path, paths: list[str], skill: float = 0.5, seed: int = 0, data_sets: tuple[str, ...] = ("Streets",)
) -> Path:
    """A finished run whose queries find a hit at once with probability about ``skill``."""
    rng = np.random.default_rng(seed + 1000)
    hard = np.random.default_rng(7).random(len(paths))  # the same queries are hard for every method
    results = {}
    (folder / "per_query").mkdir(parents=True, exist_ok=True)
    for name in data_sets:
        first = np.where(hard < skill + rng.normal(0, 0.1, len(paths)), 1, rng.integers(2, 30, len(paths)))
        ap = np.clip(1 / first + rng.normal(0, 0.02, len(paths)), 0, 1)
        valid = np.ones(len(paths), dtype=bool)
        np.savez(folder / "per_query" / f"{name}.npz", ap=ap, ap_trapezoid=ap * 0.9, inp=ap * 0.5, first_rank=first,
                 valid=valid, paths=np.array(paths), types=np.array(["none"] * len(paths)))  # fmt: skip
        results[name] = {
            **{f"Rank-{k}": 100 * float((first <= k).mean()) for k in (1, 3, 5, 10, 20)},
            "mAP": 100 * float(ap.mean()),
            "mAP_trapezoid": 90 * float(ap.mean()),
            "mINP": 50 * float(ap.mean()),
            "num_query": len(paths),
            "num_gallery": 5 * len(paths),
            "query_types": {"none": len(paths)},
        }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.yaml").write_text(f"SEED: {seed}\nSOLVER:\n  MAX_EPOCH: 3\n")
    lines = []
    for i in range(0, 200, 5):
        fall = float(np.exp(-i / 40))
        noise = float(rng.normal(0, 0.1))
        line = {"iteration": i, "total_loss": 5 * fall + noise, "loss_identity": 3 * fall, "cls_accuracy": 1 - fall}
        lines.append({**line, "lr": 0.1})
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "cost.json").write_text(
        json.dumps(
            {"parameters": 2.4e7, "gflops": 4.1, "images_per_second": 55.0 + seed, "seconds_per_1000_gallery": 3.2}
        )
    )
    return folder
