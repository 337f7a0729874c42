"""The readings of the method: one frozen set of options, and the three presets that fill it.

``paper`` is what the publication states, ``official`` what the authors' released training code computes, ``plus`` the
variant that is allowed to be better. Every difference between them is one field here, so that each can be overridden on
its own. Plain Python: no torch, no configuration object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from oamn_plugin.errors import did_you_mean

PRESETS = ("paper", "official", "plus")
UNIFICATIONS = ("none", "typed", "matched")
"""How a gallery is unified with a query: not at all, as the scorer says of the query, or as the match says."""
PATCH_SOURCES = ("corner", "anywhere", "native")
REMOVED_OPTIONS: dict[str, Any] = {
    "mask_reduction": 8,
    "mask_context": "mean",
    "circle_scale": 64.0,
    "circle_margin": 0.35,
    "patch_shape": "strip",
    "cross_weight": 0.0,
    "mask_warmup": 0,
    "unify": True,
    "plain_share": 0.0,
    "weight_temperature": 0.5,
}
"""Options of earlier versions, and the value that each has for good: what an older file may still say."""


@dataclass(frozen=True)
class Options:
    """Every choice that the method leaves open; the defaults are the ``paper`` preset.

    Source of the values: OAMN (ICCV 2021) where it states one, the released code elsewhere.
    """

    # network
    mask_module: bool = True
    """False drops the mask module: every mask is 1 and the mask and score losses vanish."""
    mask_floor: float = 0.0
    """g = f * (mask_floor + m). 0 in the method; above 0 a young mask cannot starve the layers above it."""
    wide_mask: bool = False
    """True: a mask module that can learn on few positions: 8 channels or more everywhere, leaky hidden units, a bias
    that begins at the share of the image that is visible. False: the published one."""
    scorer_reads_mask: bool = False
    """True: the scorer reads the mask's values beside the masked features. False in the method."""
    pooling: str = "max"
    """Global pooling after E2: ``max`` (the method) or ``avg``."""
    head: str = "dropout"
    """``dropout``: BN (affine, bias), ReLU, Dropout, Linear with bias. ``bnneck``: BN without bias, Linear without."""
    dropout: float = 0.5
    """Dropout probability of the ``dropout`` head."""
    classifier: str = "linear"
    """``linear`` (the method), or ``circle``: cosines under the circle loss (Sun et al., CVPR 2020)."""
    # views
    aligned_views: bool = True
    """True: flip, crop, rotation are drawn once per image and shared by its views. False: drawn per view (official)."""
    axes: int = 2
    """2: clean and all four sides (5 views). 1: clean and one opposing pair, drawn per image (3 views). 0: one view an
    image, clean or occluded at one side; mask losses 1 and 2, which compare views, then vanish."""
    occluded_share: float = 0.5
    """With ``axes`` 0: how often an image is occluded."""
    black_share: float = 0.0
    """How often the strip is black, as unification makes it at test time, instead of a donor's patch."""
    patch_source: str = "corner"
    """Where the donor's patch is cropped: ``corner`` (background), ``anywhere`` (people and objects too) or, with
    ``axes`` 0, ``native`` (anywhere, at the strip's own size, so that half of the strips are as sharp as the image)."""
    cut_share: float = 0.0
    """With ``axes`` 0: how often the strip of an occluded image is cut away and the rest stretched over the whole
    image, as in a detector's box of a partly visible person. It then counts as ``none``: nothing is covered."""
    # losses
    identity_weight: float = 1.0
    triplet_weight: float = 0.5
    mask1_weight: float = 5.0
    mask2_weight: float = 5.0
    score_weight: float = 1.0
    position_weight: float = 0.0
    """Weight of the position-wise loss that teaches the mask where the pasted strip lies; 0 in the method."""
    triplet_margin: float = 0.5
    triplet_grouping: str = "grouped"
    """``grouped``: anchor, positive and negative share their group. ``plain``: any view may meet any other."""
    triplet_form: str = "hinge"
    """``hinge``: max(0, difference + margin), the method. ``soft``: log(1 + exp(difference)), no margin."""
    label_smoothing: float = 0.0
    mask2_over_half_only: bool = True
    """True: mask loss 2 is a mean over the images with area half. False: over all, quarter ones counting as zeros."""
    score_targets: str = "paper"
    """``paper``: all four softmax outputs, quarter = 0.5. ``official``: own side only, left/right quarter = 0."""
    # test
    unification: str = "typed"
    """What ``TEST.UNIFICATION`` is where it is left empty: ``typed``, the method, ``matched`` or ``none``."""
    gallery_features: str = "occluded"
    """``occluded``: desc(f_t * m_t). ``clean``: desc(f_clean * m_t), as in the released code."""
    quarter_threshold: float = 0.5
    """Scorer confidence above which a query counts as occluded over a quarter."""
    half_threshold: float = 0.75
    """Scorer confidence above which a query counts as occluded over a half."""
    score_temperature: float = 0.0
    """Temperature of the scorer's softmax, fitted with the thresholds on held-out people (``oamn held-out
    --calibrate``); a search then tells what hides a query by the scorer. 0: not fitted, as published."""

    def __post_init__(self) -> None:
        _check_choice("pooling", self.pooling, ("max", "avg"))
        _check_choice("head", self.head, ("dropout", "bnneck"))
        _check_choice("classifier", self.classifier, ("linear", "circle"))
        _check_choice("triplet_form", self.triplet_form, ("hinge", "soft"))
        _check_choice("patch_source", self.patch_source, PATCH_SOURCES)
        _check_choice("unification", self.unification, UNIFICATIONS)
        _check_choice("triplet_grouping", self.triplet_grouping, ("grouped", "plain"))
        _check_choice("score_targets", self.score_targets, ("paper", "official"))
        _check_choice("gallery_features", self.gallery_features, ("occluded", "clean"))
        _check_choice("axes", self.axes, (0, 1, 2))
        if self.axes and self.patch_source == "native":
            raise ValueError("patch_source native is for one view an image: axes must be 0")
        for name in (f.name for f in fields(self) if f.name.endswith(("_weight", "_temperature"))):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        shares = ("dropout", "label_smoothing", "occluded_share", "black_share", "cut_share")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0.25 <= self.quarter_threshold <= self.half_threshold <= 1:
            raise ValueError(
                "thresholds must satisfy 0.25 <= quarter_threshold <= half_threshold <= 1 (a softmax of four is "
                f"never below 0.25), got {self.quarter_threshold} and {self.half_threshold}"
            )

    @property
    def num_views(self) -> int:
        """Views per image in training: 5 with both axes, 3 with one, 1 with none."""
        return 1 + 2 * self.axes


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


_OVERRIDES: dict[str, dict[str, Any]] = {
    "paper": {},
    "official": {
        "aligned_views": False,
        "mask2_over_half_only": False,
        "score_targets": "official",
        "gallery_features": "clean",
    },
    "plus": {
        "axes": 0,
        "cut_share": 0.2,
        "mask_floor": 0.5,
        "patch_source": "anywhere",
        "black_share": 0.3,
        "scorer_reads_mask": True,
        "pooling": "avg",
        "head": "bnneck",
        "triplet_weight": 1.0,
        "triplet_margin": 0.3,
        "triplet_grouping": "plain",
        "triplet_form": "soft",
        "classifier": "circle",
        "label_smoothing": 0.1,
        "position_weight": 1.0,
        "unification": "matched",
    },
}


def preset(name: str = "paper", **overrides: Any) -> Options:
    """The options of a reading of the method, single ones replaced.

    Args:
        name: ``paper``, ``official`` or ``plus``.
        **overrides: fields of :class:`Options`.

    Raises:
        ValueError: unknown preset, unknown option (the nearest valid one is named) or a value out of range.

    >>> preset("official").gallery_features
    'clean'
    >>> preset("paper", triplet_grouping="plain").triplet_grouping
    'plain'
    """
    if name not in _OVERRIDES:
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    known = [field.name for field in fields(Options)]
    for key in overrides:
        if key not in known:
            raise ValueError(f"unknown option {key!r}.{did_you_mean(key, known)}")
    return replace(Options(), **{**_OVERRIDES[name], **overrides})


def without_removed(
    content: Mapping[str, Any], removed: Mapping[str, Any] = REMOVED_OPTIONS, prefix: str = ""
) -> dict[str, Any]:
    """What an earlier version stored, less what is gone and said nothing: empty, or the value that it has for good.

    Args:
        content: names to values, or to groups of the same kind.
        removed: full names (groups joined by dots) to the values that they have for good.
        prefix: of the full names in ``content``.

    Raises:
        ValueError: one had a value that has been removed with it.

    >>> without_removed({"axes": 1, "mask_warmup": 0})
    {'axes': 1}
    """
    kept: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            inner = without_removed(value, removed, f"{key}.")
            kept |= {name: inner} if inner or not value else {}  # a group of nothing but removed names is gone too
        elif key not in removed:
            kept[name] = value
        elif value not in (None, removed[key]):
            raise ValueError(f"{key} has been removed: it is {removed[key]!r} now, got {value!r}")
    return kept
