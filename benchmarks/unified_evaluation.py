"""Unified evaluation against encoding every image that it needs once, and its memory for one type and for nine.

    python benchmarks/unified_evaluation.py [--types 4 --queries 96 --gallery 192 --backbone resnet50 --rounds 5]

Time: queries and gallery described over the T types that occur, written to disk, ranked and scored, against the bare
forward pass of Q + T * G images in the same batches. Forward hooks count what is encoded. Memory: the peak of a process
that evaluates a gallery with one type, and of one with nine, of a network that costs nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from statistics import median
from typing import Any

from common import GIVE_BACK, Row, alternate, finish, in_own_process, parser, peak_memory, ratio

TARGET, GROWTH = 1.05, 0.25
"""To reach: time over that of encoding; memory added by eight more types, as a share of one type's descriptors."""


def evaluate(model: Any, query: list[Any], gallery: Any, rows: int) -> Any:
    """A typed evaluation with labels that make every query findable."""
    from oamn_plugin.datasets.records import Record
    from oamn_plugin.hosts.shared.evaluation import Batch, EvaluationSettings, ImageSet
    from oamn_plugin.hosts.shared.evaluation import evaluate as evaluate_model
    from oamn_plugin.retrieval import Unification

    def image_set(batches: Any, count: int, camera: int) -> ImageSet:
        def load(start: int, stop: int) -> Iterator[Batch]:
            place = 0
            for images in batches:
                yield Batch(range(place, place + len(images)), images)
                place += len(images)

        return ImageSet([Record(str(row), row % 10, camera) for row in range(count)], load, count)

    queries = sum(map(len, query))
    settings = EvaluationSettings(Unification("typed", fill="black"))
    return evaluate_model(model, image_set(query, queries, 0), image_set(gallery, rows, 1), settings)


class Counter:
    """Images that a module has seen, by a forward hook."""

    def __init__(self, module: Any) -> None:
        self.images = 0
        module.register_forward_hook(self._count)

    def _count(self, module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        self.images += len(inputs[0])


def fixed_types(model: Any, types: int) -> None:
    """Makes the scorer of an untrained network find the first ``types`` occlusion types, none left out, in turn."""
    import torch

    from oamn_plugin.occlusion import OCCLUSION_TYPES

    logits = torch.zeros(len(OCCLUSION_TYPES), 4)
    for index in range(1, len(OCCLUSION_TYPES)):
        # confidence 0.60 for a quarter, 0.99 for a half
        logits[index, (index - 1) % 4] = 6.0 if index <= 4 else 1.5
    seen = 0

    def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        turns = torch.arange(seen, seen + len(output)) % types
        seen += len(output)
        return logits[turns].to(output)

    model.scorer.register_forward_hook(hook)


def time_rows(arguments: argparse.Namespace) -> list[Row]:
    import torch

    from oamn_plugin.modeling import OAMN

    torch.manual_seed(0)
    model = OAMN(arguments.backbone, 0, tuple(arguments.size)).to(arguments.device).eval()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fixed_types(model, arguments.types)
    counter = Counter(model.encoder_low)
    query, gallery = (
        list(torch.randn(count, 3, *arguments.size).split(arguments.batch))
        for count in (arguments.queries, arguments.gallery)
    )
    wanted = arguments.queries + arguments.types * arguments.gallery

    def encode_once() -> None:
        with torch.inference_mode():
            for batch in query + gallery * arguments.types:
                model(batch.to(arguments.device).contiguous(memory_format=torch.channels_last)).cpu()

    def unified() -> None:
        counter.images = 0
        evaluate(model, query, gallery, arguments.gallery)

    unified()
    counted = counter.images
    found = alternate({"unified": unified, "encoding": encode_once}, arguments.rounds, warm=0)
    wall, processor = (
        ratio(getattr(found["unified"], k), getattr(found["encoding"], k)) for k in ("wall", "processor")
    )
    for name, timing in found.items():
        print(f"{name:9} {median(timing.wall):8.3f} s, {median(timing.processor):8.3f} s of processor time")
    size = f"{arguments.queries} queries, {arguments.gallery} gallery images, {arguments.types} types"
    return [
        Row(
            f"unified evaluation, {size}, {arguments.backbone}: time / encoding Q + T*G images",
            f"<= {TARGET:.2f}",
            f"{wall:.3f} ({processor:.3f} in processor time)",
            wall <= TARGET,
        ),
        Row("images it encodes (queries once, only types that occur)", f"{wanted}", f"{counted}", counted == wanted),
    ]


def memory_row(arguments: argparse.Namespace) -> Row:
    sizes = ["--memory-gallery", str(arguments.memory_gallery), "--memory-dim", str(arguments.memory_dim)]
    one, nine = (
        in_own_process("unified_evaluation.py", [*sizes, "--memory-types", types], GIVE_BACK)["megabytes"]
        for types in ("1", "9")
    )
    each = arguments.memory_gallery * arguments.memory_dim * 4 / 1e6
    what = f"memory of unified evaluation, {arguments.memory_gallery} images of {arguments.memory_dim} dimensions"
    return Row(
        f"{what} ({each:.0f} MB a type)",
        "peak does not grow with T",
        f"{one:.0f} MB with 1 type, {nine:.0f} MB with 9",
        nine - one <= GROWTH * each,
    )


def measure_memory(types: int, gallery: int, dim: int) -> dict[str, float]:
    """Peak memory of an evaluation whose network is one multiplication, in this process."""
    import torch
    from torch import nn

    class Cheap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spread = nn.Linear(3, dim)
            self.scorer = nn.Linear(dim, 4)
            self.eval()

        def encode(self, images: torch.Tensor) -> torch.Tensor:
            return self.spread(images.mean((2, 3)))

        def attend(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.ones(1), self.scorer(features)

        def apply_mask(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return features * mask

        def describe(self, features: torch.Tensor) -> torch.Tensor:
            return nn.functional.normalize(features)

        def embed(self, features: torch.Tensor) -> torch.Tensor:
            return self.describe(self.apply_mask(features, self.attend(features)[0]))

    model = Cheap()
    fixed_types(model, types)
    batches = (torch.rand(min(64, gallery - start), 3, 8, 4) for start in range(0, gallery, 64))
    evaluate(model, [torch.rand(90, 3, 8, 4)], batches, gallery)
    return {"megabytes": peak_memory()}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    command.add_argument("--backbone", default="resnet50")
    command.add_argument("--size", type=int, nargs=2, default=[256, 128], metavar=("HEIGHT", "WIDTH"))
    command.add_argument("--types", type=int, default=4, choices=range(1, 10), help="occlusion types among the queries")
    command.add_argument("--queries", type=int, default=96)
    command.add_argument("--gallery", type=int, default=192)
    command.add_argument("--batch", type=int, default=32)
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--device", default="cpu")
    command.add_argument("--memory-gallery", type=int, default=20000)
    command.add_argument("--memory-dim", type=int, default=2048)
    command.add_argument("--memory-types", type=int, default=0, help=argparse.SUPPRESS)
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    if arguments.memory_types:
        print(json.dumps(measure_memory(arguments.memory_types, arguments.memory_gallery, arguments.memory_dim)))
        return []
    rows = [*time_rows(arguments), memory_row(arguments)]
    return finish(rows, arguments.json)


if __name__ == "__main__":
    main()
