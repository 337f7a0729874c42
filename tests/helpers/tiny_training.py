"""A stand-in for a training script: a few steps that can be interrupted, resumed or made to fail; writes a run folder.

Speaks the command line of ``oamn train`` for fastreid and locks its folder. Keys of the toolbox mean other things here:
SOLVER.MAX_EPOCH is the number of steps, SOLVER.BASE_LR the share of queries that find a hit at once, and
DATASETS.CUSTOM.ROOT a message to fail with. The environment may name a GATE, a file without which it stays at its first
step.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from oamn_plugin.configurations import flat
from oamn_plugin.locks import LOCK, holding


def main() -> int:
    flags = [word for word in sys.argv[1:] if word.startswith("--") and word != "--config-file"]
    words = [word for word in sys.argv[1:] if word not in flags][2:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    folder = Path(options["OUTPUT_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    print("training with", options, flags, "threads", os.environ.get("OMP_NUM_THREADS"), flush=True)
    if message := options.get("DATASETS.CUSTOM.ROOT"):
        print(f"Traceback ...\nRuntimeError: {message}", flush=True)
        return 3
    with contextlib.ExitStack() as stack:
        if "--eval-only" not in flags:
            stack.enter_context(holding(folder / LOCK))
        write_configuration(folder / ("test_config.yaml" if "--eval-only" in flags else "config.yaml"), options)
        if "--eval-only" not in flags:
            gate = Path(os.environ.get("GATE", __file__))
            train(folder, "--resume" in flags, int(options.get("SOLVER.MAX_EPOCH", 3)), gate)
        test(folder, options)
    return 0


def write_configuration(path: Path, options: dict[str, str]) -> None:
    """What this run used, as the toolbox would write it: its file, the bases of that, and the options."""
    content: dict[str, Any] = {}
    chain = [Path(sys.argv[sys.argv.index("--config-file") + 1])]
    while base := yaml.safe_load(chain[0].read_text()).get("_BASE_"):
        chain.insert(0, chain[0].with_name(base))
    found = [flat(yaml.safe_load(path.read_text())) for path in chain]
    found.append(
        {key: yaml.safe_load(value) if value[0] not in "('" else eval(value) for key, value in options.items()}
    )
    for key, value in {key: value for one in found for key, value in one.items() if key != "_BASE_"}.items():
        *groups, name = key.split(".")
        node = content
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = list(value) if isinstance(value, tuple) else value
    path.write_text(yaml.safe_dump(content))


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
    names = eval(options.get("DATASETS.TESTS", "('OccludedPedestrians',)"))
    rng, skill = np.random.default_rng(int(options["SEED"])), float(options.get("SOLVER.BASE_LR", 0.5))
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
