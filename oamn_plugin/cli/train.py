"""Trains and tests OAMN, or any fastreid baseline, from a YAML file.

python tools/train_net.py --config-file configs/oamn.yml
python tools/train_net.py --config-file configs/oamn.yml --eval-only MODEL.WEIGHTS logs/oamn/model_final.pth
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone without installation


def build_parser() -> argparse.ArgumentParser:
    """fastreid's own command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file; its _BASE_ chain is followed")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="only test MODEL.WEIGHTS")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine (GPUs, or CPU shares)")
    parser.add_argument("--dist-url", default="auto", help="where several processes meet; auto: a free local port")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="configuration keys, any number")
    return parser


def main() -> int:
    """Runs the command; expected errors are one message and exit code 2."""
    args = build_parser().parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not starve the data workers
    from oamn_plugin.errors import ExpectedError

    try:
        from oamn_plugin.hosts.fastreid.main import run

        run(args)
    except ExpectedError as error:
        print(f"train_net: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
