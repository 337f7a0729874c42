"""Search by image: an encoder, a gallery index on disk, its graphs for other runtimes, results and their page."""

from __future__ import annotations

import os

from oamn_plugin.search.encoder import ImageEncoder, packaged_encoder
from oamn_plugin.search.gallery import GalleryImage, read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.index_plan import Changes
from oamn_plugin.search.milvus_index import MilvusIndex
from oamn_plugin.search.milvus_rows import LOCAL, SERVERS
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


def open_index(
    location: str | os.PathLike[str], encoder: ImageEncoder | None = None, *, progress: bool = False
) -> GalleryIndex | MilvusIndex:
    """The index at a location, which is made when the first images are added.

    Args:
        location: a folder, ``milvus:///path/gallery.db``, or ``http://host:19530/collection``.
        encoder: describes images; None: searches descriptors only.
        progress: show progress bars.

    Raises:
        GalleryIndexError: none there and no encoder, or one of another model.
    """
    if str(location).startswith((LOCAL, *SERVERS)):
        return MilvusIndex(str(location), encoder, progress=progress)
    return GalleryIndex(location, encoder, progress=progress)
