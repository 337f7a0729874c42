"""A search as a page: the query and what hides it, both rankings side by side, masks; and its rankings as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from oamn_plugin.datasets.images import BadImageError, read_image
from oamn_plugin.errors import printable
from oamn_plugin.occlusion import NONE, strip
from oamn_plugin.reporting.page import data_uri, templates
from oamn_plugin.reporting.pictures import Pixels, RankRow, mask_overlay
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.index import Match
from oamn_plugin.search.results import SearchResult, masks_of
from oamn_plugin.search.words import (
    describe_left_out,
    describe_model,
    describe_nobody,
    describe_type,
    explanation,
    share_of,
)

THUMBNAIL = (112, 224)
"""Width and height of the pictures in a page, twice what is shown: sharp on fine screens too."""
LEAST_SHARE = 0.01
"""Occlusion types below it get no bar."""


def render_search(
    results: Sequence[SearchResult], encoder: ImageEncoder, title: str, lead: str, scores: Sequence[str] = ()
) -> str:
    """The results as one HTML file that needs nothing else.

    Args:
        results: what was found.
        encoder: the model: its name, and its masks if it has any.
        title: heading.
        lead: first paragraph.
        scores: lines under it, such as Rank-1 where identities are known.
    """
    panels, model = [_panel(result, encoder) for result in results], describe_model(encoder)
    page = templates("oamn_plugin.search").get_template("search.html")
    return page.render(title=title, lead=printable(lead), scores=scores, panels=panels, model=model)


def render_fragment(results: Sequence[SearchResult], encoder: ImageEncoder) -> str:
    """The results alone, with their style, to be put into a page."""
    panels, model = [_panel(result, encoder) for result in results], describe_model(encoder)
    return templates("oamn_plugin.search").get_template("search_fragment.html").render(panels=panels, model=model)


def _panel(result: SearchResult, encoder: ImageEncoder) -> dict[str, Any]:
    """Everything that is shown of a query, as the template ``search_panel.html`` names it."""
    mask = _masked(result.picture, masks_of(encoder, [result.picture], [NONE])[0]) if encoder.has_scorer else ""
    query = {"image": _jpeg(result.picture), "mask": mask, "strip": "", "name": printable(result.query.name)}
    plain_ranks = {match.image.path: rank for rank, match in enumerate(result.plain, start=1)}
    unified_ranks = {match.image.path: rank for rank, match in enumerate(result.unified, start=1)}
    cards = _cards(result, result.plain, {} if result.is_plain else unified_ranks, "unified", encoder)
    rankings = [{"title": "Plain", "note": "nothing is covered", "cards": cards}]
    if not result.is_plain:
        cards = _cards(result, result.unified, plain_ranks, "plain", encoder)
        rankings.insert(0, {"title": "Unified", "note": _covered(result), "cards": cards})
    bars = [
        ("nothing" if name == NONE else name.replace("_", " "), share)
        for name, share in result.probabilities.items()
        if share >= LEAST_SHARE or result.judge == "scorer"
    ]
    return {
        "query": query,
        "words": describe_type(result),
        "nobody": describe_nobody(result),
        "left_out": describe_left_out(result),
        "judged": result.judge,
        "bars": bars,
        "rankings": rankings,
    }


def _covered(result: SearchResult) -> str:
    """What was covered in the unified ranking."""
    if result.searched_as == NONE:
        return "nothing is covered"
    if result.searched_as == "matched":
        return "every gallery image compared with each part covered; the best fit is shown where it stands out"
    return f"gallery images compared with the {result.searched_as.replace('_', ' ')} covered"


def _cards(
    result: SearchResult, matches: list[Match], other: dict[str, int], word: str, encoder: ImageEncoder
) -> list[dict[str, Any]]:
    """The matches of a ranking, as the template ``search_panel.html`` names what it shows of each."""
    pictures = [_read(match.image.path) for match in matches]
    there = [(picture, match) for picture, match in zip(pictures, matches, strict=True) if picture is not None]
    masks = iter(
        masks_of(encoder, [picture for picture, _ in there], [match.shown_type for _, match in there])
        if encoder.has_scorer
        else ()
    )
    cards = []
    for picture, match in zip(pictures, matches, strict=True):
        image = match.image
        mask = next(masks) if picture and encoder.has_scorer else None
        known = [f"person {image.pid}" * bool(image.pid), f"camera {image.camid}" * bool(image.camid)]
        place = f"{word} rank {other[image.path]}" if image.path in other else f"{word}: not among these" * bool(other)
        extra = (f"{key}: {value}" for key, value in image.extra.items())
        hidden = f"best fit covers: {explanation(match)}" if match.posterior else ""
        lines = (hidden, " · ".join(filter(None, known)), *extra, place)
        cards.append({
            "image": _jpeg(picture) if picture else "",
            "mask": "" if picture is None or mask is None else _masked(picture, mask),
            "strip": _strip_style(match.shown_type),
            "name": printable(image.name),
            "lines": [printable(line) for line in lines if line],
            "share": share_of(match),
            "distance": f"{match.distance:.3f}",
            "hit": result.is_hit(match),
        })  # fmt: skip
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
    small = picture.convert("RGB").resize(THUMBNAIL, Image.Resampling.LANCZOS)
    small.info.clear()  # a comment of the file would be written again, and a long one does not fit
    small.save(out, "JPEG", quality=88)
    return data_uri(out.getvalue())


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
        hits = [result.is_hit(match) for match in matches]
        # distance and, where it was matched, the share of the type that explains it
        captions = [f"{match.distance:.2f} ({share_of(match)})".removesuffix(" ()") for match in matches]
        rows.append(RankRow(np.asarray(result.picture), images, hits, title, captions))
    return rows


def _hatched(pixels: Pixels, type_name: str) -> Pixels:
    """The pixels with the strip of a type hatched dark, as the page shows what a match was compared under."""
    top, left, height, width = strip(type_name, *pixels.shape[:2])
    rows, columns = np.indices((height, width))
    light = (rows + columns) // max(2, pixels.shape[1] // 16) % 2
    pixels[top : top + height, left : left + width] = np.where(light[..., None], (58, 66, 72), (26, 32, 36))
    return pixels
