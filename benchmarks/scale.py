"""Time and memory of exact evaluation for galleries of 10^4, 10^5 and 10^6 descriptors (random unit vectors on disk).

    python benchmarks/scale.py [--sizes 10000 100000 1000000 --queries 1000 --dim 512]

Each size runs in a process of its own. The gallery is a memory-mapped file, so the memory printed is what the
evaluation takes beyond it (anonymous memory, Linux only; 0 elsewhere).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
PER_IDENTITY = 25


def write_unit_vectors(path: Path, count: int, dim: int, seed: int) -> None:
    """A ``.npy`` of random unit vectors, written in parts so that the writer stays small."""
    generator = np.random.default_rng(seed)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, dim))
    for start in range(0, count, 1 << 14):
        rows = generator.standard_normal((min(1 << 14, count - start), dim), dtype=np.float32)
        out[start : start + len(rows)] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    out.flush()


class PrivateMemory:
    """Largest anonymous memory of this process during a ``with`` block above what it had at its start, in GB."""

    def __enter__(self) -> PrivateMemory:
        self._start = self._peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.gigabytes = self._peak - self._start

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, self._now())

    @staticmethod
    def _now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
        return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("RssAnon")), 0.0)


def measure(folder: Path) -> dict[str, float]:
    from oamn_plugin.retrieval import evaluate_ranking

    query = np.load(folder / "query.npy")
    gallery = np.load(folder / "gallery.npy", mmap_mode="r")
    generator = np.random.default_rng(2)
    identities = max(1, len(gallery) // PER_IDENTITY)
    pids = [generator.integers(0, identities, len(rows)) for rows in (query, gallery)]
    camids = [generator.integers(0, 8, len(rows)) for rows in (query, gallery)]
    evaluate_ranking(query, query, pids[0], pids[0], camids[0], camids[0] + 1)  # libraries and threads start up
    with PrivateMemory() as memory:
        start = time.perf_counter()
        evaluate_ranking(query, gallery, *pids, *camids)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": memory.gigabytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(measure(arguments.folder)))
        return
    print(f"exact evaluation of {arguments.queries} queries, {arguments.dim}-d, {os.cpu_count()} cores")
    print(f"{'gallery':>10} {'GB on disk':>11} {'seconds':>9} {'ns a distance':>14} {'GB in memory':>13}")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            write_unit_vectors(Path(folder, "query.npy"), arguments.queries, arguments.dim, 0)
            write_unit_vectors(Path(folder, "gallery.npy"), size, arguments.dim, 1)
            command = [sys.executable, __file__, "--folder", folder]
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        each = 1e9 * found["seconds"] / (size * arguments.queries)
        disk = size * arguments.dim * 4 / 1e9
        print(f"{size:10} {disk:11.2f} {found['seconds']:9.2f} {each:14.2f} {found['memory']:13.2f}")


if __name__ == "__main__":
    main()
