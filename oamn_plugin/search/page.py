"""A search as a page: the query with what the network made of it, unified and plain ranking side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from oamn_plugin.datasets.images import BadImageError, read_image
from oamn_plugin.occlusion import NONE, SIDES, strip
from oamn_plugin.reporting.page import data_uri, templates
from oamn_plugin.reporting.pictures import mask_overlay
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.index import Match
from oamn_plugin.search.results import SearchResult, describe_type, masks_of

THUMBNAIL = (112, 224)
"""Width and height of the pictures in a page, twice what is shown: sharp on fine screens too."""


@dataclass(frozen=True)
class ImageCard:
    """A picture with its mask and the words under it, as the template shows it."""

    image: str
    mask: str
    strip: str
    name: str
    lines: tuple[str, ...]
    distance: str = ""
    hit: bool | None = None
    missing: bool = False


@dataclass(frozen=True)
class Ranking:
    """One of the two rankings of a query."""

    title: str
    note: str
    cards: list[ImageCard]


@dataclass(frozen=True)
class Panel:
    """Everything that is shown of a query."""

    query: ImageCard
    words: str
    sides: list[tuple[str, float]]
    rankings: list[Ranking]


def render_search(
    results: Sequence[SearchResult], encoder: ImageEncoder, title: str, lead: str, scores: Sequence[str] = ()
) -> str:
    """The results as one HTML file that needs nothing else.

    Args:
        results: what was found.
        encoder: the model, for the masks.
        title: heading.
        lead: first paragraph.
        scores: lines under it, such as Rank-1 where identities are known.
    """
    panels = [_panel(result, encoder) for result in results]
    page = templates("oamn_plugin.search").get_template("search.html")
    return page.render(title=title, lead=lead, scores=scores, panels=panels)


def render_fragment(results: Sequence[SearchResult], encoder: ImageEncoder) -> str:
    """The results alone, with their style, to be put into a page."""
    panels = [_panel(result, encoder) for result in results]
    return templates("oamn_plugin.search").get_template("search_fragment.html").render(panels=panels)


def _panel(result: SearchResult, encoder: ImageEncoder) -> Panel:
    mask = masks_of(encoder, [result.picture], [NONE])[0]
    uncovered = "the network's input, as it is" if result.type_name == NONE else "the occluder stays as it is"
    query = ImageCard(_jpeg(result.picture), _masked(result.picture, mask), "", result.query.name, (uncovered,))
    plain_ranks = {match.image.path: rank for rank, match in enumerate(result.plain, start=1)}
    unified_ranks = {match.image.path: rank for rank, match in enumerate(result.unified, start=1)}
    rankings = [
        Ranking("Unified", _covered(result), _cards(result, result.unified, plain_ranks, "plain", encoder)),
        Ranking(
            "Plain",
            "the same gallery, nothing covered",
            _cards(result, result.plain, unified_ranks, "unified", encoder),
        ),
    ]
    sides = list(zip(SIDES, result.probabilities, strict=True))
    return Panel(query, describe_type(result), sides, rankings)


def _covered(result: SearchResult) -> str:
    """What was covered in the unified ranking."""
    if result.searched_as == NONE:
        return "nothing is covered"
    if result.searched_as == "matched":
        return "every gallery image occluded in the way that brings it closest to the query"
    return f"gallery images compared with the {result.searched_as.replace('_', ' ')} covered"


def _cards(
    result: SearchResult, matches: list[Match], other: dict[str, int], word: str, encoder: ImageEncoder
) -> list[ImageCard]:
    pictures = [_read(match.image.path) for match in matches]
    there = [(picture, match) for picture, match in zip(pictures, matches, strict=True) if picture is not None]
    masks = iter(masks_of(encoder, [picture for picture, _ in there], [match.type_name for _, match in there]))
    cards = []
    for picture, match in zip(pictures, matches, strict=True):
        image = match.image
        known = [f"person {image.pid}" * bool(image.pid), f"camera {image.camid}" * bool(image.camid)]
        place = f"{word} rank {other[image.path]}" if image.path in other else f"{word}: not among these"
        lines = (" · ".join(filter(None, known)), *(f"{key}: {value}" for key, value in image.extra.items()), place)
        cards.append(
            ImageCard(
                _jpeg(picture) if picture else "",
                _masked(picture, next(masks)) if picture else "",
                _strip_style(match.type_name),
                image.name,
                tuple(filter(None, lines)),
                f"{match.distance:.3f}",
                result.is_hit(match),
                picture is None,
            )
        )
    return cards


def _strip_style(type_name: str) -> str:
    """Place of a type's strip in percent of the picture, as CSS; empty for none."""
    if type_name == NONE:
        return ""
    top, left, height, width = strip(type_name, 100, 100)
    return f"left:{left}%;top:{top}%;width:{width}%;height:{height}%"


def _read(path: str) -> Image.Image | None:
    try:
        return read_image(path)
    except BadImageError:  # moved since the index was built: the match stands, without its picture
        return None


def _masked(picture: Image.Image, mask: np.ndarray) -> str:
    return _jpeg(Image.fromarray(mask_overlay(np.asarray(picture.resize(THUMBNAIL)), mask)))


def _jpeg(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.convert("RGB").resize(THUMBNAIL, Image.Resampling.LANCZOS).save(out, "JPEG", quality=88)
    return data_uri(out.getvalue())
