"""IVF-PQ against exact search in large galleries: recall@10, bytes an image, milliseconds a query.

    python benchmarks/search.py [--sizes 100000 1000000 --dim 512 --queries 500 --code-bytes 64 --probes 8 32 128]

Descriptors are unit vectors around identity centres, 20 images an identity, whose variance falls off along the axes as
1 / k, as that of learned descriptors does; isotropic noise, which nothing real looks like, would be harder to quantise.
Both kinds are the ones that GalleryIndex uses. One query at a time, as a person searching sends them. Printed are
lines of JSON; nearest_found is the share of queries whose true nearest image is among the ten found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oamn_plugin.search import faiss_files
from oamn_plugin.search.faiss_files import IVFPQ
from oamn_plugin.search.index import exact_search

TOP = 10


def make_descriptors(count: int, queries: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, dim) gallery and (queries, dim) unit vectors of the same identities."""
    generator = np.random.default_rng(seed)
    scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = generator.standard_normal((max(1, count // 20), dim), dtype=np.float32)

    def around(pids: np.ndarray) -> np.ndarray:
        rows = np.empty((len(pids), dim), dtype=np.float32)
        for start in range(0, len(pids), 65536):
            part = slice(start, start + 65536)
            noise = generator.standard_normal((len(pids[part]), dim), dtype=np.float32)
            block = (centres[pids[part]] + noise) * scale
            rows[part] = block / np.linalg.norm(block, axis=1, keepdims=True)
        return rows

    gallery = around(generator.integers(0, len(centres), count))
    return gallery, around(generator.integers(0, len(centres), queries))


def timed_exact(gallery: np.ndarray, queries: np.ndarray, timed: int) -> tuple[np.ndarray, float]:
    """(Q, 10) true neighbours, and seconds a query of one-by-one search."""
    truth = np.stack([rows for rows, _ in exact_search(queries, gallery, TOP)])
    start = time.perf_counter()
    for query in queries[:timed]:
        list(exact_search(query[None], gallery, TOP))
    return truth, (time.perf_counter() - start) / timed


def run(count: int, args: argparse.Namespace) -> None:
    gallery, queries = make_descriptors(count, args.queries, args.dim)
    truth, seconds = timed_exact(gallery, queries, args.timed)
    report(
        count,
        args.dim,
        kind="exact",
        recall=1.0,
        nearest_found=1.0,
        bytes=4 * args.dim + 8,
        milliseconds=1000 * seconds,
    )
    for code_bytes in args.code_bytes:
        start = time.perf_counter()
        index = IVFPQ(code_bytes).train(gallery)
        for first in range(0, count, 65536):
            index.add_with_ids(gallery[first : first + 65536], np.arange(first, min(first + 65536, count)))
        built = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index.faiss"
            faiss_files.write(path, index)
            size = path.stat().st_size / count
        for probes in args.probes:
            index.nprobe = probes
            found = index.search(queries, TOP)[1]
            recall = np.mean([len(np.intersect1d(a, b)) / TOP for a, b in zip(truth, found, strict=True)])
            nearest = np.mean([a[0] in b for a, b in zip(truth, found, strict=True)])
            start = time.perf_counter()
            for query in queries:
                index.search(query[None], TOP)
            each = (time.perf_counter() - start) / len(queries)
            report(count, args.dim, kind=f"IVF-PQ {code_bytes}", lists=index.nlist, probes=probes,
                   recall=float(recall), nearest_found=float(nearest),
                   bytes=size, milliseconds=1000 * each, build_seconds=built)  # fmt: skip


def report(count: int, dim: int, **values: object) -> None:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    print(
        json.dumps({"images": count, "dim": dim, "threads": os.environ.get("OMP_NUM_THREADS", "all"), **rounded}),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--timed", type=int, default=20, help="queries that exact search is timed on")
    parser.add_argument("--code-bytes", type=int, nargs="+", default=[64])
    parser.add_argument("--probes", type=int, nargs="+", default=[8, 32, 128])
    args = parser.parse_args()
    for count in args.sizes:
        run(count, args)


if __name__ == "__main__":
    main()
