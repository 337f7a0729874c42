"""What a search found in words: lines and a table for the terminal, and phrases that the page shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from oamn_plugin.errors import printable
from oamn_plugin.occlusion import NONE
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.index import Match
from oamn_plugin.search.results import SearchResult


def to_text(results: Sequence[SearchResult], shown: int = 10) -> str:
    """The results as tables for a terminal; ``shown`` matches a query."""
    return "\n\n".join(_text(result, shown) for result in results)


def describe_type(result: SearchResult) -> str:
    """The occlusion type in words.

    >>> from PIL import Image
    >>> from oamn_plugin.search.gallery import GalleryImage
    >>> query, picture, sides = GalleryImage("a.jpg"), Image.new("RGB", (4, 8)), {"left": 0.91, "top": 0.09}
    >>> describe_type(SearchResult(query, picture, "left_half", 0.91, sides, "left_half", [], []))
    'left half occluded, confidence 0.91'
    >>> describe_type(SearchResult(query, picture, "left_half", 0.83, {"left_half": 0.83}, "matched", [], []))
    'left half hidden, 0.83'
    """
    words = result.type_name.replace("_", " ")
    if not result.probabilities:
        return "compared as it is"
    if result.searched_as == "matched":
        return f"{'nothing' if result.type_name == NONE else words} hidden, {result.confidence:.2f}"
    if result.type_name == NONE:
        return f"not occluded (no side above the threshold, the largest has {result.confidence:.2f})"
    return f"{words} occluded, confidence {result.confidence:.2f}"


def describe_nobody(result: SearchResult) -> str:
    """That nobody in the gallery is near enough, in words; empty where somebody is, or no threshold is known."""
    if not result.nobody:
        return ""
    nearest = f"nearest distance {result.unified[0].distance:.4f}, " if result.unified else ""
    return f"nobody in this gallery: {nearest}{result.threshold}"


def explanation(match: Match) -> str:
    """What hides the query, as a match explains it, with its share; empty where types were not matched.

    >>> from oamn_plugin.search.gallery import GalleryImage
    >>> explanation(Match(GalleryImage("a.jpg"), 0.5, "left_half", {"none": 0.2, "left_half": 0.8}))
    'left half 0.80'
    """
    if not match.posterior:
        return ""
    words = "nothing" if match.type_name == NONE else match.type_name.replace("_", " ")
    return f"{words} {match.posterior[match.type_name]:.2f}"
