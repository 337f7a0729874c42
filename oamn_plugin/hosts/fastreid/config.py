"""Every configuration key of the plugin, each with a comment, and the loader with its error messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode, get_cfg

from oamn_plugin.datasets.labels import MARKET_PATTERN
from oamn_plugin.hosts.shared import config as shared
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.presets import Options
from oamn_plugin.retrieval.unification import Unification

OAMN_LOSSES: dict[str, tuple[str, ...]] = {
    "CrossEntropyLoss": ("identity_weight",),
    "GroupedTripletLoss": ("triplet_weight",),
    "TripletLoss": ("triplet_weight",),
    "MaskConsistencyLoss": ("mask1_weight", "mask2_weight"),
    "OcclusionScoreLoss": ("score_weight",),
    "PositionLoss": ("position_weight",),
}
"""Losses that ``MODEL.LOSSES.NAME`` may list for OAMN, and the weights that vanish when one is left out."""

TRIPLET_GROUPINGS = {"TripletLoss": "plain", "GroupedTripletLoss": "grouped"}


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
    # Weights to start a training from: a file of any toolbox or a name of `oamn weights list`. The backbone must fit
    # whole, the rest is taken where it fits; empty: none
    cfg.MODEL.INIT = ""
    # Architecture of MODEL.BACKBONE.NAME "timm" and "torchvision", e.g. resnet50.a1_in1k, resnet50
    cfg.MODEL.BACKBONE.ARCH = ""
    # Losses by name; empty: OAMN's preset says which, else CrossEntropyLoss. What OAMN's list leaves out has weight 0
    cfg.MODEL.LOSSES.NAME = []
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
    # Occlusion augmentation for any method (OAMN has MODEL.OAMN.OCCLUDED_SHARE): how often a training image is occluded
    cfg.INPUT.OCCLUSION.PROB = 0.0
    # Where its patches are cut from the donor: corner, anywhere or native (anywhere, at the strip's own size)
    cfg.INPUT.OCCLUSION.PATCH_SOURCE = "corner"
    # How often the strip is black instead of a donor's patch
    cfg.INPUT.OCCLUSION.BLACK_SHARE = 0.0
    # How often the strip is cut away and the rest of the image stretched, instead of covered
    cfg.INPUT.OCCLUSION.CUT_SHARE = 0.0
    # Folder of RGBA cut-outs (`oamn data occluders`): half of the occluded images have one instead of a strip; for
    # OAMN with one view an image too
    cfg.INPUT.OCCLUSION.OBJECTS = ""


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
    # Evaluator by name: OcclusionUnifiedEvaluator, or one that was registered
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
    # Test in mixed precision: about twice as fast on a CPU with bfloat16; Rank-1 of two networks moved by +2.0 and -1.0
    cfg.TEST.AMP = False
    # Workers of the test loaders; negative: DATALOADER.NUM_WORKERS
    cfg.TEST.NUM_WORKERS = -1


def oamn_options(cfg: CfgNode) -> Options:
    """The method's options of a configuration: its preset, changed by the given keys and by the losses it names.

    Raises:
        ConfigError: unknown preset or a value out of range.
    """
    options = shared.method_options(cfg.MODEL.OAMN, "MODEL.OAMN.")
    if cfg.MODEL.META_ARCHITECTURE == "OAMN" and cfg.MODEL.LOSSES.NAME:
        given = shared.given_options(cfg.MODEL.OAMN, "MODEL.OAMN.")
        return replace(options, **_options_of_losses(tuple(cfg.MODEL.LOSSES.NAME), options, given))
    return options


def resolved(cfg: CfgNode) -> CfgNode:
    """The configuration with every option of OAMN written out, as a run stores it: presets may change later."""
    if cfg.MODEL.META_ARCHITECTURE != "OAMN":
        return cfg
    options = asdict(oamn_options(cfg))
    return shared.altered(cfg, {f"MODEL.OAMN.{name.upper()}": value for name, value in options.items()})


def unification(cfg: CfgNode) -> Unification:
    """How a configuration unifies queries and gallery; see :func:`shared.stated_unification`.

    ``TEST.BLANK`` left empty with matched unification means the features; whoever builds the model falls back to the
    image where it cannot be cut.
    """
    return shared.stated_unification(cfg.TEST, "TEST.", oamn_options(cfg), cfg.MODEL.META_ARCHITECTURE == "OAMN")


def _options_of_losses(names: tuple[str, ...], options: Options, given: dict[str, Any]) -> dict[str, Any]:
    """Options that a list in ``MODEL.LOSSES.NAME`` changes: weights become 0, and the grouping of the triplets."""
    unknown = set(names) - set(OAMN_LOSSES)
    if unknown:
        raise ConfigError(
            f"MODEL.LOSSES.NAME: OAMN does not take {', '.join(sorted(unknown))}; it takes {', '.join(OAMN_LOSSES)}"
        )
    triplets = [name for name in names if name in TRIPLET_GROUPINGS]
    if len(triplets) > 1:
        raise ConfigError("MODEL.LOSSES.NAME: name one of TripletLoss and GroupedTripletLoss")
    if "PositionLoss" in names and not options.position_weight and "position_weight" not in given:
        raise ConfigError("MODEL.LOSSES.NAME: PositionLoss has weight 0 in this preset; set MODEL.OAMN.POSITION_WEIGHT")
    listed = {option for name in names for option in OAMN_LOSSES[name]}
    found: dict[str, Any] = {option: 0.0 for own in OAMN_LOSSES.values() for option in own if option not in listed}
    if triplets and "triplet_grouping" not in given:
        found["triplet_grouping"] = TRIPLET_GROUPINGS[triplets[0]]
    return found


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
            keys = shared.read_yaml(path)
            keys.pop("_BASE_", None)
            shared.merge_file(cfg, keys, path)
    shared.merge_opts(cfg, opts)
    if cfg.MODEL.META_ARCHITECTURE != "OAMN" and not cfg.MODEL.LOSSES.NAME:
        cfg.MODEL.LOSSES.NAME = ["CrossEntropyLoss"]  # the host's own default
    unification(cfg)
    cfg.freeze()
    return cfg


def config_chain(config_file: str) -> list[str]:
    """The file and the files it is based on, nearest first.

    Raises:
        ConfigError: a file of the chain is missing, unreadable or based on itself.
    """
    chain: list[str] = []
    name: str | None = config_file
    while name:
        path = shared.config_file_of(name, Path(chain[-1]).parent if chain else None)
        if Path(path).resolve() in (Path(other).resolve() for other in chain):
            raise ConfigError(f"{chain[-1]}: _BASE_ leads back to {path}")
        chain.append(path)
        name = shared.read_yaml(path).get("_BASE_")
        if not isinstance(name, str | None):
            raise ConfigError(f"{path}: _BASE_ must name one file, got {name!r}")
    return chain
