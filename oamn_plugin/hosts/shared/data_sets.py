"""The data sets under the names that both hosts register them by."""

from __future__ import annotations

from collections.abc import Mapping

from oamn_plugin.datasets import catalogue
from oamn_plugin.datasets.custom import read_custom
from oamn_plugin.datasets.embedded import HOLISTIC, load_embedded
from oamn_plugin.datasets.records import Split

CUSTOM = "CustomReID"
DATA_SETS = (*catalogue.CATALOGUE, *HOLISTIC, CUSTOM)


def load_split(name: str, root: str, size: str, seed: int, custom: Mapping[str, str]) -> Split:
    """A published data set, the generated one (drawn on first use), or the user's own.

    Args:
        name: one of :data:`DATA_SETS`.
        root: folder of the data sets.
        size, seed: of the generated set.
        custom: arguments of :func:`oamn_plugin.datasets.custom.read_custom`; without ``root`` that above.

    Raises:
        DataSetError: missing, or not laid out as expected.
    """
    if name in catalogue.CATALOGUE:
        return catalogue.load_to_train(name, root or ".")
    if name in HOLISTIC:
        return load_embedded(root or None, size, seed, HOLISTIC[name])
    return read_custom(**{**custom, "root": custom.get("root") or root or "."})
