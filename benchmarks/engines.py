"""The same images through a folder, its quick search and Milvus (milvus-lite): first ten, times, bytes, kill and go on.

    python benchmarks/engines.py [--images 100000 --dim 512 --queries 200]

The images are synthetic descriptors (see search.py) behind a stand-in for the network, so that everything else is the
path of ``oamn search index``. Each index is first built by a process that SIGKILL ends half-way, then by a second one
that goes on. Printed are lines of JSON; milliseconds are the processor time of this process, one query at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from search import STEP, make_descriptors

from oamn_plugin.occlusion import NONE
from oamn_plugin.retrieval.unification import QueryDescriptors, Unification
from oamn_plugin.search import GalleryImage, open_index
from oamn_plugin.search.encoder import ModelIdentity

TOP = 10


class StoredDescriptors:
    """Stands in for an encoder: the number in an image's name says which row its descriptor is.

    Args:
        rows: (G, D) descriptors.
        last: number of the image that this process is killed at; None: never.
    """

    name, types, unification = "stored descriptors", (NONE,), Unification()

    def __init__(self, rows: np.ndarray, last: int | None = None) -> None:
        self.rows, self.dim, self.last = rows, rows.shape[1], last

    def identity(self) -> ModelIdentity:
        """What the index remembers of it."""
        return ModelIdentity("stored", {})

    def read(self, path: str) -> torch.Tensor:
        """The descriptor in place of the pixels."""
        number = int(Path(path).stem)
        if number == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.from_numpy(np.array(self.rows[number]))

    def gallery(self, pixels: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
        """Descriptors of a batch."""
        return dict.fromkeys(names, pixels)


def build(place: str, rows: np.ndarray, last: int | None = None) -> Any:
    """The index at a place, with all images in it."""
    index = open_index(place, StoredDescriptors(rows, last))  # type: ignore[arg-type]
    index.add(GalleryImage(f"/{number:07d}.jpg", str(number // 20), str(number % 6)) for number in range(len(rows)))
    return index


def killed_and_built(place: str, folder: Path, rows: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """Builds twice: killed half-way in a process of its own, then here to the end."""
    command = [sys.executable, __file__, "--build", place, "--folder", str(folder)]
    ended = subprocess.run(command, check=False).returncode
    start, wall = time.process_time(), time.perf_counter()
    index = build(place, rows)
    went_on = {"killed": ended == -signal.SIGKILL, "new": index.changes.added, "images": len(index)}
    return index, {**went_on, "build_seconds": time.process_time() - start, "wall_seconds": time.perf_counter() - wall}


def first_ten(index: Any, queries: QueryDescriptors, **how: bool) -> tuple[list[list[str]], float]:
    """Names of the nearest of each query, and processor milliseconds a query."""
    start, found = time.process_time(), []
    for row in range(len(queries.types)):
        one = QueryDescriptors(*(column[row : row + 1] for column in queries))
        found.append([match.image.name for match in index.search(one, TOP, **how)[0]])
    return found, 1000 * (time.process_time() - start) / len(found)


def size_of(place: Path) -> int:
    return sum(path.stat().st_size for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file())


def measure(folder: Path, images: int, dim: int, count: int) -> None:
    blocks, rows = make_descriptors(images, count, dim)
    stored = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (images, dim))
    for number, block in enumerate(blocks):
        stored[number * STEP : number * STEP + len(block)] = block
    nothing = torch.zeros(count, dtype=torch.long)
    queries = QueryDescriptors(torch.from_numpy(rows), nothing, torch.ones(count), torch.ones(count, 4))

    def report(kind: str, found: list[list[str]], each: float, place: Path, **more: Any) -> None:
        same = float(np.mean([a == b for a, b in zip(found, truth, strict=True)]))
        recall = float(np.mean([len(set(a) & set(b)) / TOP for a, b in zip(found, truth, strict=True)]))
        line = {"index": kind, "images": images, "identical first ten": same, "recall": recall, "milliseconds": each}
        line |= {"bytes an image on disk": size_of(place) / images, **more}
        print(json.dumps({key: round(v, 3) if isinstance(v, float) else v for key, v in line.items()}), flush=True)

    place = folder / "index"
    index, went_on = killed_and_built(str(place), folder, stored)
    truth, each = first_ten(index, queries, exact=True)
    report("folder", truth, each, place, **went_on)
    index.quantise()
    report("quick search", *first_ten(index, queries), place, at_least=index.approximate.at_least)
    place = folder / "gallery.db"
    milvus, went_on = killed_and_built(f"milvus://{place}", folder, stored)
    went_on["same content"] = milvus.images == index.images
    went_on["same content"] &= bool(np.array_equal(milvus.descriptors(NONE), index.descriptors(NONE)))
    report("milvus-lite", *first_ten(milvus, queries), place, **went_on)


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--images", type=int, default=100_000)
    command.add_argument("--dim", type=int, default=512)
    command.add_argument("--queries", type=int, default=200)
    command.add_argument("--folder", help="where the files go meanwhile")
    command.add_argument("--build", help=argparse.SUPPRESS)
    arguments = command.parse_args()
    torch.set_num_threads(1)
    if arguments.build:
        rows = np.load(Path(arguments.folder, "rows.npy"), mmap_mode="r")
        build(arguments.build, rows, len(rows) // 2)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder), arguments.images, arguments.dim, arguments.queries)


if __name__ == "__main__":
    main()
