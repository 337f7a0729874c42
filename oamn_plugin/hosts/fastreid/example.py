"""The picture that a report opens with: one query of a run and its two rank lists, matched and plain."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from oamn_plugin.hosts.encoder import load_model
from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.data import build_dataset
from oamn_plugin.reporting.page import Picture
from oamn_plugin.reporting.pictures import png, rank_lists
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index import GalleryIndex, Match
from oamn_plugin.search.page import rank_rows
from oamn_plugin.search.results import SearchResult, read_pictures, search

SHOWN, HEIGHT = 8, 160


def rank_list_picture(run: Path, data_set: str) -> Picture:
    """Rank lists of that query of a data set which gains most from unification in its first matches.

    Args:
        run: folder of a training, with ``config.yaml`` and ``model_final.pth``.
        data_set: name of a registered data set.

    Raises:
        ExpectedError, OSError, RuntimeError: the run or the data set cannot be read.
    """
    config = str(run / "config.yaml")
    split = build_dataset(load_config(config), data_set)
    encoder = load_model(config, str(run / "model_final.pth"))
    queries, pictures, _ = read_pictures(_images(split.query))
    with tempfile.TemporaryDirectory() as folder:
        index = GalleryIndex(Path(folder) / "index", encoder)
        index.add(_images(split.gallery))
        results, _ = search(index, encoder, queries, pictures, SHOWN, other_cameras=True)
        chosen = max(results, key=_gain)  # the first of equals
        sheet = rank_lists(rank_rows(chosen, HEIGHT), HEIGHT)
    found = [_hits(chosen, matches) for matches in (chosen.unified, chosen.plain)]
    caption = (
        f"Of {len(results)} queries, the one that gains most: {found[0]} of the {SHOWN} nearest images show its person "
        f"above, {found[1]} in plain matching below. Green: the person; red with a bar: somebody else. Hatched: the "
        "strip that was blanked in the comparison. Below each image: its distance and, if matched, the strip's share."
    )
    return Picture("ranks", "An occluded query and its two rank lists", png(sheet), caption=caption)


def _images(records: Iterable[Sequence[Any]]) -> list[GalleryImage]:
    return [GalleryImage(str(path), str(pid), str(camid)) for path, pid, camid in records]


def _gain(result: SearchResult) -> tuple[int, int]:
    """How many more hits there are with unification, and whether the nearest is one there."""
    return _hits(result, result.unified) - _hits(result, result.plain), _hits(result, result.unified[:1])


def _hits(result: SearchResult, matches: Sequence[Match]) -> int:
    return sum(bool(result.is_hit(match)) for match in matches)
