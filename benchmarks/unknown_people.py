"""False matches of people who are not in the gallery, at the thresholds of `search calibrate`, on Partial-REID.

    python benchmarks/unknown_people.py PARTIAL_REID_FOLDER [--rates 0.05 0.1 0.2] [model arguments]

Each third of the people in turn is taken out of the gallery. The threshold is calibrated with queries of the people who
are left, each left out of the gallery for its own queries; it is tested with the queries of those who were taken out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch

from oamn_plugin.datasets.images import read_image
from oamn_plugin.hosts.encoder import add_model_arguments, model_of
from oamn_plugin.search.calibration import calibrate
from oamn_plugin.search.encoder import ImageEncoder, in_batches
from oamn_plugin.search.gallery import GalleryImage, read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.words import describe_model

PATTERN = r"(?:^|/)(?P<pid>\d+)_\d+\.[^/]*$"
THIRDS = 3


def nearest(index: GalleryIndex, encoder: ImageEncoder, queries: list[GalleryImage]) -> list[float]:
    found: list[float] = []
    for part in in_batches(queries):
        pixels = torch.stack([encoder.prepare(read_image(query.path)) for query in part])
        found += [matches[0].distance for matches in index.search(encoder.queries([pixels]), 1)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with whole_body_images, occluded_body_images, partial_body_images")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2], help="false-match rates asked for")
    kinds = ("occluded", "partial")
    parser.add_argument("--queries", nargs="+", choices=kinds, default=kinds, help="default: both")
    add_model_arguments(parser)
    args = parser.parse_args()
    encoder = model_of(args)
    print(describe_model(encoder))
    print("| queries | asked for | false matches | thirds | known people turned away |")
    print("|---|---|---|---|---|")
    gallery = read_gallery(args.folder / "whole_body_images", PATTERN)
    people = sorted({image.pid for image in gallery})
    with tempfile.TemporaryDirectory() as place:
        GalleryIndex(Path(place) / "all", encoder).add(gallery)
        for kind in args.queries:
            queries = read_gallery(args.folder / f"{kind}_body_images", PATTERN)
            shares: dict[float, list[float]] = {rate: [] for rate in args.rates}
            turned: dict[float, list[float]] = {rate: [] for rate in args.rates}
            for third in range(THIRDS):
                out = set(people[third::THIRDS])
                folder = Path(place) / f"{kind}-{third}"
                shutil.copytree(Path(place) / "all", folder)
                index = GalleryIndex(folder, encoder)
                index.remove([image.path for image in gallery if image.pid in out])
                distances = nearest(index, encoder, [query for query in queries if query.pid in out])
                for rate in args.rates:
                    threshold = calibrate(index, encoder, [q for q in queries if q.pid not in out], rate)
                    shares[rate].append(sum(value <= threshold.distance for value in distances) / len(distances))
                    turned[rate].append(threshold.turned_away or 0.0)
            for rate in args.rates:
                single = ", ".join(f"{100 * share:.1f}" for share in shares[rate])
                mean, away = (100 * sum(values[rate]) / THIRDS for values in (shares, turned))
                print(f"| {kind} | {100 * rate:g} % | {mean:.1f} % | {single} | {away:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
