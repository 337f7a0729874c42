"""Makes a small model that needs no toolbox, such as the one that ships with the package, from a training run.

oamn package RUN_DIR oamn_plugin/assets --on PartialREIDOccluded --command "oamn train market_cpu/oamn_plus"

Writes OUT/oamn_small.safetensors (half precision, at most 6 MB) and OUT/oamn_small.json (its card). The stored weights
are loaded and scored, plain and unified; nothing is written if they rank worse than the run's own weights.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError

ALLOWED_LOSS = 0.5
"""Points of Rank-1 that half precision may cost."""
TWINS = {"build_mobilenetv2_backbone": "mobilenet_v2"}
"""Backbones of fastreid with a twin in torchvision: the same layers in the same order, under other names."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run: config.yaml and weights")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--weights", default="model_final.pth", help="file in the run folder (default model_final.pth)")
    parser.add_argument("--command", default="", help="the command that trained it, for the card")
    parser.add_argument("--on", nargs="+", default=[], metavar="SET", help="sets to score on (default: DATASETS.TESTS)")
    parser.add_argument("--terms", default="", help="terms of use of the training images, for the card")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    from dataclasses import asdict, replace

    import oamn_plugin.hosts.fastreid  # noqa: F401 only registration
    from oamn_plugin.hosts.fastreid import load_config
    from oamn_plugin.hosts.fastreid.data import build_dataset
    from oamn_plugin.hosts.fastreid.inference import load_encoder
    from oamn_plugin.hosts.shared.preflight import loaded, refuse
    from oamn_plugin.modeling.packaged import ModelCard, save_packaged
    from oamn_plugin.search.encoder import packaged_encoder

    config = str(args.run / "config.yaml")
    cfg = load_config(config)
    source = load_encoder(config, str(args.run / args.weights))
    data, missing = loaded(partial(build_dataset, cfg), args.on or cfg.DATASETS.TESTS)
    refuse(missing)
    card = ModelCard(
        backbone=backbone_of(cfg),
        last_stride=cfg.MODEL.BACKBONE.LAST_STRIDE if cfg.MODEL.BACKBONE.ARCH.startswith("resnet") else 2,
        input_size=source.input_size,
        options=asdict(source.model.options),
        pixel_mean=tuple(source.pixel_mean),
        pixel_std=tuple(source.pixel_std),
        resample=source.resample,
        command=args.command or f"oamn train --config-file {config}",
        data_set=" + ".join(cfg.DATASETS.NAMES),
        terms=args.terms,
        unification=asdict(source.unification),
    )
    twin = transplant(source.model, card.build())
    before = scores(source, data)
    with tempfile.TemporaryDirectory() as folder:
        save_packaged(twin, card, Path(folder))
        after = scores(packaged_encoder(Path(folder)), data)
    for name, score in after.items():
        print(f"{name}: Rank-1 {before[name]['Rank-1']:.2f} % as trained, {score['Rank-1']:.2f} % as stored")
    lost = max(before[name]["Rank-1"] - after[name]["Rank-1"] for name in after)
    if lost > ALLOWED_LOSS:
        raise ExpectedError(f"half precision costs {lost:.2f} points of Rank-1, more than {ALLOWED_LOSS}: not packaged")
    save_packaged(twin, replace(card, scores=after), args.out)
    print(f"wrote the packaged model to {args.out}")
    return 0


def backbone_of(cfg: Any) -> str:
    """The run's backbone by a name that needs no toolbox."""
    name, arch = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.ARCH
    if name == "torchvision":
        return arch
    if name == "timm":
        return f"timm:{arch}"
    if name in TWINS and cfg.MODEL.BACKBONE.DEPTH == "1.0x":
        return TWINS[name]
    known = ", ".join(["torchvision", "timm", *TWINS])
    raise ExpectedError(f"MODEL.BACKBONE.NAME {name} cannot be packaged: the package must load without a toolbox. "
                        f"Train with one of {known}")  # fmt: skip


def transplant(source: Any, target: Any) -> Any:
    """Gives a network the weights of another of the same layers, and makes sure that it computes the same.

    Raises:
        ExpectedError: the layers differ.
    """
    import torch

    own = {name: value for name, value in source.state_dict().items() if not name.startswith("classifier.")}
    wanted = target.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in wanted.values()]:
        raise ExpectedError("the run's network has other layers than its twin without a toolbox: it cannot be packaged")
    target.load_state_dict(dict(zip(wanted, own.values(), strict=True)))
    images = torch.randn(4, 3, *target.input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = float((source.eval()(images) - target.eval()(images)).abs().max())
    if difference > 1e-4:
        raise ExpectedError(f"the network and its twin without a toolbox differ by {difference:.1e}")
    return target


def scores(encoder: Any, data: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Scores in percent on data sets, with the model's unification and plain."""
    from oamn_plugin.cli.test import image_set
    from oamn_plugin.datasets.records import Record
    from oamn_plugin.hosts.shared.evaluation import EvaluationSettings, evaluate
    from oamn_plugin.retrieval import Unification

    found: dict[str, dict[str, float]] = {}
    for name, split in data.items():
        sides = [[Record(*item[:3]) for item in part] for part in (split.query, split.gallery)]
        for kind, unification in ((encoder.unification.kind, encoder.unification), ("plain", Unification())):
            query, gallery = (image_set(encoder, side, name) for side in sides)
            percent = evaluate(encoder.model, query, gallery, EvaluationSettings(unification, encoder.colour)).scores
            scored = {key: round(percent[key], 2) for key in ("Rank-1", "mAP", "mAP_trapezoid")}
            found[f"{name} ({kind})"] = scored
    return found
