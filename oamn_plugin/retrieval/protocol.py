"""Who is compared with whom: labels of queries and gallery, groups of queries by occlusion type, their distances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES, TYPE_INDEX
from oamn_plugin.retrieval.counting import WHOLE, IdentityIndex, Members, Shard
from oamn_plugin.retrieval.distances import Descriptors, block_rows, check_some, distance_blocks
from oamn_plugin.retrieval.matching import Matching, matched_blocks
from oamn_plugin.retrieval.metrics import IntArray

Labels = Sequence[int] | np.ndarray | Tensor
Types = Sequence[str] | np.ndarray | Tensor
LazyDescriptors = Descriptors | Callable[[], Descriptors]
Gallery = Descriptors | Mapping[str, LazyDescriptors]
Blocks = Callable[[Descriptors, Descriptors], Iterator[tuple[int, Tensor]]]


class Protocol:
    """Checked labels of an evaluation in the manner of Market-1501.

    Args:
        query_pids, gallery_pids: (Q,) and (G,) identities.
        query_camids, gallery_camids: (Q,) and (G,) cameras.
        query_types: (Q,) occlusion types, names or indices, or None.
        absent: (G,) bool, gallery images that could not be read: they keep their place and count nowhere.

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
        absent: np.ndarray | None = None,
    ) -> None:
        self.pids = _labels(query_pids, None, "query_pids")
        self.camids = _labels(query_camids, len(self.pids), "query_camids")
        gallery = _labels(gallery_pids, None, "gallery_pids")
        self.num_query, self.num_columns = len(self.pids), len(gallery)
        self.absent = absent if absent is not None and absent.any() else None
        self.num_gallery = len(gallery) - (0 if self.absent is None else int(self.absent.sum()))
        self._index = IdentityIndex(gallery, _labels(gallery_camids, len(gallery), "gallery_camids"), self.absent)
        self.types = None if query_types is None else _type_names(query_types, self.num_query)

    def members(self, rows: IntArray) -> list[Members]:
        """Gallery columns of the identity of each of the given queries."""
        return self._index.members(self.pids[rows], self.camids[rows])

    def has_match(self) -> bool:
        """Whether some query has one: an image of its identity under another camera."""
        return any(len(one.positives) for one in self.members(np.arange(self.num_query)))

    def require_match(self, found: bool) -> None:
        """Raises ValueError if no query has a match."""
        if not found:
            raise ValueError(
                f"none of the {self.num_query} queries has a match: no query identity is in the gallery under another "
                "camera. Check that query and gallery are of the same data set and that camera numbers differ"
            )

    def type_counts(self) -> dict[str, int]:
        """How many queries have each occlusion type; empty without types."""
        return {} if self.types is None else type_counts(np.array([TYPE_INDEX[name] for name in self.types.tolist()]))

    def blocks(
        self,
        query: Descriptors,
        gallery: Gallery,
        metric: str,
        chunk_size: int | None,
        make: Blocks | None = None,
        shard: Shard = WHOLE,
        matching: Matching | None = None,
    ) -> Iterator[tuple[IntArray, Tensor]]:
        """Yields ``(query numbers, distances (R, G))``; with a mapping, queries by type against that type's gallery.

        Args:
            query: (Q, D).
            gallery: (G, D), or by type, or by type a function that returns it; of a shard, its images alone.
            metric: see :func:`oamn_plugin.retrieval.distances.distance_blocks`.
            chunk_size: queries a block.
            make: makes the blocks of one group instead of ``distance_blocks``.
            shard: the part of the gallery that is there.
            matching: matched distances: every query meets all types of the mapping, none of which is a function.
        """
        if len(query) != self.num_query:
            raise ValueError(f"{len(query)} query descriptors but {self.num_query} query_pids")
        # of the whole gallery's size: the processes that hold shards must take the same blocks
        size = block_rows(self.num_columns, chunk_size)
        if matching is not None:
            if not isinstance(gallery, Mapping):
                raise ValueError("matched unification needs a gallery by occlusion type")
            variants = cast(Mapping[str, Descriptors], gallery)
            for name in matching.types:
                if name in variants:
                    self._check_gallery(variants[name], shard)
            for start, block in matched_blocks(query, variants, matching, chunk_size=size):
                yield np.arange(start, start + len(block)), self._present(block, shard)
            return
        for rows, source in self._groups(gallery):
            descriptors = source() if callable(source) else source
            self._check_gallery(descriptors, shard)
            group = query if rows is None else query[rows]
            made = (
                make(group, descriptors)
                if make
                else distance_blocks(group, descriptors, metric=metric, chunk_size=size)
            )
            for start, block in made:
                inside = np.arange(start, start + len(block))
                yield inside if rows is None else rows[inside], self._present(block, shard)

    def _present(self, block: Tensor, shard: Shard) -> Tensor:
        """Puts images that could not be read infinitely far from every query, in place."""
        if self.absent is not None:
            own = self.absent[shard.start : shard.start + block.shape[1]]
            block[:, torch.from_numpy(own).to(block.device)] = torch.inf
        return block

    def _check_gallery(self, descriptors: Descriptors, shard: Shard) -> None:
        """Raises ValueError unless there is a descriptor for each gallery image, or a shard lies within the gallery."""
        check_some(range(self.num_columns))
        fits = len(descriptors) == self.num_columns
        if shard is not WHOLE:
            fits = shard.start + len(descriptors) <= self.num_columns
        if not fits:
            raise ValueError(f"{len(descriptors)} gallery descriptors but {self.num_columns} gallery_pids")

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


def type_counts(types: IntArray) -> dict[str, int]:
    """How often each occlusion type occurs among type indices, in the order of ``OCCLUSION_TYPES``.

    >>> type_counts(np.array([1, 0, 1]))
    {'none': 1, 'left_half': 2}
    """
    counts = np.bincount(types, minlength=len(OCCLUSION_TYPES)).tolist()
    return {name: count for name, count in zip(OCCLUSION_TYPES, counts, strict=True) if count}


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
        if not ((array >= 0) & (array < len(OCCLUSION_TYPES))).all():
            raise ValueError(f"occlusion types are numbered 0 to {len(OCCLUSION_TYPES) - 1}")
        array = np.array(OCCLUSION_TYPES)[array]
    unknown = sorted(set(array.tolist()) - set(OCCLUSION_TYPES))
    if unknown:
        names = ", ".join(map(str, unknown))
        raise ValueError(f"unknown occlusion types {names}: choose of {', '.join(OCCLUSION_TYPES)}")
    return array
