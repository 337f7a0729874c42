"""The data sets under their names in the host's registry: the readers are the core's, shared by every host."""

from __future__ import annotations

from typing import Any, ClassVar

import torchreid

from oamn_plugin.datasets.images import read_image
from oamn_plugin.datasets.records import DataSetError
from oamn_plugin.hosts.shared.data_sets import DATA_SETS, load_split


class RecordDataset(torchreid.data.ImageDataset):
    """Plain records as the host's data set; an image that cannot be read stops the run and is named.

    Attributes:
        size, seed: of the generated set; :func:`oamn_plugin.hosts.torchreid.register` changes them.
        custom: arguments of :func:`oamn_plugin.datasets.custom.read_custom`, likewise.

    Args:
        root: folder of the data sets; which of them it is, the name of the class says.
        **kwargs: the host's.

    Raises:
        DataSetError: it is missing, or to be trained on and has no training images.
    """

    size = "demo"
    seed = 0
    custom: ClassVar[dict[str, str]] = {"train": "train"}
    _junk_pids = (0, -1)

    train: list[Any]

    def __init__(self, root: str = "datasets", **kwargs: Any) -> None:
        name = type(self).__name__
        split = load_split(name, root, self.size, self.seed, self.custom)
        labels = {pid: number for number, pid in enumerate(sorted({record.pid for record in split.train}))}
        train: list[Any] = [(record.path, labels[record.pid], record.camid) for record in split.train]
        if not train and kwargs.get("mode", "train") == "train":
            raise DataSetError(f"{name} has no training images: name it in data.targets only")
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


DATASETS = {name: type(name, (RecordDataset,), {}) for name in DATA_SETS}
"""Name to class; the names are the same in every host."""
globals().update(DATASETS)  # a worker that is spawned looks for them here
