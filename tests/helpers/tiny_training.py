"""A stand-in for a training script: a few steps that can be interrupted, resumed or made to fail; writes a run folder.

Speaks the command line of tools/train_net.py. Options: STEPS n, GATE a file without which it stays
at its first step, FAIL message, SKILL 0..1.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def main() -> int:
    flags = [word for word in sys.argv[1:] if word.startswith("--") and word != "--config-file"]
    words = [word for word in sys.argv[1:] if word not in flags][2:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    folder = Path(options["OUTPUT_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    print("training with", options, flags, "threads", os.environ.get("OMP_NUM_THREADS"), flush=True)
    if "FAIL" in options:
        print(f"Traceback ...\nRuntimeError: {options['FAIL']}", flush=True)
        return 3
    if "--eval-only" not in flags:
        train(folder, "--resume" in flags, int(options.get("STEPS", 3)), Path(options.get("GATE", __file__)))
        (folder / "config.yaml").write_text(f"SEED: {options['SEED']}\n")
    test(folder, options)
    return 0


def train(folder: Path, resume: bool, steps: int, gate: Path) -> None:
    done, parent = folder / "steps.txt", os.getppid()
    first = int(done.read_text()) if resume and done.exists() else 0
    with (folder / "metrics.json").open("a" if resume else "w") as file:
        for step in range(first, steps):
            line = {"iteration": step, "total_loss": 1 / (step + 1), "eta_seconds": 100.0 * (steps - step)}
            print(json.dumps(line), file=file, flush=True)
            done.write_text(str(step + 1))
            for _ in range(3000):  # a minute at most: whoever is to open the gate may be gone already
                if gate.exists() or os.getppid() != parent:
                    break
                time.sleep(0.02)
            if os.getppid() != parent:  # whoever started this was killed
                sys.exit(1)
    (folder / "model_final.pth").write_bytes(b"weights")


def test(folder: Path, options: dict[str, str]) -> None:
    names = eval(options.get("DATASETS.TESTS", "('Streets',)"))
    rng, skill = np.random.default_rng(int(options["SEED"])), float(options.get("SKILL", 0.5))
    results = {}
    (folder / "per_query").mkdir(exist_ok=True)
    for name in names:
        first = np.where(rng.random(40) < skill, 1, 2)
        ap, valid, paths = 1 / first, np.ones(40, dtype=bool), np.array([f"q/{i}.jpg" for i in range(40)])
        arrays = {"ap": ap, "ap_trapezoid": ap, "inp": ap, "first_rank": first, "valid": valid, "paths": paths}
        np.savez(folder / "per_query" / f"{name}.npz", **arrays)
        results[name] = {"Rank-1": 100 * float((first == 1).mean()), "mAP": 100 * float((1 / first).mean())}
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    sys.exit(main())
