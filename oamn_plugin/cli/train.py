"""Trains and tests OAMN, or any method of fastreid or torchreid, from a YAML file.

oamn train --list                                          the configurations of the package
oamn train oamn                                            one of them by its name
oamn train Market1501/oamn_R50 SOLVER.MAX_EPOCH 60         with another value of a key
oamn train --config-file my.yml --resume                   a file of your own
oamn train oamn --eval-only MODEL.WEIGHTS logs/oamn/model_final.pth

The keys tell which toolbox is meant: fastreid's are in upper case, torchreid's in lower case.
"""

from __future__ import annotations

import os

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.encoder import host_of_config

KEYS = {
    "--device": "MODEL.DEVICE cuda (torchreid: use_gpu True)",
    "--epochs": "SOLVER.MAX_EPOCH 60 (torchreid: train.max_epoch 60)",
    "--batch-size": "SOLVER.IMS_PER_BATCH 64 (torchreid: train.batch_size 64)",
    "--lr": "SOLVER.BASE_LR 3.5e-4 (torchreid: train.lr 3.5e-4)",
    "--seed": "SEED 1 (torchreid: train.seed 1)",
}
"""Options that other programs have, and the keys that stand for them here."""


def build_parser() -> Parser:
    """The hosts' own command line, and the name of a configuration in front of the keys."""
    parser = Parser(description=__doc__)
    parser.elsewhere |= {option: f"In training it is a key: {key}" for option, key in KEYS.items()}
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file, or the name of a configuration")
    parser.add_argument("--list", action="store_true", help="list the configurations of the package by name")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint of the run")
    parser.add_argument("--eval-only", action="store_true", help="only test the weights that the configuration names")
    parser.add_argument("--num-gpus", type=int, default=1, help="fastreid: processes on this machine (GPUs or CPU)")
    parser.add_argument(
        "--dist-url", default="auto", help="fastreid: address where processes meet (auto: a free local port)"
    )
    keys = "name of a configuration (or --config-file), then configuration keys and their values"
    parser.add_argument("opts", nargs="*", metavar="[CONFIG] KEY VALUE", help=keys)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_intermixed_args(argv)  # flags may follow the name
    from oamn_plugin.configurations import describe_configs, find_config, is_config

    if args.list:
        print(describe_configs())
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not starve the data workers
    if not args.config_file and args.opts and (len(args.opts) % 2 or is_config(args.opts[0])):
        args.config_file = args.opts.pop(0)
    if args.config_file:
        args.config_file = str(find_config(args.config_file))
    if host_of_config(args.config_file, args.opts) == "torchreid":
        if args.num_gpus != 1:
            raise ExpectedError("--num-gpus is for fastreid: torchreid trains in one process")
        from oamn_plugin.hosts.torchreid.main import run as run_torchreid

        return run_torchreid(args)
    if not args.config_file:
        raise ExpectedError("name a configuration, such as oamn train oamn; oamn train --list lists them")
    from oamn_plugin.hosts.fastreid.main import run

    run(args)
    return 0
