"""Scores any model on published data sets: the packaged one, a checkpoint with its configuration, or a network file.

oamn test --on PartialREIDOccluded PartialREID --root ~/datasets
oamn test --on Market1501 --weights model.onnx --unification none matched
oamn test --on PartialiLIDS --config-file Market1501/SBS_R50 --weights model_final.pth

The packaged model and network files need no toolbox. Scores are written to OUTPUT/KIND/results.json, those of every
query to OUTPUT/KIND/per_query, where KIND is the unification.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.environment import default_root
from oamn_plugin.hosts.encoder import add_model_arguments, model_of

if TYPE_CHECKING:
    from torch import Tensor

    from oamn_plugin.datasets.records import Split
    from oamn_plugin.hosts.shared.evaluation import Batch, ImageSet
    from oamn_plugin.search.encoder import ImageEncoder

TEST_BATCH = 64
READERS = 2


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    sets = "names of `oamn data list`; OccludedPedestrians or OccludedPedestriansHolistic: generated"
    parser.add_argument("--on", nargs="+", required=True, metavar="SET", help=sets)
    parser.add_argument("--root", default=default_root(), help="folder of the data sets")
    parser.add_argument("--size", default="demo", help="of the generated set: tiny, demo (default) or benchmark")
    parser.add_argument("--output", type=Path, default=Path("logs/test"), metavar="DIR", help="default logs/test")
    add_model_arguments(parser, several=True)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Evaluates every kind of unification on every data set."""
    args = build_parser().parse_args(argv)
    from oamn_plugin import weights
    from oamn_plugin.datasets import catalogue
    from oamn_plugin.datasets.embedded import HOLISTIC, load_embedded
    from oamn_plugin.hosts.shared.evaluation import EvaluationSettings, evaluate
    from oamn_plugin.hosts.shared.galleries import sharing_galleries
    from oamn_plugin.hosts.shared.preflight import loaded, refuse
    from oamn_plugin.hosts.shared.results import results_table, write_per_query, write_results
    from oamn_plugin.search.words import describe_model

    def load(name: str) -> Split:
        if name in HOLISTIC:
            return load_embedded(args.root, args.size, holistic=HOLISTIC[name])
        return catalogue.load(name, args.root)

    splits, missing = loaded(load, args.on)
    refuse(([] if args.weights in weights.catalogue() else weights.missing_weights(args.weights)) + missing)
    for kind in args.unification or [None]:
        args.unification = kind
        encoder = model_of(args)
        settings = EvaluationSettings(encoder.unification, encoder.colour)
        output, results = args.output / encoder.unification.kind, {}
        with sharing_galleries():
            for name, split in splits.items():
                sides = image_set(encoder, split.query, name), image_set(encoder, split.gallery, name)
                found = evaluate(encoder.model, *sides, settings)
                results[name] = found.scores
                write_per_query(output, name, found)
        note = {"model": encoder.name, "unification": vars(encoder.unification)}
        write_results(output, results, note)
        print(f"{describe_model(encoder)}\n{results_table(results)}\nWritten to {output}/results.json\n")
    return 0


def image_set(encoder: ImageEncoder, records: Any, name: str) -> ImageSet:
    """Records as batches that the encoder's network takes, read by threads; images that cannot be read are left out."""
    import torch
    from tqdm import tqdm

    from oamn_plugin.datasets.images import BadImageError
    from oamn_plugin.hosts.shared.evaluation import Batch, ImageSet

    def read(place: int) -> Tensor | str:
        try:
            return encoder.read(records[place].path)
        except BadImageError as error:
            return str(error)

    def load(start: int, stop: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(READERS) as pool:
            for first in tqdm(
                range(start, stop, TEST_BATCH), desc=name, leave=False, disable=stop - start < 4 * TEST_BATCH
            ):
                places = range(first, min(first + TEST_BATCH, stop))
                found = dict(zip(places, pool.map(read, places), strict=True))
                pixels = {place: one for place, one in found.items() if not isinstance(one, str)}
                images = encoder.normalise(torch.stack([*pixels.values()])) if pixels else None
                yield Batch([*pixels], images, [one for one in found.values() if isinstance(one, str)])

    return ImageSet(records, load, TEST_BATCH)
