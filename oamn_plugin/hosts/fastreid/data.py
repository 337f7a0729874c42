"""The data sets under their names in the host's registry, and what a configuration trains and tests on."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from oamn_plugin.datasets import catalogue
from oamn_plugin.datasets.records import Record
from oamn_plugin.environment import default_root
from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.data_sets import CUSTOM, DATA_SETS, load_split
from oamn_plugin.hosts.shared.errors import ConfigError

logger = logging.getLogger("fastreid.oamn")
VALIDATION = "Validation"
"""Name under which the held-out training identities are evaluated."""


class RecordDataset(ImageDataset):
    """Plain records as the host's data set; the name of the class says which."""

    def __init__(self, root: str = "datasets", cfg: CfgNode | None = None, **kwargs: Any) -> None:
        name = type(self).__name__
        if cfg is None and name == CUSTOM:
            raise ConfigError("CustomReID reads the keys below DATASETS.CUSTOM: build it through this plugin's loaders")
        size, seed = (cfg.DATASETS.EMBEDDED.SIZE, cfg.DATASETS.EMBEDDED.SEED) if cfg else ("demo", 0)
        custom = {key.lower(): value for key, value in cfg.DATASETS.CUSTOM.items()} if cfg else {}
        custom["csv_file"] = custom.pop("csv", "")
        split = load_split(name, root, size, seed, custom)
        train = [(r.path, f"{name}_{r.pid}", f"{name}_{r.camid}") for r in split.train]
        super().__init__(train, [tuple(r) for r in split.query], [tuple(r) for r in split.gallery], **kwargs)


for _name in DATA_SETS:
    if _name not in DATASET_REGISTRY._obj_map:  # Market1501, DukeMTMC and MSMT17 are the host's own
        globals()[_name] = type(
            _name, (RecordDataset,), {"__doc__": f"{_name} as the host's data set.", "__module__": __name__}
        )
        DATASET_REGISTRY.register(globals()[_name])


def data_root(cfg: CfgNode) -> str:
    """Folder of the data sets."""
    return cfg.DATASETS.ROOT or default_root()


def build_dataset(cfg: CfgNode, name: str) -> ImageDataset:
    """A registered data set.

    Raises:
        ConfigError: no data set of that name; the message names the nearest.
        ValueError, RuntimeError, OSError: its files are not there; the message says where they were looked for.
    """
    if name not in DATASET_REGISTRY._obj_map:
        known = sorted(DATASET_REGISTRY._obj_map)
        raise ConfigError(f"no data set named {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}")
    kind = DATASET_REGISTRY.get(name)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The current data structure is deprecated")  # it is read as well
            return kind(root=data_root(cfg), **({"cfg": cfg} if issubclass(kind, RecordDataset) else {}))
    except (AssertionError, RuntimeError) as error:  # how the host's sets say that a folder is missing
        if name in catalogue.CATALOGUE:
            catalogue.CATALOGUE[name].layout.find(data_root(cfg))  # says where it was looked for, and where to get it
        raise ConfigError(f"{error} (below {data_root(cfg)})") from error


def training_records(cfg: CfgNode) -> list[Record]:
    """Training images of all ``DATASETS.NAMES``, their labels as numbers, cut to ``DATASETS.MAX_TRAIN_IDS``."""
    items = [tuple(item) for name in cfg.DATASETS.NAMES for item in build_dataset(cfg, name).train]
    pids = {pid: number for number, pid in enumerate(sorted({str(item[1]) for item in items}))}
    cameras = {camid: number for number, camid in enumerate(sorted({str(item[2]) for item in items}))}
    records = [Record(item[0], pids[str(item[1])], cameras[str(item[2])]) for item in items]
    if cfg.DATASETS.MAX_TRAIN_IDS:
        records = [record for record in records if record.pid < cfg.DATASETS.MAX_TRAIN_IDS]
    return records
