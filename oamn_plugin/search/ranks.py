"""Rank lists of a search as rows of a picture: matched or unified above, plain below."""

from __future__ import annotations

import numpy as np

from oamn_plugin.datasets.images import read_image
from oamn_plugin.occlusion import strip
from oamn_plugin.reporting.pictures import Pixels, RankRow
from oamn_plugin.search.index import Match
from oamn_plugin.search.results import SearchResult
from oamn_plugin.search.words import share_of


def rank_rows(result: SearchResult, height: int, plain: bool = False) -> list[RankRow]:
    """The rankings of one query for :func:`oamn_plugin.reporting.pictures.rank_lists`.

    Args:
        result: the query and its matches.
        height: of the pictures, in pixels.
        plain: the plain ranking alone.

    Returns:
        The unified ranking, each match with its strip hatched, and the plain one: alone where nothing is unified.
    """
    kinds = {result.searched_as.replace("_", " "): result.unified, "plain": result.plain}
    rows = []
    for title, matches in list(kinds.items())[int(plain or result.is_plain) :]:
        shown = [read_image(match.image.path).resize((height // 2, height)) for match in matches]
        images = [_hatched(np.array(one), match.shown_type) for one, match in zip(shown, matches, strict=True)]
        hits, captions = [result.is_hit(match) for match in matches], [_caption(match) for match in matches]
        rows.append(RankRow(np.asarray(result.picture), images, hits, title, captions))
    return rows


def _hatched(pixels: Pixels, type_name: str) -> Pixels:
    """The pixels with the strip of a type hatched dark, as the page shows what a match was compared under."""
    top, left, height, width = strip(type_name, *pixels.shape[:2])
    rows, columns = np.indices((height, width))
    light = (rows + columns) // max(2, pixels.shape[1] // 16) % 2
    pixels[top : top + height, left : left + width] = np.where(light[..., None], (58, 66, 72), (26, 32, 36))
    return pixels


def _caption(match: Match) -> str:
    """Distance of a match and, where it was matched, the share of the type that explains it."""
    share = share_of(match)
    return f"{match.distance:.2f} ({share})" if share else f"{match.distance:.2f}"
