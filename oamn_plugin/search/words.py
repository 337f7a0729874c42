"""What a search found in words: lines and a table for the terminal, and phrases that the page shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from oamn_plugin.errors import printable
from oamn_plugin.occlusion import NONE
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.index import Match
from oamn_plugin.search.nearest import is_decided
from oamn_plugin.search.results import SearchResult


def to_text(results: Sequence[SearchResult]) -> str:
    """The results as tables for a terminal."""
    return "\n\n".join(map(_text, results))


def describe_type(result: SearchResult) -> str:
    """The occlusion type in words.

    >>> from PIL import Image
    >>> from oamn_plugin.search.gallery import GalleryImage
    >>> query, picture, sides = GalleryImage("a.jpg"), Image.new("RGB", (4, 8)), {"left": 0.91, "top": 0.09}
    >>> describe_type(SearchResult(query, picture, "left_half", 0.91, sides, "left_half", [], []))
    'left half occluded, confidence 0.91'
    >>> shares = {"left_half": 0.83, "none": 0.1, "top_half": 0.07}
    >>> describe_type(SearchResult(query, picture, "left_half", 0.83, shares, "matched", [], []))
    'left half hidden (83 % by the nearest matches)'
    """
    words = "nothing" if result.type_name == NONE else result.type_name.replace("_", " ")
    if not result.probabilities:
        return "compared as it is"
    if result.searched_as == "matched":
        if result.judge != "scorer" and not is_decided(result.confidence, len(result.probabilities)):
            return f"what is hidden is undecided ({words}: {100 * result.confidence:.0f} % by the {result.judge})"
        share = f"{100 * result.confidence:.0f} %"
        if result.judge == "scorer" and result.type_name == NONE:
            return f"nothing hidden (no side above the scorer's threshold, the largest has {share})"
        return f"{words} hidden ({share} by the {result.judge})"
    if result.type_name == NONE:
        return f"not occluded (no side above the threshold, the largest has {result.confidence:.2f})"
    return f"{words} occluded, confidence {result.confidence:.2f}"


def describe_nobody(result: SearchResult) -> str:
    """That nobody in the gallery is near enough, in words; empty where somebody is, or no threshold is known."""
    if not result.nobody:
        return ""
    nearest = f"nearest distance {result.unified[0].distance:.4f}, " if result.unified else ""
    return f"nobody in this gallery: {nearest}{result.threshold}"


def describe_left_out(result: SearchResult) -> str:
    """What was left out of a search for other cameras, in words; empty where nothing had to be.

    >>> from PIL import Image
    >>> from oamn_plugin.search.gallery import GalleryImage
    >>> found = GalleryImage("a.jpg"), Image.new("RGB", (4, 8)), "none", 0.0, {}, "none", [], []
    >>> describe_left_out(SearchResult(*found, left_out=2))
    'left out: 2 gallery images of this person in this camera'
    """
    if result.left_out is None:
        return ""
    many = "" if result.left_out == 1 else "s"
    return f"left out: {result.left_out} gallery image{many} of this person in this camera"


def describe_model(encoder: ImageEncoder) -> str:
    """The model and its unification in words."""
    how = encoder.unification
    words = {"none": "plain matching", "typed": "unified by the scorer's type"}.get(how.kind, "")
    if how.kind == "matched":
        place = "features" if how.place == "features" else f"image in {how.fill} colour"
        words = f"matched over {how.types} types, strips on the {place}, temperature {how.temperature:g}, "
        words += f"prior of none {how.none_prior:g}"
    return f"{printable(encoder.name) or type(encoder.model).__name__}; {words}"


def _text(result: SearchResult) -> str:
    known = any(result.is_hit(match) is not None for match in result.unified)
    cameras = any(match.image.camid for match in result.unified)
    explained = any(match.posterior for match in result.unified)
    plain = {match.image.path: rank for rank, match in enumerate(result.plain, start=1)}
    rows = []
    for rank, match in enumerate(result.unified, start=1):
        row: list[Any] = [rank, match.image.name, f"{match.distance:.4f}"]
        row += [] if result.is_plain else [plain.get(match.image.path, f"> {len(plain)}")]
        row += [explanation(match)] if explained else []
        row += [match.image.camid] if cameras else []
        row += [{True: "yes", False: "", None: "?"}[result.is_hit(match)]] if known else []
        rows.append([printable(str(cell)) for cell in (*row, *match.image.extra.values())])
    extra = [printable(name) for name in result.unified[0].image.extra] if result.unified else []
    columns = [
        *(["plain rank"] * (not result.is_plain)),
        *(["best fit covers"] * explained),
        *(["camera"] * cameras),
        *(["same person"] * known),
        *extra,
    ]
    table = tabulate(rows, headers=["rank", "image", "distance", *columns], disable_numparse=True)
    heading = f"{printable(result.query.path)}: {describe_type(result)}"
    return "\n".join(filter(None, (heading, describe_nobody(result), describe_left_out(result), table)))


def explanation(match: Match) -> str:
    """What hides the query, as a match explains it, with its share; empty where types were not matched.

    >>> from oamn_plugin.search.gallery import GalleryImage
    >>> explanation(Match(GalleryImage("a.jpg"), 0.5, "left_half", {"none": 0.1, "left_half": 0.8, "top_half": 0.1}))
    'left half 80 %'
    >>> explanation(Match(GalleryImage("a.jpg"), 0.5, "left_half", {"none": 0.3, "left_half": 0.35, "top_half": 0.35}))
    'undecided'
    """
    if not match.posterior:
        return ""
    if not match.decided:
        return "undecided"
    words = "nothing" if match.type_name == NONE else match.type_name.replace("_", " ")
    return f"{words} {share_of(match)}"


def share_of(match: Match) -> str:
    """The share of the type that explains a match; empty where types were not matched, or none is decided."""
    return f"{100 * match.posterior[match.type_name]:.0f} %" if match.posterior and match.decided else ""
