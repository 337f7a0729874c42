"""What bfloat16 brings on a CPU: training steps and encoding of a network, beside float32.

python benchmarks/precision.py [--arch mobilenet_v2] [--images 60]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from common import Row, Timing, alternate, finish, parser, ratio


def sides(arch: str, images: int, size: tuple[int, int]) -> dict[str, Callable[[], object]]:
    """What is timed: training in float32, in bfloat16, in bfloat16 with split strides; encoding in both."""
    import torch
    from torch import nn

    from oamn_plugin.modeling import build_backbone
    from oamn_plugin.modeling.precision import mixed_precision, split_strides

    batch = torch.rand(images, 3, *size).to(memory_format=torch.channels_last)

    def network() -> nn.Module:
        return build_backbone(arch, 2, size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(model: nn.Module, half: bool) -> None:
        model.zero_grad(set_to_none=True)
        with mixed_precision("cpu", half):
            features = model(batch)
        features.float().square().mean().backward()

    def encode(model: nn.Module, half: bool) -> None:
        with torch.inference_mode(), mixed_precision("cpu", half):
            model(batch)

    tested = network().eval()
    return {
        "float32": partial(train, network().train(), False),
        "bfloat16": partial(train, network().train(), True),
        "split": partial(train, split_strides(network()).train(), True),
        "encode float32": partial(encode, tested, False),
        "encode bfloat16": partial(encode, tested, True),
    }


def measure(arguments: argparse.Namespace) -> list[Row]:
    from oamn_plugin.modeling.precision import has_bfloat16

    size = (arguments.height, arguments.width)
    name = f"{arguments.arch}, {size[0]}x{size[1]}, {arguments.images} images"
    if not has_bfloat16():
        return [Row(f"bfloat16 on this CPU, {name}", "stated", "not measured, it does not compute in bfloat16")]
    found = alternate(sides(arguments.arch, arguments.images, size), arguments.rounds)

    def row(what: str, ours: str, theirs: str) -> Row:
        return Row(f"{what}, {name}: processor time / in float32", "stated", _ratio(found[ours], found[theirs]))

    return [
        row("training step in bfloat16", "bfloat16", "float32"),
        row("the same with strided depthwise layers split (`SOLVER.AMP`)", "split", "float32"),
        row("encoding in bfloat16 (`TEST.AMP`)", "encode bfloat16", "encode float32"),
    ]


def _ratio(ours: Timing, theirs: Timing) -> str:
    return f"{ratio(ours.processor, theirs.processor):.2f}"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    command.add_argument("--arch", default="mobilenet_v2", help="a backbone of oamn_plugin.modeling")
    command.add_argument("--images", type=int, default=60)
    command.add_argument("--height", type=int, default=128)
    command.add_argument("--width", type=int, default=64)
    command.add_argument("--rounds", type=int, default=5)
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    return finish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
