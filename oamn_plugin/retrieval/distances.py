"""Distances of queries to a gallery, a block of query rows at a time, the same bits whatever the block size.

A matrix product may round differently when its shape or its number of threads differs. So every product here is one of
a fixed shape, computed by one thread: queries in tiles of :data:`QUERY_TILE` rows, gallery in tiles of
:data:`GALLERY_TILE`, both counted from the first row and the last one filled up with zeros. Several tiles are computed
at once. Block size and number of threads change nothing; another kind of processor may change the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

QUERY_TILE = 128
"""Rows of one matrix product; shards of queries that start at a multiple of it give the bits of a single process."""
GALLERY_TILE = 1 << 10
"""Columns of one matrix product: 2 MB of 512-dimensional descriptors, which a processor's cache holds."""
GALLERY_STEP = 512
"""The last gallery tile is filled up to a multiple of this, which keeps to the inner loops of the full tiles."""
BLOCK_ELEMENTS = 1 << 26
"""Distances that the default block holds at most (256 MB), unless one tile of rows alone has more."""
METRICS = ("sqeuclidean", "cosine")

Descriptors = np.ndarray | Tensor
"""(N, D) descriptors: a numpy array (a memory-mapped one too) or a torch tensor on any device."""


def distance_blocks(
    query: Descriptors, gallery: Descriptors, *, metric: str = "sqeuclidean", chunk_size: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yields ``(first query of the block, distances (R, G))``; each block is valid until the next is drawn.

    ``sqeuclidean`` is ``|q|^2 + |g|^2 - 2 q.g`` and ``cosine`` is ``1 - q.g`` of the normalised vectors, in float32,
    the operations in fastreid's order. The product runs where the tensors lie (the query's device first), for arrays on
    the CPU.

    Args:
        query: (Q, D).
        gallery: (G, D); read one tile at a time, so that a memory-mapped file is never held whole.
        metric: ``sqeuclidean`` or ``cosine``.
        chunk_size: queries per block, rounded up to a multiple of :data:`QUERY_TILE`; None: about 256 MB a block.

    Raises:
        ValueError: shapes that do not fit, an unknown metric, or a descriptor that is not finite.
    """
    _check(query, gallery, metric, chunk_size)
    device = _device(query, gallery)
    rows = min(block_rows(len(gallery), chunk_size), _tiled(len(query), QUERY_TILE))
    buffer = torch.empty((rows, _tiled(len(gallery), GALLERY_STEP)), device=device)
    query_norms = _squared_norms(query, _tiled(len(query), QUERY_TILE), device, "query")
    gallery_norms = _squared_norms(gallery, buffer.shape[1], device, "gallery")
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(query), rows):
            norms = query_norms[start : start + rows], gallery_norms
            _fill(buffer, query, gallery, start, norms, metric, pool)
            yield start, buffer[: min(rows, len(query) - start), : len(gallery)]


def block_rows(num_gallery: int, chunk_size: int | None = None) -> int:
    """Query rows per block: a multiple of :data:`QUERY_TILE`.

    >>> block_rows(82161), block_rows(82161, chunk_size=200), block_rows(10**7)
    (768, 256, 128)
    """
    wanted = chunk_size or min(1024, BLOCK_ELEMENTS // max(num_gallery, 1) // QUERY_TILE * QUERY_TILE)
    return max(QUERY_TILE, -(-wanted // QUERY_TILE) * QUERY_TILE)


def _fill(
    buffer: Tensor,
    query: Descriptors,
    gallery: Descriptors,
    start: int,
    norms: tuple[Tensor, Tensor],
    metric: str,
    pool: Executor,
) -> None:
    rows = min(QUERY_TILE, len(buffer))
    used = -(-min(len(buffer), len(query) - start) // rows) * rows
    block = _tile(query, start, used, buffer.device)
    if metric == "cosine":
        block = block / _lengths(norms[0])

    @torch.inference_mode()  # of the thread, not of the caller
    def work(column: int) -> None:
        tile_norms = norms[1][column : column + GALLERY_TILE]
        tile = _tile(gallery, column, len(tile_norms), buffer.device)
        if metric == "cosine":
            tile = tile / _lengths(tile_norms)
        for row in range(0, used, rows):
            target = buffer[row : row + rows, column : column + len(tile)]
            part = block[row : row + rows]
            if metric == "cosine":
                torch.sub(1.0, part @ tile.T, out=target)
            else:
                torch.add(norms[0][row : row + rows, None], tile_norms[None], out=target)
                target.addmm_(part, tile.T, beta=1, alpha=-2)

    columns = range(0, buffer.shape[1], GALLERY_TILE)
    if buffer.device.type == "cpu":
        with _one_thread_a_product():
            list(pool.map(work, columns))
    else:
        for column in columns:
            work(column)


@contextmanager
def _one_thread_a_product() -> Iterator[None]:
    """Lets the threads that are started inside compute on their own; the caller's setting comes back afterwards.

    Threads that share a product wait for each other at its end, and for long when something else runs beside them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lengths(squared: Tensor) -> Tensor:
    return squared.sqrt().clamp_min(1e-12)[:, None]


def _tiled(count: int, tile: int) -> int:
    """``count`` rounded up to a multiple of ``tile``; a smaller one to the next power of two."""
    if count >= tile:
        return -(-count // tile) * tile
    return max(16, 1 << (count - 1).bit_length())


def _tile(array: Descriptors, start: int, size: int, device: torch.device) -> Tensor:
    """Rows ``start : start + size`` as float32 on ``device``, filled up with zeros at the end of the array."""
    part = array[start : start + size]
    if isinstance(part, np.ndarray):
        # a tensor on memory that may not be written (a mapped file) is not allowed: copy that one tile
        part = torch.from_numpy(np.require(part, np.float32, ["C", "W"]))
    part = part.to(device=device, dtype=torch.float32)
    if len(part) < size:
        part = torch.cat([part, part.new_zeros((size - len(part), part.shape[1]))])
    return part


@torch.inference_mode()
def _squared_norms(array: Descriptors, width: int, device: torch.device, what: str) -> Tensor:
    starts = range(0, width, GALLERY_TILE)
    parts = [_tile(array, start, min(GALLERY_TILE, width - start), device).square().sum(dim=1) for start in starts]
    norms = torch.cat(parts)
    bad = (~norms.isfinite()).nonzero()
    if len(bad):
        # a NaN compares as "not nearer" with everything, so it would count as a perfect rank
        raise ValueError(f"{len(bad)} {what} descriptors are not finite, the first at row {int(bad[0])}")
    return norms


def _device(query: Descriptors, gallery: Descriptors) -> torch.device:
    on_gpu = [a.device for a in (query, gallery) if isinstance(a, Tensor) and a.device.type != "cpu"]
    return on_gpu[0] if on_gpu else torch.device("cpu")


def _check(query: Descriptors, gallery: Descriptors, metric: str, chunk_size: int | None) -> None:
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    shapes = tuple(query.shape), tuple(gallery.shape)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"query and gallery must be (Q, D) and (G, D) with the same D, got {shapes[0]} and {shapes[1]}"
        )
    if not len(query) or not len(gallery):
        raise ValueError(f"nothing to rank: {len(query)} queries and {len(gallery)} gallery images")
