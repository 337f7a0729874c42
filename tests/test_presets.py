from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from oamn_plugin.presets import PRESETS, REMOVED_OPTIONS, Options, preset, without_removed


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
        assert (found.position_weight, found.mask_floor) == (0, 0)


def another_value(field: str, value: object) -> object:
    """A valid value of an option that is not this one."""
    if isinstance(value, str):
        return next(other for name in PRESETS if (other := getattr(preset(name), field)) != value)
    if isinstance(value, float):
        return 0.9 * value or 0.25
    return not value if isinstance(value, bool) else 1


@pytest.mark.parametrize("field", [field.name for field in fields(Options)])
@pytest.mark.parametrize("name", PRESETS)
def test_every_option_can_be_overridden_on_its_own(name: str, field: str) -> None:
    before = asdict(preset(name))
    value = another_value(field, before[field])
    assert value != before[field]
    assert asdict(preset(name, **{field: value})) == before | {field: value}


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
        ({"pooling": "median"}, "pooling must be one of max, avg, got 'median'"),
        ({"classifier": "arc"}, "classifier must be one of linear, circle"),
        ({"triplet_form": "hard"}, "triplet_form must be one of hinge, soft"),
        ({"axes": 3}, "axes must be one of 0, 1, 2"),
        ({"mask1_weight": -1.0}, "mask1_weight must not be negative"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\]"),
        ({"quarter_threshold": 0.8}, "0.25 <= quarter_threshold <= half_threshold"),
        ({"quarter_threshold": 0.2}, "0.25 <= quarter_threshold"),
        ({"patch_source": "middle"}, "patch_source must be one of corner, anywhere, native, got"),
        ({"unification": "hard"}, "unification must be one of none, typed, matched"),
    ],
)
def test_a_wrong_option_says_what_is_wrong(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preset("paper", **overrides)


@pytest.mark.parametrize(("name", "last"), REMOVED_OPTIONS.items())
def test_what_is_removed_is_left_out_only_where_it_says_nothing(name: str, last: object) -> None:
    assert without_removed({name: last, "axes": 1}) == without_removed({name: None, "axes": 1}) == {"axes": 1}
    with pytest.raises(ValueError, match=f"{name} has been removed: it is {last!r} now, got 'else'"):
        without_removed({name: "else"})


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of paper, official, plus"):
        preset("papers")
