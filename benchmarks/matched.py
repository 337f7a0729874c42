"""What matched unification costs: describing a gallery in nine ways and ranking it, against doing both once.

    python benchmarks/matched.py [--queries 11659 --ranked 82161 --dim 512 --images 128 --batch 64 --rounds 3]

Describing: ResNet-50, cut at stride 16, strips blanked on the features, with the last stride 2 and 1, nine types and
five, against one encoding an image. Ranking: nine variants on disk against one, in processes of their own; memory is
what ranking adds to the queries.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Row, alternate, finish, in_own_process, parser, peak_memory, ratio

COSTS = {(2, "nine"): 2.6, (1, "nine"): 4.5, (2, "five"): None, (1, "five"): None}
"""To reach: time of describing over that of encoding once, by last stride and types."""
RANKING, MEMORY = 10.0, 1500.0


def describing_rows(arguments: argparse.Namespace) -> list[Row]:
    import torch

    from oamn_plugin.modeling import build_backbone, embedding_model
    from oamn_plugin.retrieval.unification import TYPE_SETS, Unification, describe_gallery

    images = list(torch.rand(arguments.images, 3, *arguments.size).split(arguments.batch))
    images = [batch.contiguous(memory_format=torch.channels_last) for batch in images]
    rows = []
    for last_stride in (2, 1):
        network = build_backbone("resnet50", last_stride)
        network.fc = torch.nn.Identity()
        model = embedding_model(network.eval().to(memory_format=torch.channels_last), tuple(arguments.size))
        matched = Unification("matched", "features")

        def describe(names: tuple[str, ...], model: Any = model, matched: Unification = matched) -> None:
            for batch in images:
                describe_gallery(model, batch, names, matched)

        def plain(model: Any = model) -> None:
            with torch.inference_mode():
                for batch in images:
                    model.model(batch)

        sides = {"plain": plain, **{name: lambda names=names: describe(names) for name, names in TYPE_SETS.items()}}
        found = alternate(sides, arguments.rounds)
        for types in TYPE_SETS:
            cost = ratio(found[types].processor, found["plain"].processor)
            wall = ratio(found[types].wall, found["plain"].wall)
            bound = COSTS[last_stride, types]
            rows.append(
                Row(
                    f"gallery described in {types} ways, features of ResNet-50, last stride {last_stride}: time / once",
                    "stated" if bound is None else f"<= {bound:g}",
                    f"{cost:.2f} in processor time ({wall:.2f} on the clock)",
                    None if bound is None else cost <= bound,
                )
            )
    return rows


def ranking_row(arguments: argparse.Namespace) -> Row:
    sizes = ["--queries", str(arguments.queries), "--ranked", str(arguments.ranked), "--dim", str(arguments.dim)]
    with tempfile.TemporaryDirectory() as folder:
        make_descriptors(Path(folder), arguments.queries, arguments.ranked, arguments.dim)
        found = {
            side: in_own_process("matched.py", [*sizes, "--side", side, "--folder", folder])
            for side in ("plain", "matched")
        }
    ours, plain = found["matched"], found["plain"]
    cost, memory = ours["processor"] / plain["processor"], ours["megabytes"]
    return Row(
        f"ranking {arguments.queries} queries x {arguments.ranked} images in nine variants of {arguments.dim} numbers",
        f"<= {RANKING:g} times plain ranking; <= {MEMORY / 1000:g} GB",
        f"{cost:.1f} times in processor time ({ours['seconds']:.0f} s on the clock), {memory / 1000:.2f} GB",
        cost <= RANKING and memory <= MEMORY,
    )


def make_descriptors(folder: Path, queries: int, gallery: int, dim: int, seed: int = 0) -> None:
    """Unit vectors around identity centres; the variants of a gallery image lie around it."""
    from oamn_plugin.occlusion import OCCLUSION_TYPES
    from oamn_plugin.retrieval.store import DescriptorStore

    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((gallery // 27 + 1, dim), dtype=np.float32)
    pids = {
        name: generator.integers(0, len(centres), count) for name, count in (("query", queries), ("gallery", gallery))
    }
    for name, own in pids.items():
        np.save(folder / f"{name}_pids.npy", own)
        np.save(folder / f"{name}_camids.npy", generator.integers(0, 15, len(own)))

    def around(rows: np.ndarray, noise: float) -> np.ndarray:
        moved = rows + noise * generator.standard_normal(rows.shape, dtype=np.float32)
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    np.save(folder / "query.npy", around(centres[pids["query"]], 2.5))
    store = DescriptorStore(folder / "gallery")
    for start in range(0, gallery, 4096):
        own = around(centres[pids["gallery"][start : start + 4096]], 2.5)
        store.append({name: around(own, 0.0 if name == "none" else 0.02) for name in OCCLUSION_TYPES})
    store.finish()


def rank(side: str, folder: Path) -> dict[str, float]:
    """Seconds and memory of one ranking, in this process."""
    from oamn_plugin.retrieval import DescriptorStore, Unification, evaluate_ranking

    labels = [
        np.load(folder / f"{name}.npy") for name in ("query_pids", "gallery_pids", "query_camids", "gallery_camids")
    ]
    query, store = np.load(folder / "query.npy"), DescriptorStore(folder / "gallery")
    before, wall, processor = peak_memory(), time.perf_counter(), time.process_time()
    if side == "plain":
        evaluate_ranking(query, store["none"], *labels)
    else:
        evaluate_ranking(query, store, *labels, matching=Unification("matched").matching())
    seconds = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": seconds[0], "processor": seconds[1], "megabytes": peak_memory() - before}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    command.add_argument("--size", type=int, nargs=2, default=[256, 128], metavar=("HEIGHT", "WIDTH"))
    command.add_argument("--images", type=int, default=128)
    command.add_argument("--batch", type=int, default=64)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--queries", type=int, default=11659)
    command.add_argument("--ranked", type=int, default=82161)
    command.add_argument("--dim", type=int, default=512)
    command.add_argument("--side", default="", help=argparse.SUPPRESS)
    command.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    if arguments.side:
        print(json.dumps(rank(arguments.side, arguments.folder)))
        return []
    return finish([*describing_rows(arguments), ranking_row(arguments)], arguments.json)


if __name__ == "__main__":
    main()
