"""Who is compared with whom: labels of queries and gallery, groups of queries by occlusion type, their distances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval.counting import IdentityIndex, Members
from oamn_plugin.retrieval.distances import Descriptors, distance_blocks
from oamn_plugin.retrieval.metrics import IntArray

Labels = Sequence[int] | np.ndarray | Tensor
Types = Sequence[str] | np.ndarray | Tensor
LazyDescriptors = Descriptors | Callable[[], Descriptors]
Gallery = Descriptors | Mapping[str, LazyDescriptors]
Blocks = Callable[[Descriptors, Descriptors], Iterator[tuple[int, Tensor]]]


class Protocol:
    """Checked labels of an evaluation in the manner of Market-1501.

    Args:
        query_pids: (Q,) identities.
        gallery_pids: (G,) identities.
        query_camids: (Q,) cameras.
        gallery_camids: (G,) cameras.
        query_types: (Q,) occlusion types, names or indices, or None.

    Raises:
        ValueError: lengths that do not fit, labels that are no whole numbers of 64 bits, or an unknown occlusion type.
    """

    def __init__(
        self,
        query_pids: Labels,
        gallery_pids: Labels,
        query_camids: Labels,
        gallery_camids: Labels,
        query_types: Types | None = None,
    ) -> None:
        self.pids = _labels(query_pids, None, "query_pids")
        self.camids = _labels(query_camids, len(self.pids), "query_camids")
        gallery = _labels(gallery_pids, None, "gallery_pids")
        self.num_query, self.num_gallery = len(self.pids), len(gallery)
        self._index = IdentityIndex(gallery, _labels(gallery_camids, len(gallery), "gallery_camids"))
        self.types = None if query_types is None else _type_names(query_types, self.num_query)

    def members(self, rows: IntArray) -> list[Members]:
        """Gallery columns of the identity of each of the given queries."""
        pairs = zip(self.pids[rows].tolist(), self.camids[rows].tolist(), strict=True)
        return [self._index.members(pid, camid) for pid, camid in pairs]

    def type_counts(self) -> dict[str, int]:
        """How many queries have each occlusion type, in the order of ``OCCLUSION_TYPES``; empty without types."""
        counts = Counter() if self.types is None else Counter(self.types.tolist())
        return {name: counts[name] for name in OCCLUSION_TYPES if name in counts}

    def blocks(
        self, query: Descriptors, gallery: Gallery, metric: str, chunk_size: int | None, make: Blocks | None = None
    ) -> Iterator[tuple[IntArray, Tensor]]:
        """Yields ``(query numbers, distances (R, G))``; with a mapping, queries by type against that type's gallery.

        Args:
            query: (Q, D).
            gallery: (G, D), or by type, or by type a function that returns it.
            metric: see :func:`oamn_plugin.retrieval.distances.distance_blocks`.
            chunk_size: queries a block.
            make: makes the blocks of one group instead of ``distance_blocks``.
        """
        if len(query) != self.num_query:
            raise ValueError(f"{len(query)} query descriptors but {self.num_query} query_pids")
        for rows, source in self._groups(gallery):
            descriptors = source() if callable(source) else source
            if len(descriptors) != self.num_gallery:
                raise ValueError(f"{len(descriptors)} gallery descriptors but {self.num_gallery} gallery_pids")
            group = query if rows is None else query[rows]
            made = (
                make(group, descriptors)
                if make
                else distance_blocks(group, descriptors, metric=metric, chunk_size=chunk_size)
            )
            for start, block in made:
                inside = np.arange(start, start + len(block))
                yield inside if rows is None else rows[inside], block

    def _groups(self, gallery: Gallery) -> Iterable[tuple[IntArray | None, LazyDescriptors]]:
        """Query numbers (None: all) and the gallery that each group of them meets."""
        if not isinstance(gallery, Mapping):
            return [(None, gallery)]
        if self.types is None:
            raise ValueError("gallery is a mapping from occlusion type to descriptors, so query_types must be given")
        present = [name for name in OCCLUSION_TYPES if (self.types == name).any()]
        missing = [name for name in present if name not in gallery]
        if missing:
            raise ValueError(f"queries of type {', '.join(missing)} but the gallery only has {', '.join(gallery)}")
        # one type's descriptors are let go before the next are asked for
        return ((np.flatnonzero(self.types == name), gallery[name]) for name in present)


def _labels(values: Labels, length: int | None, name: str) -> IntArray:
    """The labels as int64; whatever would become another label by that is refused."""
    array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if array.ndim != 1 or (length is not None and len(array) != length):
        wanted = "one dimension" if length is None else f"shape ({length},)"
        raise ValueError(f"{name} must have {wanted}, got shape {array.shape}")
    if not len(array):
        return array.astype(np.int64)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be whole numbers, got {array.dtype}: number the names, or labels beyond 64 bits")
    if array.dtype.kind == "f":  # 2.0**63 is the first float that does not fit; NaN fails every comparison
        whole = (np.abs(array) < 2.0**63) & (np.floor(array) == array)
    else:
        whole = array <= np.iinfo(np.int64).max
    if not whole.all():
        raise ValueError(f"{name} must be whole numbers below 2^63, got {array[~whole][0]}")
    return array.astype(np.int64)


def _type_names(types: Types, length: int) -> np.ndarray:
    array = np.asarray(types.cpu() if isinstance(types, Tensor) else types)
    if array.shape != (length,):
        raise ValueError(f"query_types must have shape ({length},), got {array.shape}")
    if array.dtype.kind in "iu":
        array = np.array(OCCLUSION_TYPES)[array]
    unknown = sorted(set(array.tolist()) - set(OCCLUSION_TYPES))
    if unknown:
        names = ", ".join(map(str, unknown))
        raise ValueError(f"unknown occlusion types {names}: choose of {', '.join(OCCLUSION_TYPES)}")
    return array
