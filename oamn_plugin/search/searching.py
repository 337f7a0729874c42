"""What every gallery index answers the same way, wherever it lies."""

from __future__ import annotations

import os
from typing import Any

from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.retrieval.unification import QueryDescriptors, Unification
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.nearest import compared_types


class Searching:
    """What an index in a folder and one in Milvus have in common.

    Attributes:
        encoder: describes images; None: searches descriptors only.
    """

    encoder: ImageEncoder | None

    @property
    def images(self) -> list[GalleryImage]:
        """Its images, in an order of their own."""
        raise NotImplementedError

    def load_note(self, name: str) -> Any:
        """What :meth:`save_note` was given; None: nothing."""
        raise NotImplementedError

    def save_note(self, name: str, content: Any) -> None:
        """Keeps plain JSON values with the index."""
        raise NotImplementedError

    @property
    def unification(self) -> Unification:
        """How queries and gallery are unified: as the encoder says, plainly without one."""
        return Unification() if self.encoder is None else self.encoder.unification

    def matching(self, plain: bool = False) -> Matching | None:
        """The matched unification, where searches use it."""
        return None if plain or self.unification.kind != "matched" else self.unification.matching()

    def search_types(self, queries: QueryDescriptors, plain: bool = False) -> list[str]:
        """The occlusion type that each of the queries is compared under, where it is not matched."""
        return compared_types(self.unification, queries, plain)

    @property
    def vanished(self) -> list[str]:
        """Paths of images whose files are gone. They stay in the index until they are removed."""
        return [image.path for image in self.images if not os.path.lexists(image.path)]
