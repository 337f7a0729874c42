"""The walks of docs/architecture.md: short, and every stop is there in the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
WALKS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


def resolve(name: str) -> Any:
    """The object of a dotted name below the package."""
    words, found = name.split("."), importlib.import_module("oamn_plugin")
    for place, word in enumerate(words, start=1):
        if not hasattr(found, word):
            importlib.import_module(".".join(["oamn_plugin", *words[:place]]))
        found = getattr(found, word)
    return found


def test_the_walks_are_those_that_were_asked_for() -> None:
    assert list(WALKS) == ["A training batch", "A query", "A gallery image", "A search", "A suite"]


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_has_eight_stops_at_most_and_each_is_there(walk: str) -> None:
    stops = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z|\n\n)", WALKS[walk], re.MULTILINE | re.DOTALL)
    assert 1 < len(stops) <= 8
    for stop in stops:
        names = re.findall(r"`([a-z_]+(?:\.\w+)+)`", stop)
        names = [name for name in names if not name.endswith((".json", ".npz"))]
        assert names, stop
        assert all(callable(resolve(name)) for name in names)
