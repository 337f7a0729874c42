"""A training step of OAMN against the plain backbone with BN neck and cross-entropy on the same views.

    python benchmarks/training_step.py [--backbone resnet50 --images 4 --size 256 128 --rounds 9]
    python benchmarks/training_step.py --device cuda --amp --images 64 --loader

Both sides run forward, backward and an SGD step on the same normalised views, in turn, in this process. ``--loader``
trains OAMN from the real data loader on top and prints the share of the time that the GPU is busy (CUDA only).
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from statistics import median

from common import Row, alternate, finish, parser, ratio

CPU_TARGET, GPU_TARGET, BUSY_TARGET = 1.10, 1.15, 0.90
NUM_CLASSES = 751


def make_sides(arguments: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """One training step of each side, as functions without arguments."""
    import torch
    from torch.nn import functional as F

    from oamn_plugin.losses import OAMNObjective
    from oamn_plugin.modeling import OAMN
    from oamn_plugin.modeling.backbones import build_backbone

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = build_backbone(arguments.backbone)
            self.backbone.fc = torch.nn.Identity()
            width = self.backbone(torch.zeros(2, 3, *arguments.size)).shape[1]
            self.bn = torch.nn.BatchNorm1d(width)
            self.classifier = torch.nn.Linear(width, NUM_CLASSES, bias=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.bn(self.backbone(images)))

    torch.manual_seed(0)
    device = torch.device(arguments.device)
    oamn = OAMN(arguments.backbone, NUM_CLASSES, tuple(arguments.size), arguments.preset)
    objective = OAMNObjective(oamn.options)
    types = view_types(arguments.images, oamn.options.num_views).to(device)
    pids = (torch.arange(arguments.images) // 2 % NUM_CLASSES).to(device)
    labels = pids.repeat_interleave(types.shape[1])
    images = torch.randn(types.numel(), 3, *arguments.size, device=device).contiguous(memory_format=torch.channels_last)

    def step(model: torch.nn.Module, loss: Callable[[torch.nn.Module], torch.Tensor]) -> Callable[[], object]:
        model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
        scaler = torch.amp.GradScaler(device.type, enabled=arguments.amp)

        def run() -> None:
            with torch.autocast(device.type) if arguments.amp else contextlib.nullcontext():
                value = loss(model)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return run

    return {
        "oamn": step(oamn, lambda model: sum(objective(model(images), pids, types).values())),  # type: ignore[misc]
        "plain": step(Plain(), lambda model: F.cross_entropy(model(images), labels)),
    }


def view_types(images: int, views: int):  # type: ignore[no-untyped-def]
    """Types (B, V) of images that are covered over a half and over a quarter in turn."""
    import torch

    halves, quarters = torch.arange(0, views), torch.arange(4, 4 + views).masked_fill(torch.arange(views) == 0, 0)
    return torch.stack([halves if i % 2 == 0 else quarters for i in range(images)])


def busy_share(arguments: argparse.Namespace, steps: int) -> float:
    """Share of the wall time of real training steps, loader included, in which a kernel runs."""
    import time

    import torch
    from fastreid.config import CfgNode

    from oamn_plugin.hosts.fastreid import data
    from oamn_plugin.hosts.fastreid.config import load_config
    from oamn_plugin.hosts.fastreid.loaders import TrainLoader
    from oamn_plugin.losses import OAMNObjective
    from oamn_plugin.modeling import OAMN

    opts = ["DATASETS.ROOT", arguments.root] if arguments.root else ["DATASETS.NAMES", "['OccludedPedestrians']"]
    opts += ["SOLVER.IMS_PER_BATCH", str(arguments.images), "DATALOADER.NUM_WORKERS", str(arguments.workers)]
    cfg: CfgNode = load_config("configs/Market1501/oamn_R50.yml" if arguments.root else "configs/Base-OAMN.yml", opts)
    batches = iter(TrainLoader(cfg, data.training_records(cfg), torch.device("cuda")))
    model = OAMN(arguments.backbone, NUM_CLASSES, tuple(arguments.size)).cuda().to(memory_format=torch.channels_last)
    objective, scaler = OAMNObjective(model.options), torch.amp.GradScaler("cuda", enabled=arguments.amp)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    mean, std = (torch.tensor(v, device="cuda").view(3, 1, 1) for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))

    def run() -> None:
        batch = next(batches)
        images = ((batch["images"].float() - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", enabled=arguments.amp):
            losses = objective(model(images), batch["targets"] % NUM_CLASSES, batch["types"])
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(sum(losses.values())).backward()  # type: ignore[union-attr]
        scaler.step(optimizer)
        scaler.update()

    for _ in range(5):
        run()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        start = time.perf_counter()
        for _ in range(steps):
            run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    kernels = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return min(1.0, kernels / seconds)


def measure(arguments: argparse.Namespace) -> list[Row]:
    gpu = arguments.device != "cpu"
    sides = make_sides(arguments)
    found = alternate(sides, arguments.rounds)
    wall = ratio(found["oamn"].wall, found["plain"].wall)
    processor = ratio(found["oamn"].processor, found["plain"].processor)
    for name, timing in found.items():
        print(f"{name:6} {median(timing.wall):8.3f} s a step, {median(timing.processor):8.3f} s of processor time")
    target = GPU_TARGET if gpu else CPU_TARGET
    what = f"training step, {arguments.backbone}, {arguments.size[0]}x{arguments.size[1]}, {arguments.images} images"
    measured = f"{wall:.3f}" + ("" if gpu else f" ({processor:.3f} in processor time)")
    where = "GPU" + (" with AMP" if arguments.amp else "") if gpu else "CPU"
    rows = [
        Row(f"{what}, {where}: OAMN / plain backbone on the same views", f"<= {target:.2f}", measured, wall <= target)
    ]
    if gpu and arguments.loader:
        share = busy_share(arguments, steps=20)
        rows.append(Row("GPU busy, with the real data loader", "> 90 %", f"{100 * share:.0f} %", share > BUSY_TARGET))
    return rows


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    command.add_argument("--backbone", default="resnet50")
    command.add_argument("--preset", default="paper")
    command.add_argument("--size", type=int, nargs=2, default=[256, 128], metavar=("HEIGHT", "WIDTH"))
    command.add_argument("--images", type=int, default=4, help="source images a step")
    command.add_argument("--rounds", type=int, default=9)
    command.add_argument("--device", default="cpu")
    command.add_argument("--amp", action="store_true", help="mixed precision")
    command.add_argument("--loader", action="store_true", help="also the share of time a GPU is busy, real data loader")
    command.add_argument("--root", default="", help="folder of Market-1501 for --loader; empty: the generated images")
    command.add_argument("--workers", type=int, default=8, help="for --loader")
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    return finish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
