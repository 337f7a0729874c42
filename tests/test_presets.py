from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from oamn_plugin.presets import PRESETS, Options, preset


def differences(name: str) -> dict[str, object]:
    paper = asdict(preset("paper"))
    return {key: value for key, value in asdict(preset(name)).items() if value != paper[key]}


def test_paper_is_the_default_reading() -> None:
    assert preset() == preset("paper") == Options()


def test_the_released_code_differs_where_the_specification_says_and_nowhere_else() -> None:
    assert differences("official") == {
        "aligned_views": False,
        "mask2_over_half_only": False,
        "score_targets": "official",
        "gallery_features": "clean",
    }


def test_both_readings_share_the_published_weights() -> None:
    for name in ("paper", "official"):
        found = preset(name)
        weights = (found.identity_weight, found.triplet_weight, found.mask1_weight, found.mask2_weight)
        assert (*weights, found.score_weight) == (1, 0.5, 5, 5, 1)
        assert (found.position_weight, found.cross_weight, found.mask_floor) == (0, 0, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_option_can_be_overridden_on_its_own(name: str) -> None:
    for field in fields(Options):
        value = getattr(preset(name), field.name)
        assert preset(name, **{field.name: value}) == preset(name)
    assert preset(name, triplet_grouping="plain").triplet_grouping == "plain"


@pytest.mark.parametrize(("axes", "views"), [(1, 3), (2, 5)])
def test_views_follow_the_axes(axes: int, views: int) -> None:
    assert preset("paper", axes=axes).num_views == views


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        preset().axes = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"triplet_groupin": "plain"}, "Did you mean 'triplet_grouping'"),
        ({"pooling": "median"}, "pooling must be one of max, avg, gem, got 'median'"),
        ({"classifier": "arc"}, "classifier must be one of linear, circle"),
        ({"triplet_form": "hard"}, "triplet_form must be one of hinge, soft"),
        ({"circle_scale": 0.0}, "circle_scale must be above 0"),
        ({"circle_margin": 1.0}, r"circle_margin lie in \[0, 1\)"),
        ({"axes": 3}, "axes must be one of 0, 1, 2"),
        ({"mask1_weight": -1.0}, "mask1_weight must not be negative"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\]"),
        ({"quarter_threshold": 0.8}, "0.25 <= quarter_threshold <= half_threshold"),
        ({"quarter_threshold": 0.2}, "0.25 <= quarter_threshold"),
        ({"patch_source": "middle"}, "patch_source must be one of corner, anywhere, large, mixed"),
        ({"patch_shape": "round"}, "patch_shape must be one of strip, loose"),
        ({"mask_context": "none"}, "mask_context must be one of mean, all"),
        ({"unification": "hard"}, "unification must be one of none, typed, matched"),
        ({"mask_reduction": 0}, "mask_reduction must be at least 1"),
    ],
)
def test_a_wrong_option_says_what_is_wrong(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preset("paper", **overrides)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of paper, official, plus"):
        preset("papers")
