"""What is said of a network file's input: wrong values are answered with the valid ones."""

from __future__ import annotations

import json

import pytest

from oamn_plugin.search.network_file import NetworkFileError, read_input_card

CARD = {"input_size": [256, 128], "pixel_mean": [0, 0, 0], "pixel_std": [1, 1, 1]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resample": ["bilinear"]}, r"resample one of bilinear, bicubic, got .*\['bilinear'\]"),  # unhashable type
        ({"resample": {}}, "resample one of bilinear, bicubic, got"),
        ({"resample": "cubic"}, "resample one of bilinear, bicubic, got"),
        ({"order": ["RGB"]}, "order must be RGB or BGR"),
        ({"order": None}, "order must be RGB or BGR"),
        ({"input_size": [256]}, "input_size must be two numbers"),
        ({"size": 1}, "no card of the keys input_size, pixel_mean"),
    ],
)
def test_wrong_values_of_a_card(tmp_path, wrong, message):
    (tmp_path / "card.json").write_text(json.dumps({**CARD, **wrong}))
    with pytest.raises(NetworkFileError, match=message):
        read_input_card(tmp_path / "card.json")


def test_a_card_that_says_what_must_be_said(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    assert read_input_card(tmp_path / "card.json").order == "RGB"
