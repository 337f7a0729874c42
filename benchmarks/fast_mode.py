"""``TEST.OAMN.FAST`` against the exact mode: time of describing the gallery, and accuracy, on the embedded data set.

    python benchmarks/fast_mode.py [--config-file logs/oamn/config.yaml --weights logs/oamn/model_final.pth]

By default with the network that ships with the package. ``--weights ""``: an untrained one, whose scores mean nothing.
Images are decoded before the clock runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from common import REPOSITORY, Row, finish, parser

PACKAGED = "packaged"
MODES = ("exact", "fast", "no unification")


def load_encoder(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The network with its input, and the query and gallery records of the first test set."""
    from fastreid.modeling.meta_arch import build_model

    from oamn_plugin.hosts.fastreid import data
    from oamn_plugin.hosts.fastreid.config import load_config
    from oamn_plugin.hosts.fastreid.inference import encoder_of, without_training
    from oamn_plugin.hosts.shared.weights import load_weights
    from oamn_plugin.retrieval.encoder import packaged_encoder

    opts = ["DATASETS.EMBEDDED.SIZE", arguments.embedded_size, "MODEL.DEVICE", arguments.device]
    opts += ["DATASETS.ROOT", arguments.root] if arguments.root else []
    cfg = without_training(load_config(arguments.config_file, opts))
    split = data.build_dataset(cfg, arguments.data_set or cfg.DATASETS.TESTS[0])
    if arguments.weights == PACKAGED:
        encoder = packaged_encoder()
        encoder.model.to(arguments.device)
        return encoder, split
    model = build_model(cfg)
    load_weights(model, arguments.weights)
    return encoder_of(cfg, model), split


def batches(encoder: Any, pixels: Any, size: int) -> Iterator[Any]:
    """Normalised batches of decoded images."""
    return (encoder.normalise(part) for part in pixels.split(size))


def run(encoder: Any, mode: str, pixels: tuple[Any, Any], labels: tuple[Any, ...], size: int) -> dict[str, Any]:
    """Scores in percent, the seconds that describing the gallery took, and the number of types."""
    from dataclasses import replace

    from oamn_plugin.retrieval import evaluate_ranking
    from oamn_plugin.retrieval.unification import unify

    options = replace(encoder.options, unify=encoder.options.unify and mode != MODES[2])
    clock = [0.0, 0.0]

    def gallery() -> Iterator[Any]:
        clock[0] = time.perf_counter()
        yield from batches(encoder, pixels[1], size)
        clock[1] = time.perf_counter()

    query = batches(encoder, pixels[0], size)
    found = unify(encoder.model, query, gallery(), options, black=encoder.black, fast=mode == "fast")
    with found.store:
        types = found.queries.type_names
        result = evaluate_ranking(found.queries.descriptors, found.gallery, *labels, query_types=types)
        return {**result.to_percent(), "seconds": clock[1] - clock[0], "types": len(set(types))}


def measure(arguments: argparse.Namespace) -> list[Row]:
    import numpy as np
    import torch

    encoder, split = load_encoder(arguments)
    sides = [list(part)[: arguments.limit or None] for part in (split.query, split.gallery)]
    pixels = tuple(torch.stack([encoder.read(item[0]) for item in side]) for side in sides)
    labels = tuple(np.array([item[field] for item in side]) for field in (1, 2) for side in sides)
    rounds = [
        {mode: run(encoder, mode, pixels, labels, arguments.batch) for mode in MODES} for _ in range(arguments.rounds)
    ]
    count = len(sides[1])
    print(f"{'mode':16} {'Rank-1':>8} {'mAP':>8} {'seconds per 1000 gallery images':>33}")
    for mode in MODES:
        seconds = 1000 * median(one[mode]["seconds"] for one in rounds) / count
        print(f"{mode:16} {rounds[0][mode]['Rank-1']:8.1f} {rounds[0][mode]['mAP']:8.1f} {seconds:33.2f}")
    speed = median(one["exact"]["seconds"] / one["fast"]["seconds"] for one in rounds)
    exact, fast = (rounds[0][mode] for mode in MODES[:2])
    change = ", ".join(f"{name} {exact[name]:.1f} to {fast[name]:.1f}" for name in ("Rank-1", "mAP"))
    what = f"TEST.OAMN.FAST, {exact['types']} types, {count} gallery images: speed over the exact mode, accuracy"
    trained = "" if arguments.weights else "; untrained network, scores mean nothing"
    return [Row(what, "stated", f"{speed:.2f} times; {change}{trained}")]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    command = parser(__doc__)
    default = REPOSITORY / "configs" / "embedded" / "oamn_small.yml"
    command.add_argument("--config-file", default=str(default), help="of the run that trained the weights")
    command.add_argument("--weights", default=PACKAGED, help="checkpoint, or the packaged network; empty: untrained")
    command.add_argument("--root", default="", help="folder of the data sets; empty: FASTREID_DATASETS")
    command.add_argument("--data-set", default="", help="empty: the configuration's first test set")
    command.add_argument("--embedded-size", default="demo", help="size of the generated data set")
    command.add_argument("--limit", type=int, default=0, help="queries and gallery images used; 0: all")
    command.add_argument("--batch", type=int, default=60)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--device", default="cpu")
    return command.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    arguments = parse(argv)
    return finish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
