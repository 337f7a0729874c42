"""The data sets under their names in the host's registry: the readers are the core's, shared by every host."""

from __future__ import annotations

from typing import Any

import torchreid

from oamn_plugin.datasets import catalogue
from oamn_plugin.datasets.custom import read_custom
from oamn_plugin.datasets.embedded import load_embedded
from oamn_plugin.datasets.images import read_image
from oamn_plugin.datasets.records import DataSetError, Split
from oamn_plugin.hosts.torchreid.compat import image_datasets
from oamn_plugin.hosts.torchreid.settings import SETTINGS


class RecordDataset(torchreid.data.ImageDataset):
    """Plain records as the host's data set; an image that cannot be read stops the run and is named.

    Args:
        split: the three lists; without training images the set can be tested on only.
        **kwargs: the host's.

    Raises:
        DataSetError: it is to be trained on and has no training images.
    """

    _junk_pids = (0, -1)

    train: list[Any]

    def __init__(self, split: Split, **kwargs: Any) -> None:
        labels = {pid: number for number, pid in enumerate(sorted({record.pid for record in split.train}))}
        train: list[Any] = [(record.path, labels[record.pid], record.camid) for record in split.train]
        if not train and kwargs.get("mode", "train") == "train":
            raise DataSetError(f"{type(self).__name__} has no training images: name it in data.targets only")
        query, gallery = ([tuple(record) for record in part] for part in (split.query, split.gallery))
        # the host measures the first record of every list, so an empty one stands in for itself by the query
        super().__init__(train or query, query, gallery, **kwargs)
        if not train:
            self.train = []

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, pid, camid, dsetid = self.data[index]
        image = read_image(path)
        if self.transform is not None:
            image = self._transform_image(self.transform, self.k_tfm, image)
        return {"img": image, "pid": pid, "camid": camid, "impath": path, "dsetid": dsetid}


class OccludedPedestrians(RecordDataset):
    """The embedded data set, generated on first use; every query is occluded."""

    holistic = False

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        split = load_embedded(root or None, SETTINGS.embedded_size, SETTINGS.embedded_seed, self.holistic)
        super().__init__(split, **kwargs)


class OccludedPedestriansHolistic(OccludedPedestrians):
    """The same gallery, with queries of whole people."""

    holistic = True


class CustomReID(RecordDataset):
    """Any set of a user's own, as ``register(custom={...})`` or the keys below ``custom`` describe it."""

    def __init__(self, root: str = "", **kwargs: Any) -> None:
        arguments = dict(SETTINGS.custom)
        super().__init__(read_custom(arguments.pop("root", "") or root or ".", **arguments), **kwargs)


def _published(name: str) -> type[RecordDataset]:
    class Published(RecordDataset):
        def __init__(self, root: str = "", **kwargs: Any) -> None:
            super().__init__(catalogue.load_to_train(name, root or "."), **kwargs)

    Published.__name__ = Published.__qualname__ = name
    Published.__doc__ = catalogue.CATALOGUE[name].title
    return Published


DATASETS: dict[str, type[RecordDataset]] = {
    **{name: _published(name) for name in catalogue.CATALOGUE},
    **{kind.__name__: kind for kind in (OccludedPedestrians, OccludedPedestriansHolistic, CustomReID)},
}
"""Name to class; the names are the same in every host."""


def register_datasets() -> None:
    """Adds the data sets to the host's registry; those that are there already stay."""
    for name, kind in DATASETS.items():
        if name not in image_datasets():
            torchreid.data.register_image_dataset(name, kind)
