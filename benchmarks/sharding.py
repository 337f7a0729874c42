"""Exact ranking shared by processes, each with its part of the gallery, at the size of MSMT17: one against two.

    python benchmarks/sharding.py [--processes 2 --queries 11659 --gallery 82161 --dim 512 --rounds 3]

Every process computes on one thread. Memory is what a process takes above its libraries, its descriptors included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import GIVE_BACK, Row, finish, in_own_process, parser, peak_memory
from ranking import make_descriptors

FASTER, LESS = 1.7, 0.55


def rank_part(folder: Path, number: int, count: int) -> dict[str, Any]:
    """Ranks as one of several processes; what it took, and a digest of the scores of every query."""
    import torch
    import torch.distributed as dist

    from oamn_plugin.hosts.shared.distributed import gather_arrays
    from oamn_plugin.hosts.shared.evaluation import shard_bounds
    from oamn_plugin.retrieval import evaluate_ranking
    from oamn_plugin.retrieval.counting import WHOLE, Shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=count)
    labels = [
        np.load(folder / f"{name}.npy") for name in ("query_pids", "gallery_pids", "query_camids", "gallery_camids")
    ]
    dist.barrier()
    before, wall, processor = peak_memory(), time.perf_counter(), time.process_time()
    start, stop = shard_bounds(len(labels[1]), count)[number : number + 2]
    query, gallery = np.load(folder / "query.npy"), np.array(np.load(folder / "gallery.npy", mmap_mode="r")[start:stop])
    result = evaluate_ranking(query, gallery, *labels, shard=WHOLE if count == 1 else Shard(start, gather_arrays))
    spent = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    digest = hashlib.sha256()
    for scores in (result.cmc, result.ap, result.inp):
        digest.update(np.ascontiguousarray(scores).tobytes())
    return {**spent, "memory": peak_memory() - before, "scores": digest.hexdigest(), "mAP": result.mAP}


def together(folder: Path, count: int) -> list[dict[str, Any]]:
    """What each of several processes took."""
    (folder / "store").unlink(missing_ok=True)

    def start(number: int) -> dict[str, Any]:
        arguments = ["--folder", str(folder), "--number", str(number), "--processes", str(count)]
        found: dict[str, Any] = in_own_process("sharding.py", arguments, {"OMP_NUM_THREADS": "1", **GIVE_BACK})
        return found

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def measure(arguments: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="sharding-") as name:
        sizes = arguments.queries, arguments.gallery, arguments.dim, arguments.identities
        make_descriptors(Path(name), *sizes)
        rounds = [(together(Path(name), 1), together(Path(name), arguments.processes)) for _ in range(arguments.rounds)]
    return rows_of(rounds, arguments)


def rows_of(
    rounds: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]], arguments: argparse.Namespace
) -> list[Row]:
    """Medians over the rounds; of several processes the one that took most."""

    def most(side: int, key: str) -> float:
        return float(np.median([max(one[key] for one in found[side]) for found in rounds]))

    what = (
        f"exact ranking, {arguments.queries} queries x {arguments.gallery} gallery images, {arguments.dim}-d, "
        f"{arguments.processes} processes"
    )
    wall, processor, memory = ((most(0, key), most(1, key)) for key in ("wall", "processor", "memory"))
    same = len({one["scores"] for found in rounds for side in found for one in side}) == 1
    return [
        Row(f"{what}: scores of each query equal one process's to the bit", "yes", "yes" if same else "no", same),
        Row("speed over one process", f">= {FASTER} times on free cores",
            f"{wall[0] / wall[1]:.2f} times ({wall[0]:.1f} and {wall[1]:.1f} s); processor time of a process "
            f"{processor[0]:.1f} and {processor[1]:.1f} s, {processor[0] / processor[1]:.2f} times",
            wall[0] / wall[1] >= FASTER),
        Row("memory of a process, its descriptors included", f"<= {LESS} of one process's",
            f"{memory[1] / memory[0]:.2f} ({memory[0]:.0f} and {memory[1]:.0f} MB)", memory[1] / memory[0] <= LESS),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> list[Row]:
    command = parser(__doc__)
    command.add_argument("--processes", type=int, default=2)
    command.add_argument("--queries", type=int, default=11659)
    command.add_argument("--gallery", type=int, default=82161)
    command.add_argument("--dim", type=int, default=512)
    command.add_argument("--identities", type=int, default=3060)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--number", type=int, help=argparse.SUPPRESS)
    command.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = command.parse_args(argv)
    if arguments.folder:
        print(json.dumps(rank_part(arguments.folder, arguments.number, arguments.processes)))
        return []
    return finish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
