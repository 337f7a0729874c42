"""What every gallery index answers the same way, wherever it lies."""

from __future__ import annotations

import os
from collections.abc import Iterable

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.files import GalleryIndexError
from oamn_plugin.search.gallery import GalleryImage


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

    @property
    def unification(self) -> Unification:
        """How queries and gallery are unified: as the encoder says, plainly without one."""
        return Unification() if self.encoder is None else self.encoder.unification

    def matching(self, plain: bool = False) -> Matching | None:
        """The matched unification, where searches use it."""
        return None if plain or self.unification.kind != "matched" else self.unification.matching()

    @property
    def possible_types(self) -> tuple[str, ...]:
        """The occlusion types that may be built: the encoder's, all without one."""
        return OCCLUSION_TYPES if self.encoder is None else self.encoder.types

    def check_types(self, names: Iterable[str]) -> None:
        """Raises GalleryIndexError for types that cannot be built."""
        if unknown := [name for name in names if name not in self.possible_types]:
            raise GalleryIndexError(
                f"cannot describe the types {', '.join(unknown)}: choose of {', '.join(self.possible_types)}"
            )

    @property
    def vanished(self) -> list[str]:
        """Paths of images whose files are gone. They stay in the index until they are removed."""
        return [image.path for image in self.images if not os.path.lexists(image.path)]
