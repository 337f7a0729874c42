"""Readers of the published data sets: ``read_<name>(root) -> Split``.

``root`` is the folder that holds the data set's folder (fastreid's ``FASTREID_DATASETS``) or that folder itself.
Identities keep their published numbers, cameras count from 0, every list is sorted by path: two machines agree.
"""

from oamn_plugin.datasets.readers.layout import FolderLayout
from oamn_plugin.datasets.readers.market import (
    read_dukemtmc,
    read_market1501,
    read_occluded_duke,
    read_occluded_market1501,
)
from oamn_plugin.datasets.readers.msmt17 import read_msmt17
from oamn_plugin.datasets.readers.one_shot import (
    read_occluded_reid,
    read_p_duke,
    read_partial_ilids,
    read_partial_reid,
)

__all__ = [
    "FolderLayout",
    "read_dukemtmc",
    "read_market1501",
    "read_msmt17",
    "read_occluded_duke",
    "read_occluded_market1501",
    "read_occluded_reid",
    "read_p_duke",
    "read_partial_ilids",
    "read_partial_reid",
]
