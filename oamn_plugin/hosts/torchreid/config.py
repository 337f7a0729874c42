"""Configuration: torchreid's keys and those of this plugin, and the loader with its error messages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, fields

from yacs.config import CfgNode

from oamn_plugin.datasets.labels import MARKET_PATTERN
from oamn_plugin.environment import default_root
from oamn_plugin.hosts.shared import config as shared
from oamn_plugin.presets import Options
from oamn_plugin.retrieval.unification import Unification


def default_config() -> CfgNode:
    """Every key with its default; keys and defaults of the host where it has them."""
    cfg = CfgNode()
    cfg.use_gpu = True
    _add_model_keys(cfg)
    _add_data_keys(cfg)
    _add_train_keys(cfg)
    _add_loss_keys(cfg)
    _add_test_keys(cfg)
    return cfg


def _add_model_keys(cfg: CfgNode) -> None:
    # oamn_<backbone> for OAMN, a bare name for the host's own model
    cfg.model = CfgNode({"name": "oamn_osnet_x1_0", "pretrained": True, "load_weights": "", "resume": ""})
    # Weights to start a training from: a file of any toolbox or a name of `oamn weights list`. The backbone must fit
    # whole, the rest is taken where it fits; empty: none
    cfg.model.init = ""
    # Memory layout channels_last: about twice as fast convolutions on a CPU
    cfg.model.channels_last = True
    # Reading of the method, and one key a field of oamn_plugin.presets.Options; empty means the preset's value
    cfg.oamn = CfgNode({"preset": "paper", **{one.name: None for one in fields(Options)}})


def _add_data_keys(cfg: CfgNode) -> None:
    # root: folder of the data sets; empty: the environment variable FASTREID_DATASETS, else ./datasets.
    # targets: empty means the sources
    cfg.data = CfgNode({"type": "image", "root": "", "sources": ["OccludedPedestrians"], "targets": [], "workers": 4})
    cfg.data.split_id = 0
    cfg.data.height, cfg.data.width = 256, 128
    cfg.data.combineall = False
    # The host's random_flip, random_crop, random_patch, color_jitter, random_erase
    cfg.data.transforms = ["random_flip"]
    cfg.data.k_tfm = 1
    cfg.data.norm_mean = [0.485, 0.456, 0.406]
    cfg.data.norm_std = [0.229, 0.224, 0.225]
    cfg.data.save_dir = "log"
    # Occlusion augmentation of the host's own models, on whole batches: how often an image is occluded, where patches
    # are cut from the donor (corner or anywhere), how often the strip is black instead, and how often it is cut away
    cfg.occlusion = CfgNode(
        {"prob": 0.0, "patch_source": "corner", "black_share": 0.0, "cut_share": 0.0, "objects": ""}
    )
    # OAMN only: random moves on the device before the views are made, in place of data.transforms. Pixels of black
    # around an image before it is cropped, largest rotation in degrees, probability of a flip; all 0: none
    cfg.geometry = CfgNode({"padding": 0, "rotation": 0.0, "flip": 0.0})
    # Size of the generated data set: tiny, demo or benchmark; and its seed
    cfg.embedded = CfgNode({"size": "demo", "seed": 0})
    # CustomReID: a CSV with the columns path, pid, camid, split; or folders and a regular expression over file names
    cfg.custom = CfgNode({"root": "", "csv": "", "train": "train", "query": "query", "gallery": "gallery"})
    cfg.custom.pattern = MARKET_PATTERN
    cfg.market1501 = CfgNode({"use_500k_distractors": False})
    cfg.cuhk03 = CfgNode({"labeled_images": False, "classic_split": False, "use_metric_cuhk03": False})
    cfg.sampler = CfgNode({"train_sampler": "RandomSampler", "num_instances": 4, "num_cams": 1, "num_datasets": 1})


def _add_train_keys(cfg: CfgNode) -> None:
    train = CfgNode({"optim": "adam", "lr": 0.0003, "weight_decay": 5e-4, "max_epoch": 60, "start_epoch": 0})
    train.batch_size = 32
    train.fixbase_epoch, train.open_layers = 0, ["classifier"]
    # With staged_lr, layers that are not new learn at lr * base_lr_mult
    train.staged_lr, train.new_layers, train.base_lr_mult = False, ["classifier"], 0.1
    # OAMN only: mask module and scorer learn at lr * mask_lr_mult; 0: as the other layers that are not new
    train.mask_lr_mult = 0.0
    # single_step, multi_step, cosine, or oamn_steps: the schedule of the released OAMN stretched to max_epoch
    train.lr_scheduler, train.stepsize, train.gamma = "single_step", [20], 0.1
    train.print_freq, train.seed = 20, 1
    # On a CPU that computes in it: train in bfloat16, heads and losses in float32
    train.amp = False
    # Resumable checkpoints kept, one is written an epoch; 0: none
    train.keep_checkpoints = 2
    cfg.train = train
    cfg.sgd = CfgNode({"momentum": 0.9, "dampening": 0.0, "nesterov": False})
    cfg.rmsprop = CfgNode({"alpha": 0.99})
    cfg.adam = CfgNode({"beta1": 0.9, "beta2": 0.999})


def _add_loss_keys(cfg: CfgNode) -> None:
    # Loss of the host's own models: softmax or triplet; OAMN has its own objective
    cfg.loss = CfgNode({"name": "softmax"})
    cfg.loss.softmax = CfgNode({"label_smooth": True})
    cfg.loss.triplet = CfgNode({"margin": 0.3, "weight_t": 1.0, "weight_x": 0.0})


def _add_test_keys(cfg: CfgNode) -> None:
    test = CfgNode({"batch_size": 100, "dist_metric": "euclidean", "normalize_feature": False, "ranks": [1, 5, 10, 20]})
    test.evaluate = False  # only test model.load_weights
    test.eval_freq, test.start_eval = -1, 0
    test.rerank, test.visrank, test.visrank_topk = False, False, 10
    # Occlusion unification: none, typed (as OAMN's scorer says, the published method) or matched (as the match says;
    # any model). Empty: that of OAMN's preset, none for other models. blank: image or features; fill: mean or black;
    # empty: as suits the kind
    test.unification, test.blank, test.fill = "", "", ""
    # Matched unification: types that are compared (nine, five), temperature, prior probability of "not occluded"
    test.matched = CfgNode({"types": "nine", "temperature": 0.05, "none_prior": 0.8})
    # Queries whose distances are in memory at once; 0: as many as fit 256 MB
    test.chunk_size = 0
    cfg.test = test


def load_config(config_file: str = "", opts: Sequence[str] = ()) -> CfgNode:
    """A frozen configuration from defaults, a YAML file and ``KEY VALUE`` pairs.

    Raises:
        ConfigError: the file is missing or no YAML mapping, or a key is unknown or of the wrong type; the message names
            the key, the file and the nearest valid key.
    """
    cfg = default_config()
    if config_file:
        path = shared.config_file_of(config_file)
        shared.merge_file(cfg, shared.read_yaml(path), path)
    shared.merge_opts(cfg, opts)
    unification(cfg)
    cfg.freeze()
    return cfg


def oamn_options(cfg: CfgNode) -> Options:
    """The method's options as a configuration states them: its preset with the given fields replaced."""
    return shared.method_options(cfg.oamn, "oamn.")


def resolved(cfg: CfgNode) -> CfgNode:
    """The configuration with every option of OAMN written out, as a run stores it: presets may change later."""
    if not cfg.model.name.startswith("oamn_"):
        return cfg
    return shared.altered(cfg, {f"oamn.{name}": value for name, value in asdict(oamn_options(cfg)).items()})


def unification(cfg: CfgNode) -> Unification:
    """How a configuration unifies queries and gallery; see :func:`shared.stated_unification`."""
    return shared.stated_unification(cfg.test, "test.", oamn_options(cfg), cfg.model.name.startswith("oamn_"))


def data_root(cfg: CfgNode) -> str:
    """Folder of the data sets, made absolute."""
    return os.path.abspath(os.path.expanduser(cfg.data.root or default_root()))
