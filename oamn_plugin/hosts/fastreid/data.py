"""The data sets under their names in the host's registry, and what a configuration trains and tests on."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from oamn_plugin.datasets import catalogue
from oamn_plugin.datasets.custom import read_custom
from oamn_plugin.datasets.embedded import load_embedded
from oamn_plugin.datasets.records import Record, Split
from oamn_plugin.environment import default_root
from oamn_plugin.errors import did_you_mean
from oamn_plugin.hosts.shared.errors import ConfigError

logger = logging.getLogger("fastreid.oamn")
VALIDATION = "Validation"
"""Name under which the held-out training identities are evaluated."""


class RecordDataset(ImageDataset):
    """Plain records as the host's data set."""

    def __init__(self, split: Split, **kwargs: Any) -> None:
        train = [(r.path, f"{type(self).__name__}_{r.pid}", f"{type(self).__name__}_{r.camid}") for r in split.train]
        super().__init__(train, [tuple(r) for r in split.query], [tuple(r) for r in split.gallery], **kwargs)


class OccludedPedestrians(RecordDataset):
    """The embedded data set, generated on first use; every query is occluded."""

    holistic = False

    def __init__(self, root: str = "datasets", cfg: CfgNode | None = None, **kwargs: Any) -> None:
        embedded = cfg.DATASETS.EMBEDDED if cfg is not None else None
        size, seed = (embedded.SIZE, embedded.SEED) if embedded is not None else ("demo", 0)
        super().__init__(load_embedded(root, size, seed, self.holistic), **kwargs)


class OccludedPedestriansHolistic(OccludedPedestrians):
    """The same gallery, with queries of whole people."""

    holistic = True


class CustomReID(RecordDataset):
    """Any set of a user's own, described by ``DATASETS.CUSTOM``: folders and a regular expression, or a CSV."""

    def __init__(self, root: str = "datasets", cfg: CfgNode | None = None, **kwargs: Any) -> None:
        if cfg is None:
            raise ConfigError("CustomReID reads the keys below DATASETS.CUSTOM: build it through this plugin's loaders")
        custom = cfg.DATASETS.CUSTOM
        split = read_custom(
            custom.ROOT or root,
            csv_file=custom.CSV,
            train=custom.TRAIN,
            query=custom.QUERY,
            gallery=custom.GALLERY,
            pattern=custom.PATTERN,
        )
        super().__init__(split, **kwargs)


def _published(name: str) -> type[RecordDataset]:
    class Published(RecordDataset):
        def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
            super().__init__(catalogue.load_to_train(name, root), **{k: v for k, v in kwargs.items() if k != "cfg"})

    Published.__name__ = Published.__qualname__ = name
    Published.__doc__ = catalogue.CATALOGUE[name].title
    return Published


for _name in catalogue.CATALOGUE:
    if _name not in DATASET_REGISTRY._obj_map:  # Market1501, DukeMTMC and MSMT17 are the host's own
        DATASET_REGISTRY.register(_published(_name))
for _kind in (OccludedPedestrians, OccludedPedestriansHolistic, CustomReID):
    DATASET_REGISTRY.register(_kind)


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
