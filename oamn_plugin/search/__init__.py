"""Search by image: an encoder, a gallery index on disk, its graphs for other runtimes, results and their page."""

from __future__ import annotations

from oamn_plugin.search.encoder import ImageEncoder, packaged_encoder
from oamn_plugin.search.gallery import GalleryImage, read_gallery
from oamn_plugin.search.index import Changes, GalleryIndex, Match

__all__ = [
    "Changes",
    "GalleryImage",
    "GalleryIndex",
    "ImageEncoder",
    "Match",
    "packaged_encoder",
    "read_gallery",
]
