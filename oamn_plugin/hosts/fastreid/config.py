"""Every configuration key of the plugin, each commented once, and the loader that explains a wrong one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml
from fastreid.config import CfgNode, get_cfg

from oamn_plugin.datasets.labels import MARKET_PATTERN
from oamn_plugin.errors import ExpectedError
from oamn_plugin.presets import Options, preset
from oamn_plugin.retrieval.unification import Unification

OAMN_LOSSES: dict[str, tuple[str, ...]] = {
    "CrossEntropyLoss": ("identity_weight",),
    "GroupedTripletLoss": ("triplet_weight",),
    "TripletLoss": (),
    "MaskConsistencyLoss": ("mask1_weight", "mask2_weight"),
    "OcclusionScoreLoss": ("score_weight",),
}
"""Losses that ``MODEL.LOSSES.NAME`` may list for OAMN, and the weights that vanish when one is left out."""


class ConfigError(ExpectedError, ValueError):
    """A configuration that cannot work; the message says which key, in which file, and what would be valid."""


def add_oamn_config(cfg: CfgNode) -> None:
    """Adds the plugin's keys to a fastreid configuration."""
    _add_model_keys(cfg)
    _add_input_keys(cfg)
    _add_data_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)


def _add_model_keys(cfg: CfgNode) -> None:
    cfg.MODEL.OAMN = CfgNode()
    # Reading of the method: paper, official or plus
    cfg.MODEL.OAMN.PRESET = "paper"
    # One key a field of oamn_plugin.presets.Options, upper case; empty means the preset's value
    for field in fields(Options):
        cfg.MODEL.OAMN[field.name.upper()] = None
    # Architecture of MODEL.BACKBONE.NAME "timm" and "torchvision", e.g. resnet50.a1_in1k, resnet50
    cfg.MODEL.BACKBONE.ARCH = ""
    # Group of the grouped triplet loss when another meta-architecture takes it: margin and weight
    cfg.MODEL.LOSSES.GROUPED = CfgNode()
    cfg.MODEL.LOSSES.GROUPED.MARGIN = 0.3
    cfg.MODEL.LOSSES.GROUPED.SCALE = 1.0


def _add_input_keys(cfg: CfgNode) -> None:
    # "host": fastreid's own transforms. "device": decode and resize in workers, everything random on the device.
    # "list": the steps named in INPUT.TRANSFORMS
    cfg.INPUT.PIPELINE = "host"
    # Steps of the "list" pipeline, names of the transform registry
    cfg.INPUT.TRANSFORMS = []
    # Resampling of the "device" and "list" pipelines: bilinear (official OAMN) or bicubic (fastreid)
    cfg.INPUT.RESAMPLE = "bicubic"
    # Largest rotation in degrees ("device" pipeline)
    cfg.INPUT.ROTATION = 0.0
    # What to do with an image that cannot be read: fail (stop, naming it) or skip (report it at the end)
    cfg.INPUT.BAD_IMAGES = "fail"
    cfg.INPUT.OCCLUSION = CfgNode()
    # Occlusion augmentation for any method: each training image is occluded with this probability
    cfg.INPUT.OCCLUSION.PROB = 0.0
    # Where its patches are cut from the donor: corner, anywhere, large or mixed
    cfg.INPUT.OCCLUSION.PATCH_SOURCE = "corner"
    # What they cover: strip (a half or a quarter) or loose (a rectangle of about that area)
    cfg.INPUT.OCCLUSION.PATCH_SHAPE = "strip"
    # How often the strip is black instead of a donor's patch
    cfg.INPUT.OCCLUSION.BLACK_SHARE = 0.0
    # How often the strip is cut away and the rest of the image stretched, instead of covered
    cfg.INPUT.OCCLUSION.CUT_SHARE = 0.0


def _add_data_keys(cfg: CfgNode) -> None:
    # Folder of the data sets; empty: the environment variable FASTREID_DATASETS, else ./datasets
    cfg.DATASETS.ROOT = ""
    # Train on at most this many identities and images of each; 0: all
    cfg.DATASETS.MAX_TRAIN_IDS = 0
    cfg.DATASETS.VALIDATION = CfgNode()
    # Training identities held out to choose the best checkpoint on, with generated occlusion; 0: none, the last is kept
    cfg.DATASETS.VALIDATION.NUM_IDS = 0
    # Which identities: a seed of its own, so that runs of all seeds validate on the same ones
    cfg.DATASETS.VALIDATION.SEED = 0
    cfg.DATASETS.EMBEDDED = CfgNode()
    # Size of the generated data set: tiny, demo or benchmark; and its seed
    cfg.DATASETS.EMBEDDED.SIZE = "demo"
    cfg.DATASETS.EMBEDDED.SEED = 0
    cfg.DATASETS.CUSTOM = CfgNode()
    # CustomReID: a CSV with the columns path, pid, camid, split; or folders and a regular expression over paths
    cfg.DATASETS.CUSTOM.CSV = ""
    cfg.DATASETS.CUSTOM.ROOT = ""
    cfg.DATASETS.CUSTOM.TRAIN = "train"
    cfg.DATASETS.CUSTOM.QUERY = "query"
    cfg.DATASETS.CUSTOM.GALLERY = "gallery"
    cfg.DATASETS.CUSTOM.PATTERN = MARKET_PATTERN


def _add_solver_keys(cfg: CfgNode) -> None:
    # Learning rate of backbone and mask module relative to BASE_LR (OAMN only); feat_bn and classifier use BASE_LR
    cfg.SOLVER.BACKBONE_LR_FACTOR = 1.0
    # Learning rate of mask module and scorer relative to BASE_LR (OAMN only); 0: as the backbone. Short schedules need
    # more: the mask's last batch norm must travel far from its start
    cfg.SOLVER.MASK_LR_FACTOR = 0.0
    # Optimiser steps between checkpoints that resume exactly, inside epochs too; 0: only at the end of epochs
    cfg.SOLVER.CHECKPOINT_STEPS = 0
    # Resumable checkpoints kept
    cfg.SOLVER.CHECKPOINT_KEEP = 2
    # Optimiser steps between lines of progress
    cfg.SOLVER.LOG_PERIOD = 20
    # Memory layout channels_last: about twice as fast convolutions on a CPU
    cfg.MODEL.CHANNELS_LAST = True
    # Seed of everything random; negative: a new one each run, logged
    cfg.SEED = 0


def _add_test_keys(cfg: CfgNode) -> None:
    # Evaluator by name: OcclusionUnifiedEvaluator or the host's ReidEvaluator
    cfg.TEST.EVALUATOR = "OcclusionUnifiedEvaluator"
    # Occlusion unification: none, typed (as OAMN's scorer says, the published method) or matched (as the match says;
    # any model). Empty: that of OAMN's preset, none for other models
    cfg.TEST.UNIFICATION = ""
    # Where gallery images are blanked: image (one encoding a type) or features (one E1 an image). Empty: the image for
    # typed, the features for matched where the network can be cut, else the image
    cfg.TEST.BLANK = ""
    # Colour of blanked strips on the image: mean or black. Empty: black for typed, mean for matched
    cfg.TEST.FILL = ""
    cfg.TEST.MATCHED = CfgNode()
    # Occlusion types that are compared: nine, or five (none and the halves) at half the cost
    cfg.TEST.MATCHED.TYPES = "nine"
    # Temperature of the soft minimum over the types, in squared distances of unit descriptors
    cfg.TEST.MATCHED.TEMPERATURE = 0.05
    # Prior probability that a query is not occluded; the types share the rest. High values protect whole people
    cfg.TEST.MATCHED.NONE_PRIOR = 0.8
    # Queries ranked at a time; 0: what fits in about 256 MB
    cfg.TEST.CHUNK_SIZE = 0
    # Test in mixed precision: about twice as fast on a CPU with bfloat16; descriptors keep three digits
    cfg.TEST.AMP = False
    # Workers of the test loaders; negative: DATALOADER.NUM_WORKERS
    cfg.TEST.NUM_WORKERS = -1


def oamn_options(cfg: CfgNode) -> Options:
    """The method's options as a configuration states them: its preset with the given keys replaced.

    Raises:
        ConfigError: unknown preset or a value out of range.
    """
    given = {
        field.name: _cast(cfg.MODEL.OAMN[field.name.upper()], field.type, f"MODEL.OAMN.{field.name.upper()}")
        for field in fields(Options)
        if cfg.MODEL.OAMN[field.name.upper()] is not None
    }
    if cfg.MODEL.META_ARCHITECTURE == "OAMN":
        given |= _options_of_losses(tuple(cfg.MODEL.LOSSES.NAME), given)
    try:
        return preset(cfg.MODEL.OAMN.PRESET, **given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"MODEL.OAMN: {error}") from error


def unification(cfg: CfgNode) -> Unification:
    """How a configuration unifies queries and gallery.

    ``TEST.BLANK`` left empty with matched unification means the features; whoever builds the model falls back to the
    image where it cannot be cut.

    Raises:
        ConfigError: an unknown word, a number out of range, or typed unification of a model without a scorer.
    """
    options, matched = oamn_options(cfg), cfg.TEST.MATCHED
    oamn = cfg.MODEL.META_ARCHITECTURE == "OAMN"
    kind = cfg.TEST.UNIFICATION or (options.unification if oamn else "none")
    if kind == "typed" and not (oamn and options.mask_module):
        if cfg.TEST.UNIFICATION:
            raise ConfigError("TEST.UNIFICATION typed reads OAMN's scorer: this model has none; choose matched or none")
        kind = "none"
    settings = {"types": matched.TYPES, "temperature": matched.TEMPERATURE, "none_prior": matched.NONE_PRIOR}
    try:
        return Unification.of(options, kind, cfg.TEST.BLANK, cfg.TEST.FILL, **settings)
    except ValueError as error:
        raise ConfigError(f"TEST: {error}") from error


def _options_of_losses(names: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """What ``MODEL.LOSSES.NAME`` says of OAMN's own losses; the host's default list leaves the preset as it is."""
    if names == ("CrossEntropyLoss",):
        return {}
    unknown = set(names) - set(OAMN_LOSSES)
    if unknown:
        raise ConfigError(
            f"MODEL.LOSSES.NAME: OAMN does not take {', '.join(sorted(unknown))}; it takes {', '.join(OAMN_LOSSES)}"
        )
    absent = [option for name, options in OAMN_LOSSES.items() if name not in names for option in options]
    found: dict[str, Any] = dict.fromkeys(absent, 0.0)
    if "TripletLoss" in names:
        found.pop("triplet_weight", None)
    if "TripletLoss" in names and "triplet_grouping" not in given:
        found["triplet_grouping"] = "plain"
    return found


def _cast(value: Any, type_name: Any, key: str) -> Any:
    """A YAML value as the field's type: keys without a default take whatever YAML parses."""
    kind, accepted, word = {
        "bool": (bool, (bool,), "True or False"),
        "float": (float, (int, float), "a number"),
        "int": (int, (int,), "a whole number"),
        "str": (str, (str,), "a word"),
    }[str(type_name)]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{key} must be {word}, got {value!r}")
    return kind(value)


def load_config(config_file: str = "", opts: Sequence[str] = ()) -> CfgNode:
    """A frozen configuration from defaults, a YAML file (with its ``_BASE_`` chain) and ``KEY VALUE`` pairs.

    Raises:
        ConfigError: the file is missing or no YAML mapping, or a key is unknown or of the wrong type; the message names
            the key, the file and the nearest valid key.
    """
    cfg = get_cfg()
    add_oamn_config(cfg)
    if config_file:
        for path in reversed(config_chain(config_file)):
            _merge_file(cfg, path)
    _merge_opts(cfg, list(opts))
    unification(cfg)
    cfg.freeze()
    return cfg


def _merge_file(cfg: CfgNode, path: str) -> None:
    content = _read_yaml(path)
    _check_keys(content, cfg, path)
    content.pop("_BASE_", None)
    try:
        cfg.merge_from_other_cfg(CfgNode(content))
    except (ValueError, AssertionError, KeyError) as error:
        raise ConfigError(f"{path}: {error.args[0]}") from error


def config_chain(config_file: str) -> list[str]:
    """The file and the files it is based on, nearest first.

    Raises:
        ConfigError: a file of the chain is missing or is based on itself.
    """
    chain: list[str] = []
    path: str | None = config_file
    while path:
        if path in chain:
            raise ConfigError(f"{chain[-1]}: _BASE_ leads back to {path}")
        chain.append(path)
        base = _read_yaml(path).get("_BASE_")
        path = os.path.join(os.path.dirname(path), os.path.expanduser(base)) if base else None
    return chain


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path!r}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no keys")
    return content


def _check_keys(content: dict[str, Any], cfg: CfgNode, path: str, prefix: str = "") -> None:
    for key, value in content.items():
        if key == "_BASE_" and not prefix:
            continue
        if key not in cfg:
            raise ConfigError(f"unknown key {prefix + str(key)!r} in {path}." + _nearest(prefix + str(key)))
        if isinstance(cfg[key], CfgNode):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{key} in {path} must hold keys of its own, got {value!r}")
            _check_keys(value, cfg[key], path, f"{prefix}{key}.")


def _merge_opts(cfg: CfgNode, opts: list[str]) -> None:
    if len(opts) % 2:
        raise ConfigError(f"options on the command line come as KEY VALUE pairs, got {' '.join(opts)}")
    known = all_keys(cfg)
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        if key not in known:
            raise ConfigError(f"unknown key {key!r} on the command line." + _nearest(key))
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, AssertionError, SyntaxError) as error:
            raise ConfigError(f"{key} on the command line: {error}") from error


def all_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    """Full names of every key, such as ``MODEL.BACKBONE.DEPTH``."""
    names: list[str] = []
    for key, value in cfg.items():
        names += all_keys(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [prefix + key]
    return names


def _nearest(key: str) -> str:
    cfg = get_cfg()
    add_oamn_config(cfg)
    names = all_keys(cfg)
    same_word = [name for name in names if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]  # in the wrong place
    near = difflib.get_close_matches(key, same_word or names, n=1, cutoff=0.0 if same_word else 0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
