"""Converts a checkpoint of OAMN from fastreid to torchreid, or from torchreid to fastreid.

oamn convert logs/oamn/model_final.pth for_torchreid.pth
oamn convert log/oamn_osnet_x1_0/model_final.pth for_fastreid.pth

The direction follows from the file. The result is loaded with `model.load_weights` (torchreid) or `MODEL.WEIGHTS`
(fastreid) by a configuration with the same backbone, input size and preset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oamn_plugin.cli.parser import Parser


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument(
        "--pooling",
        choices=("ceil", "padded"),
        help="stem pooling of a fastreid ResNet: ceil for fastreid's own, padded for its backbone 'torchvision'. "
        "Default: read from config.yaml beside SOURCE, or ceil if there is none",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Converts a file; prints what to do with the result."""
    args = build_parser().parse_args(argv)
    from oamn_plugin.hosts.shared import conversion
    from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, save_checkpoint
    from oamn_plugin.hosts.shared.errors import CheckpointError

    content = load_checkpoint(args.source)
    try:
        host = conversion.host_of_checkpoint(content)
    except CheckpointError as error:
        raise CheckpointError(f"{args.source}: {error}") from error
    if host == "fastreid":
        result = conversion.to_torchreid(content, args.pooling or pooling_of(args.source))
        stem = ""
        if conversion.is_resnet(result["state_dict"]):
            word = "fastreid's own" if conversion.CEIL_POOLING in result else "torchvision's"
            stem = f" Treated as weights of {word} ResNet, see --pooling."
        hint = f"for torchreid: model.load_weights {args.target}.{stem}"
    else:
        result = conversion.to_fastreid(content)
        hint = f"for fastreid: MODEL.WEIGHTS {args.target}"
        if conversion.is_resnet(content["state_dict"]) and not content.get(conversion.CEIL_POOLING):
            hint += " with MODEL.BACKBONE.NAME torchvision MODEL.BACKBONE.ARCH resnet50 (or the depth it has)"
    save_checkpoint(args.target, result)
    print(f"wrote {args.target}, {hint}")
    return 0


def pooling_of(source: Path) -> str:
    """How a run of fastreid pooled the stem of its ResNet, according to its ``config.yaml``."""
    import yaml

    config: Any = None
    if (source.parent / "config.yaml").is_file():
        config = yaml.safe_load((source.parent / "config.yaml").read_text(encoding="utf-8"))
    backbone = config.get("MODEL", {}).get("BACKBONE", {}) if isinstance(config, dict) else {}
    return "padded" if backbone.get("NAME") == "torchvision" else "ceil"
