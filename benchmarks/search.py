"""The quick search of a large gallery beside exact search and plain faiss: recall@10, bytes a descriptor, milliseconds.

    python benchmarks/search.py --images 1000000 [--dim 512 --queries 200 --beside flat hnsw]
    python benchmarks/search.py --images 100000 --from crops.index       # descriptors of a real index, enlarged

Synthetic descriptors are unit vectors around identity centres, 20 images an identity, whose variance falls off along
the axes as 1 / k, as that of learned descriptors does; isotropic noise, which nothing real looks like, would be harder
to quantise. Real ones are the un-occluded descriptors of an index whose images have identities; copies are moved by the
difference of two images of one random person, the way images of a person do differ. One image in --queries is held out
as query. With --matched the nine variants of each image are kept (moved alike), queries are in turn whole and covered,
and what is searched for is the exact matched ranking.

The index is made, tuned and asked as GalleryIndex does it: tuned on images of the gallery, measured on queries that are
not in it. Memory is what it takes beyond the memory-mapped descriptors (anonymous memory, Linux only). One query at a
time, one thread; milliseconds are processor time unless they say wall. Printed are lines of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from scale import PrivateMemory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search import GalleryIndex
from oamn_plugin.search.descriptor_files import DescriptorFile, Rows
from oamn_plugin.search.faiss_files import Quantised
from oamn_plugin.search.nearest import exact_nearest, ranked, variants_of
from oamn_plugin.search.tuning import TOP, handicaps_of, tuning_set

STEP = 1 << 14


def make_descriptors(count: int, queries: int, dim: int, seed: int = 0) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Blocks of (count, dim) gallery rows, and (queries, dim) unit vectors of the same identities."""
    generator = np.random.default_rng(seed)
    scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = generator.standard_normal((max(1, count // 20), dim), dtype=np.float32)

    def around(number: int) -> Iterator[np.ndarray]:
        for start in range(0, number, STEP):
            pids = generator.integers(0, len(centres), min(STEP, number - start))
            noise = generator.standard_normal((len(pids), dim), dtype=np.float32)
            yield unit((centres[pids] + noise) * scale)

    own = np.concatenate(list(around(queries)))
    return around(count), own


def enlarged(sides: list[np.ndarray], pids: np.ndarray, count: int, seed: int = 0) -> Iterator[list[np.ndarray]]:
    """Blocks of ``count`` rows for each side: all rows again and again, moved by differences within a person."""
    generator = np.random.default_rng(seed)
    order = np.argsort(pids, kind="stable")
    _, first, sizes = np.unique(pids[order], return_index=True, return_counts=True)
    people = np.flatnonzero(sizes > 1)
    for start in range(0, count, STEP):
        number = min(STEP, count - start)
        rows = np.arange(start, start + number) % len(pids)
        chosen = generator.choice(people, number)
        a, b = (order[first[chosen] + generator.integers(0, sizes[chosen])] for _ in range(2))
        moved = (np.arange(start, start + number) >= len(pids))[:, None]  # the first copy is left as it is
        yield [unit(side[rows] + moved * (side[a] - side[b])) for side in sides]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write(folder: Path, names: list[str], blocks: Iterator[list[np.ndarray]], dim: int) -> list[Rows]:
    """Puts descriptors where an index has them."""
    start = 0
    files = [DescriptorFile(folder / "types" / f"{name}.npy", dim) for name in names]
    for block in blocks:
        numbers = np.arange(start, start := start + len(block[0]), dtype=np.int64)
        for file, rows in zip(files, block, strict=True):
            file.append([Rows(numbers, rows)])
    return [file.read() for file in files]


def recall_of(found: Any, truth: list[np.ndarray]) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / TOP for a, b in zip(found, truth, strict=True)]))


def own_index(folder: Path, query: np.ndarray, sides: list[Rows], truth: list[np.ndarray], args: Any, matching: Any,
              report: Any) -> None:  # fmt: skip
    """Builds, tunes on images of the gallery, measures with the queries."""
    known, start = sides[0].numbers, time.process_time()
    by_name = dict(zip(matching.types if matching else [NONE], sides, strict=True))
    Quantised(folder, args.dim).build(by_name)
    handicaps = handicaps_of(list(by_name), matching)
    built = time.process_time() - start
    quantised = Quantised(folder, args.dim)
    for trial in quantised.tune(args.target_recall, known, tuning_set(by_name, matching)):
        report(kind="tuning", **vars(trial))
    chosen = {"probes": quantised.chosen.probes, "count": quantised.chosen.candidates}
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process that has freed nothing yet
        memory = pool.apply(memory_of, (folder, args.dim, known, handicaps, chosen)) / len(known) / len(sides)
    for turn in ("first", "again"):  # the second time the descriptors of the candidates are in the system's cache
        found, start, wall = [], time.process_time(), time.perf_counter()
        for one in query:
            numbers = quantised.candidates(one, known, handicaps, **chosen)
            found.append(ranked(one, numbers, variants_of(sides, numbers), matching, TOP)[0])
        spent = [1000 * (now - before) / len(query) for now, before in
                 ((time.process_time(), start), (time.perf_counter(), wall))]  # fmt: skip
        size = sum(path.stat().st_size for path in (folder / "approximate").iterdir()) / len(known) / len(sides)
        report(kind=f"oamn approximate, {turn}", recall=recall_of(found, truth), milliseconds=spent[0], wall=spent[1],
               bytes=size, memory=memory, build_seconds=built, probes=chosen["probes"],
               candidates=chosen["count"])  # fmt: skip


def memory_of(folder: Path, dim: int, known: np.ndarray, handicaps: dict[str, float], chosen: dict[str, int]) -> float:
    """Bytes of memory that the quick search takes once it is loaded."""
    with PrivateMemory() as memory:
        Quantised(folder, dim).candidates(np.ones(dim, dtype=np.float32), known, handicaps, **chosen)
    return 1e9 * memory.gigabytes


def plain_faiss(kind: str, query: np.ndarray, gallery: np.ndarray, truth: list[np.ndarray], report: Any) -> None:
    """faiss alone: HNSW32 with eight-bit codes, or a flat index."""
    dim = gallery.shape[1]
    index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, 32) if kind == "hnsw" else faiss.IndexFlatL2(dim)
    start = time.process_time()
    index.train(np.ascontiguousarray(gallery[:STEP]))
    for first in range(0, len(gallery), STEP):
        index.add(np.ascontiguousarray(gallery[first : first + STEP]))
    built = time.process_time() - start
    size = 4 * dim if kind == "flat" else dim + 4 * index.hnsw.neighbors.size() / len(gallery) + 8
    for effort in (64, 128, 256, 512) if kind == "hnsw" else (0,):
        if kind == "hnsw":
            index.hnsw.efSearch = effort
        start = time.process_time()
        found = [index.search(one[None], TOP)[1][0] for one in query]
        each = (time.process_time() - start) / len(query)
        measured = {"recall": recall_of(found, truth), "milliseconds": 1000 * each, "bytes": size}
        report(kind=f"faiss {kind}", effort=effort, build_seconds=built, **measured)


def run(count: int, args: argparse.Namespace) -> None:
    names, matching = [NONE], None
    if args.matched:
        names, matching = list(OCCLUSION_TYPES), Unification("matched").matching()

    def report(**values: object) -> None:
        rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
        source = "real" if args.source else "synthetic"
        print(json.dumps({"images": count, "descriptors": source, "matched": args.matched, **rounded}), flush=True)

    if args.folder:
        Path(args.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary)
        if args.source:
            index = GalleryIndex(args.source)
            rows = [index.descriptors(name) for name in names]
            pids = np.array([image.pid for image in index.images])
            args.dim = rows[0].shape[1]
            held = np.arange(len(pids)) % max(2, len(pids) // args.queries) == 0
            turns = [rows[n % len(rows)][row] for n, row in enumerate(np.flatnonzero(held)[: args.queries])]
            query = np.ascontiguousarray(np.stack(turns))
            blocks = enlarged([one[~held] for one in rows], pids[~held], count)
        else:
            single, query = make_descriptors(count, args.queries, args.dim)
            blocks = ([block] for block in single)
        sides = write(folder, names, blocks, args.dim)
        start = time.process_time()
        truth = [numbers for numbers, _ in exact_nearest(query, sides, matching, TOP)]
        each = 1000 * (time.process_time() - start) / len(query)
        report(kind="oamn exact, all queries at once", recall=1.0, milliseconds=each, bytes=4 * args.dim * len(names))
        own_index(folder, query, sides, truth, args, matching, report)
        for kind in args.beside:
            plain_faiss(kind, query, sides[0].descriptors, truth, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--target-recall", type=float, default=0.95)
    parser.add_argument(
        "--from", dest="source", metavar="INDEX", help="real descriptors: those of this index, enlarged"
    )
    parser.add_argument("--matched", action="store_true", help="nine variants an image, matched ranking (with --from)")
    parser.add_argument("--beside", nargs="*", choices=("flat", "hnsw"), default=[], help="plain faiss in the same run")
    parser.add_argument("--folder", help="where the files go meanwhile")
    args = parser.parse_args()
    if args.matched and not args.source:
        parser.error("--matched needs --from")
    torch.set_num_threads(1)
    for count in args.images:
        run(count, args)


if __name__ == "__main__":
    main()
