"""The data pipeline: source images a second per worker, from the file to five training views on the device.

    python benchmarks/data_pipeline.py [--root FOLDER --data-set Market1501 --workers 1 --images 64 --rounds 7]

Ours is the fastreid adapter's ``TrainLoader`` as configs/Base-OAMN.yml sets it up: decode and resize in a worker, pad,
crop, rotation, flip and five views in the main process on the device. Compared with a plain ``DataLoader`` with as many
workers that decodes, resizes, flips and makes a tensor. Both hand over one batch after the other, in turn. Where the
device is the CPU, worker and device share its cores; the last two rows tell their parts apart in processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from common import REPOSITORY, Row, alternate, finish, parser, ratio

SHARE, PER_SECOND = 0.85, 8 * 77
"""To reach: share of the plain pipeline's speed; 8 times the released code's images a second (77, 2 CPU cores)."""


class PlainImages:
    """What everybody does: decode, resize, flip, tensor."""

    def __init__(self, paths: list[str], size: tuple[int, int]) -> None:
        from torchvision import transforms as T

        self.paths = paths
        self.transform = T.Compose([T.Resize(list(size)), T.RandomHorizontalFlip(), T.PILToTensor()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def configuration(arguments: argparse.Namespace) -> Any:
    """configs/Base-OAMN.yml with the data set, batch size and workers asked for."""
    from oamn_plugin.hosts.fastreid.config import load_config

    opts = ["DATASETS.NAMES", f"['{arguments.data_set}']", "DATASETS.EMBEDDED.SIZE", arguments.embedded_size]
    opts += ["SOLVER.IMS_PER_BATCH", str(arguments.images), "DATALOADER.NUM_WORKERS", str(arguments.workers)]
    opts += ["MODEL.DEVICE", arguments.device, "MODEL.BACKBONE.PRETRAIN", "False"]
    opts += ["DATASETS.ROOT", arguments.root] if arguments.root else []
    return load_config(str(REPOSITORY / "configs" / "Base-OAMN.yml"), opts)


def our_batches(arguments: argparse.Namespace) -> Iterator[Any]:
    """Batches of five views, on the device, from the adapter's own loader."""
    import torch

    from oamn_plugin.hosts.fastreid import data
    from oamn_plugin.hosts.fastreid.loaders import TrainLoader

    cfg = configuration(arguments)
    for batch in TrainLoader(cfg, data.training_records(cfg), torch.device(arguments.device)):
        yield batch["images"]


def plain_batches(arguments: argparse.Namespace) -> Iterator[Any]:
    """Endless batches of the plain pipeline, on the device."""
    from torch.utils.data import DataLoader

    from oamn_plugin.hosts.fastreid import data

    cfg = configuration(arguments)
    paths = [record.path for record in data.training_records(cfg)]
    images: Any = PlainImages(paths, tuple(cfg.INPUT.SIZE_TRAIN))  # type: ignore[arg-type]
    many = {"num_workers": arguments.workers, "persistent_workers": arguments.workers > 0}
    pinned = arguments.device.startswith("cuda")
    loader = DataLoader(images, arguments.images, shuffle=True, drop_last=True, pin_memory=pinned, **many)  # type: ignore[arg-type]
    while True:
        for batch in loader:
            yield batch.to(arguments.device, non_blocking=True)


def rate(batches: Iterator[Any], count: int, images: int) -> float:
    """Source images a second over a number of batches."""
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    _wait()
    return count * images / (time.perf_counter() - start)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextlib.contextmanager
def opened(batches: Iterator[Any], batch_count: int) -> Iterator[Iterator[Any]]:
    """A loader whose workers have run warm, closed at the end: idle workers of the other side would share the cores."""
    for _ in range(batch_count):
        next(batches)
    try:
        yield batches
    finally:
        batches.close()  # type: ignore[attr-defined]


def measure(arguments: argparse.Namespace) -> list[Row]:
    sides = {"plain": plain_batches, "ours": our_batches}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.rounds):
        for name in sorted(sides, reverse=number % 2 == 0):
            with opened(sides[name](arguments), batch_count=3) as batches:
                rates[name].append(rate(batches, arguments.batches, arguments.images))
    workers = max(1, arguments.workers)
    share = median(ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True))
    ours, plain = (median(rates[name]) / workers for name in ("ours", "plain"))
    print(f"ours {ours:.0f}, plain {plain:.0f} source images a second and worker; {workers} workers")
    what = f"data pipeline, {arguments.data_set}: source images/s per worker, to five views on {arguments.device}"
    return [
        Row(f"{what} / plain decode + resize + flip", f">= {SHARE}", f"{share:.2f}", share >= SHARE),
        Row("the same in images/s per worker", f">= {PER_SECOND}", f"{ours:.0f}", ours >= PER_SECOND),
    ]


def parts(arguments: argparse.Namespace) -> list[Row]:
    """The worker's part and the device's part on their own, in processor time of this process."""
    import torch

    from oamn_plugin.hosts.fastreid import data
    from oamn_plugin.hosts.fastreid.loaders import TrainLoader

    cfg = configuration(arguments)
    records = data.training_records(cfg)[: 2 * arguments.images]
    loader = TrainLoader(cfg, records, torch.device("cpu"))
    ours = loader.dataset
    plain = PlainImages([record.path for record in records], tuple(cfg.INPUT.SIZE_TRAIN))
    batch = torch.stack([ours[(0, index)]["images"] for index in range(min(arguments.images, len(records)))])
    transform, generator = loader.transform, torch.Generator().manual_seed(0)
    found = alternate(
        {
            "ours": lambda: [ours[(index, index)] for index in range(len(records))],
            "plain": lambda: [plain[index] for index in range(len(records))],
            "views": lambda: transform(batch, generator),
        },
        arguments.rounds,
    )
    share = 1 / ratio(found["ours"].processor, found["plain"].processor)
    worker = 1e3 * median(found["ours"].processor) / len(records)
    views = 1e3 * median(found["views"].processor) / len(batch)
    what = "data pipeline, the worker's part alone: speed / plain decode + resize + flip, processor time"
    return [
        Row(what, f">= {SHARE}", f"{share:.2f} ({worker:.2f} ms an image)", share >= SHARE),
        Row("data pipeline, five views of an image on the CPU", "stated", f"{views:.2f} ms of processor time"),
    ]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    command.add_argument("--root", default="", help="folder of the data sets; empty: FASTREID_DATASETS")
    command.add_argument("--data-set", default="OccludedPedestrians", help="or Market1501, or any other that is there")
    command.add_argument("--embedded-size", default="demo", help="size of the generated data set")
    command.add_argument("--device", default="cpu")
    command.add_argument("--workers", type=int, default=1)
    command.add_argument("--images", type=int, default=64, help="source images a batch")
    command.add_argument("--batches", type=int, default=12, help="batches a round")
    command.add_argument("--rounds", type=int, default=7)
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    rows = measure(arguments) + (parts(arguments) if arguments.device == "cpu" else [])
    return finish(rows, arguments.json)


if __name__ == "__main__":
    main()
