"""Trains and tests OAMN, or any torchreid model, from a YAML file with torchreid's own keys.

python tools/train_torchreid.py --config-file configs/torchreid/oamn_osnet_x0_25.yml
python tools/train_torchreid.py --config-file configs/torchreid/oamn_osnet_x0_25.yml \\
    model.load_weights log/oamn_osnet_x0_25/model_final.pth test.evaluate True
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone without installation


def build_parser() -> argparse.ArgumentParser:
    """The command line: torchreid's, and the two flags of this project's other tools."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in data.save_dir")
    parser.add_argument("--eval-only", action="store_true", help="only test model.load_weights, as test.evaluate True")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="configuration keys, any number")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; expected errors are one message and exit code 2."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not starve the data workers
    from oamn_plugin.errors import ExpectedError

    try:
        from oamn_plugin.hosts.torchreid.main import run

        return run(args)
    except ExpectedError as error:
        print(f"train_torchreid: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
