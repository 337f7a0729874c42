"""The table of data sets."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from oamn_plugin.datasets.catalogue import CATALOGUE, Published, find_entry, load
from oamn_plugin.datasets.records import Record, Split


def test_the_counts_of_the_specification() -> None:
    entry = CATALOGUE["OccludedDuke"]
    assert [entry.train, entry.query, entry.gallery] == [
        Published(702, 15618),
        Published(519, 2210),
        Published(1110, 17661),
    ]
    assert CATALOGUE["PartialiLIDS"].query.images == 119


def test_a_set_trains_on_itself_exactly_if_it_publishes_training_images() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.trains_on == (name if entry.train else "Market1501")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("OccludedDuke", "OccludedDuke"),
        ("occluded_duke", "OccludedDuke"),
        ("Partial-REID_Dataset", "PartialREID"),
        ("Market1501/", "Market1501"),
    ],
)
def test_names_are_found_in_any_spelling(given: str, name: str) -> None:
    assert find_entry(given).name == name


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'OccludedREID'"):
        find_entry("OcludedREID")


def test_differences_name_the_part_and_the_figures() -> None:
    one = [Record("1.jpg", 1, 0)]
    found = CATALOGUE["PartialiLIDS"].differences(Split([], one, one * 119))
    assert "query: 1 images, published 119 (-118)" in found
    assert "gallery: 1 identities, published 119 (-118)" in found
    assert not any(text.startswith(("train", "gallery: 119 images")) for text in found)


def test_loading_warns_once_about_other_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("Probe", "Gallery"):
        (tmp_path / "Partial_iLIDS" / part).mkdir(parents=True)
        (tmp_path / "Partial_iLIDS" / part / "1.jpg").touch()
    with caplog.at_level(logging.WARNING):
        split = load("PartialiLIDS", tmp_path)
    assert len(split.query) == 1
    assert len(caplog.records) == 1
    assert "published 119" in caplog.text
