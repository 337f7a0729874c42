"""Search by image: an encoder, a gallery index on disk, its graphs for other runtimes, results and their page."""

from __future__ import annotations

from oamn_plugin.search.encoder import ImageEncoder, packaged_encoder
from oamn_plugin.search.gallery import GalleryImage, read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.index_plan import Changes
from oamn_plugin.search.locations import open_index
from oamn_plugin.search.milvus_index import MilvusIndex
from oamn_plugin.search.nearest import Match

__all__ = [
    "Changes",
    "GalleryImage",
    "GalleryIndex",
    "ImageEncoder",
    "Match",
    "MilvusIndex",
    "open_index",
    "packaged_encoder",
    "read_gallery",
]
