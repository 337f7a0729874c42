"""Published data sets as every host trains and tests on them."""

from __future__ import annotations

from oamn_plugin.datasets import catalogue
from oamn_plugin.datasets.records import DataSetError, Split

_told: set[tuple[str, str]] = set()


def published_split(name: str, root: str) -> Split:
    """A published data set; one without training images gets those of the set that is used for it, if they are there.

    Counts other than the published ones are a warning, once: a run reads its data sets more than once.

    Raises:
        DataSetError: the set is missing or not laid out as expected.
    """
    split = catalogue.load(name, root, warn=(name, root) not in _told)
    _told.add((name, root))
    if split.train:
        return split
    try:
        return split._replace(train=catalogue.load(catalogue.CATALOGUE[name].trains_on, root).train)
    except DataSetError:  # to test all the same
        return split
