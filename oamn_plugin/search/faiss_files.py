"""faiss indexes as files: written whole or not at all, looked at before faiss, which trusts its input, reads them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from oamn_plugin.errors import ExpectedError

MIN_TRAINING = 1000
"""Fewer images than this are searched exactly: product quantisation has nothing to learn from them."""
TRAINING_ROWS = 1 << 18
"""At most so many descriptors train a quantiser."""
_WRAPPED, _FLAT, _QUANTISED = (b"IxMp",), (b"IxF2", b"IxFI"), (b"IwPQ",)
_HEADER = struct.Struct("<iqqq?i")  # d, ntotal, two unused numbers, is_trained, metric


class IndexFileError(ExpectedError, ValueError):
    """A file of an index that is missing, damaged or not what its name says; the message says what to do."""


@dataclass(frozen=True)
class IVFPQ:
    """Inverted lists with product quantisation (Jegou et al., TPAMI 2011): a few bytes an image instead of 4 D.

    Args:
        code_bytes: bytes a descriptor is stored in; must divide D.
        lists: inverted lists; 0: 4 sqrt(N), as many as faiss's guidelines give, within what N images can train.
        probes: lists looked into for a query; more find more and take longer.
    """

    code_bytes: int = 64
    lists: int = 0
    probes: int = 32

    def __post_init__(self) -> None:
        if self.code_bytes < 1 or self.lists < 0 or self.probes < 1:
            raise ValueError(f"code_bytes and probes must be at least 1 and lists at least 0, got {self}")

    def check(self, dim: int, count: int = MIN_TRAINING) -> None:
        """Refuses a gallery that this quantisation cannot serve.

        Raises:
            IndexFileError: too few images, or a number of bytes that does not divide D.
        """
        if count < MIN_TRAINING:
            raise IndexFileError(
                f"IVF-PQ learns from at least {MIN_TRAINING} images, here are {count}: use an exact index"
            )
        if dim % self.code_bytes:
            fitting = [number for number in (8, 16, 32, 64, 128, 256) if dim % number == 0]
            raise IndexFileError(
                f"descriptors of {dim} numbers do not fit into {self.code_bytes} bytes: choose one of "
                f"{', '.join(map(str, fitting))}"
            )

    def train(self, vectors: np.ndarray) -> Any:
        """A trained, empty index for vectors like the (N, D) given ones."""
        count, dim = vectors.shape
        lists = self.lists or max(1, min(int(4 * count**0.5), count // 39))
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, lists, self.code_bytes, 8)
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # it would warn on stderr
        sample = vectors[:: max(1, count // TRAINING_ROWS)]
        try:
            index.train(np.ascontiguousarray(sample, dtype=np.float32))
        except RuntimeError as error:
            raise IndexFileError(f"IVF-PQ cannot learn from {count} images: use an exact index") from error
        return index


def new_flat(dim: int) -> Any:
    """An empty exact index whose images have numbers."""
    return faiss.IndexIDMap(faiss.IndexFlatL2(dim))


def is_exact(index: Any) -> bool:
    """Whether an index holds the descriptors themselves."""
    return isinstance(index, faiss.IndexIDMap)


def ids_of(index: Any) -> np.ndarray:
    """(N,) int64 numbers of the images in an index: of an exact one in the order of its rows, else ascending."""
    if is_exact(index):
        return faiss.vector_to_array(index.id_map)
    lists = index.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
        for number in range(index.nlist)
        if lists.list_size(number)
    ]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)


def vectors_of(index: Any) -> np.ndarray:
    """(N, D) float32 descriptors of an exact index, in place: valid as long as the index is."""
    flat: Any = faiss.downcast_index(index.index)
    if flat.ntotal == 0:
        return np.zeros((0, flat.d), dtype=np.float32)
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def write(path: Path, index: Any) -> None:
    """Writes an index beside its place and moves it there; equal indexes give equal files."""
    with replacing(path) as aside:
        faiss.write_index(index, str(aside))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``; takes its place afterwards. The old or the new one is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    yield aside
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)


def read(path: Path, dim: int) -> Any:
    """Reads an index of D-dimensional descriptors.

    Kind, dimension and, for an exact index, the length of the file are compared with what it must be before faiss sees
    it. The inside of a quantised index cannot be checked without faiss: take those only from people you trust.

    Raises:
        IndexFileError: missing, cut off, or of another kind or dimension.
    """
    again = "build this type again (remove the file and run index)"
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError as error:
        raise IndexFileError(f"cannot read the index file {path}: {error.strerror}") from error
    if not _plausible(head, size, dim):
        raise IndexFileError(f"{path} is damaged or no index of {dim} numbers an image: {again}")
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise IndexFileError(f"{path} is damaged ({str(error).splitlines()[0][:200]}): {again}") from error


def _plausible(head: bytes, size: int, dim: int) -> bool:
    outer = 4 + _HEADER.size
    if len(head) < 2 * outer:
        return False
    d, total, _, _, _, metric = _HEADER.unpack_from(head, 4)
    if d != dim or total < 0 or metric != faiss.METRIC_L2:
        return False
    if head[:4] in _QUANTISED:
        return size > total * 8
    inner = head[outer : outer + 4] in _FLAT and _HEADER.unpack_from(head, outer + 4)[:2] == (dim, total)
    # after the two headers: the vectors and the numbers, each behind its length
    return head[:4] in _WRAPPED and inner and size == 2 * outer + 8 + total * dim * 4 + 8 + total * 8
