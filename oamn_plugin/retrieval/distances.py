"""Distances of queries to a gallery, a block of query rows at a time, the same bits whatever the block size.

A matrix product may round differently when its shape or its number of threads differs. So every product here is one of
a fixed shape, computed by one thread: queries in tiles of :data:`QUERY_TILE` rows, gallery in tiles of
:data:`GALLERY_TILE`, both counted from the first row and the last one filled up with zeros. Several tiles are computed
at once. Block size and number of threads change nothing; another kind of processor may change the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from oamn_plugin.environment import one_thread

QUERY_TILE = 128
"""Rows of one matrix product; shards of queries that start at a multiple of it give the bits of a single process."""
GALLERY_TILE = 1 << 10
"""Columns of one matrix product: 2 MB of 512-dimensional descriptors, which a processor's cache holds."""
GALLERY_STEP = 512
"""The last gallery tile is filled up to a multiple of this, which keeps to the inner loops of the full tiles."""
BLOCK_ELEMENTS = 1 << 26
"""Distances that the default block holds at most (256 MB), unless one tile of rows alone has more."""
METRICS = ("sqeuclidean", "cosine")
LARGEST_SQUARE = 2.0**124
"""Squared lengths from here on overflow float32 in a distance."""

Descriptors = np.ndarray | Tensor
"""(N, D) descriptors: a numpy array (a memory-mapped one too) or a torch tensor on any device."""


Tile = tuple[Tensor, slice, Tensor]
"""Where the distances of some query rows to some gallery columns go, the rows' place, and their descriptors."""
TileFiller = Callable[[slice, Sequence[Tile]], None]
"""``fill(columns, tiles)`` writes the distances to gallery columns into tiles that share these columns. Rows and
columns may go beyond the arrays: tiles are filled up."""


def distance_blocks(
    query: Descriptors, gallery: Descriptors, *, metric: str = "sqeuclidean", chunk_size: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yields ``(first query of the block, distances (R, G))``; each block is valid until the next is drawn.

    ``sqeuclidean`` is ``|q|^2 + |g|^2 - 2 q.g`` and ``cosine`` is ``1 - q.g`` of the normalised vectors, in float32,
    the operations in fastreid's order. The product runs where the tensors lie (the query's device first), for arrays on
    the CPU.

    Args:
        query: (Q, D).
        gallery: (G, D); read one tile at a time, so that a memory-mapped file is never held whole. G may be 0: a small
            gallery leaves nothing to some processes.
        metric: ``sqeuclidean`` or ``cosine``.
        chunk_size: queries per block, rounded up to a multiple of :data:`QUERY_TILE`; None: about 256 MB a block.

    Raises:
        ValueError: shapes that do not fit, an unknown metric, or a descriptor that is not finite.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
    check_shapes(query, gallery)
    device = descriptor_device(query, gallery)
    query_squares = squared_norms(query, QUERY_TILE, device)
    gallery_squares = squared_norms(gallery, GALLERY_STEP, device)
    check_finite(query_squares, "query")
    check_finite(gallery_squares, "gallery")

    def fill(columns: slice, tiles: Sequence[Tile]) -> None:
        images, squares = tile_of(gallery, columns, device), gallery_squares[columns]
        if metric == "cosine":
            images = images / _lengths(squares)
        for target, rows, block in tiles:
            if metric == "cosine":
                torch.sub(1.0, block / _lengths(query_squares[rows]) @ images.T, out=target)
            else:
                squared_distances(block, images, query_squares[rows], squares, out=target)

    yield from filled_blocks(query, gallery, fill, chunk_size)


def filled_blocks(
    query: Descriptors, gallery: Descriptors, fill: TileFiller, chunk_size: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yields ``(first query of the block, distances (R, G))`` of tiles of fixed shape, several computed at once.

    Args:
        query: (Q, D).
        gallery: (G, D); only its shape and place are used.
        fill: computes a tile, in a thread of its own.
        chunk_size: see :func:`distance_blocks`.
    """
    check_shapes(query, gallery)
    device = descriptor_device(query, gallery)
    rows = min(block_rows(len(gallery), chunk_size), _tiled(len(query), QUERY_TILE))
    buffer = torch.empty((rows, _tiled(len(gallery), GALLERY_STEP)), device=device)
    tile_rows = min(QUERY_TILE, rows)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(query), rows):
            used = -(-min(rows, len(query) - start) // tile_rows) * tile_rows
            block = tile_of(query, slice(start, start + used), device)
            _fill_columns(buffer, block, start, tile_rows, fill, pool)
            yield start, buffer[: min(rows, len(query) - start), : len(gallery)]


def block_rows(num_gallery: int, chunk_size: int | None = None) -> int:
    """Query rows per block: a multiple of :data:`QUERY_TILE`.

    Raises:
        ValueError: a chunk size below 1.

    >>> block_rows(82161), block_rows(82161, chunk_size=200), block_rows(10**7)
    (768, 256, 128)
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    wanted = chunk_size or min(1024, BLOCK_ELEMENTS // max(num_gallery, 1) // QUERY_TILE * QUERY_TILE)
    return max(QUERY_TILE, -(-wanted // QUERY_TILE) * QUERY_TILE)


def _fill_columns(buffer: Tensor, block: Tensor, start: int, tile_rows: int, fill: TileFiller, pool: Executor) -> None:
    @torch.inference_mode()  # of the thread, not of the caller
    def work(column: int) -> None:
        columns = slice(column, min(column + GALLERY_TILE, buffer.shape[1]))
        parts = [slice(row, row + tile_rows) for row in range(0, len(block), tile_rows)]
        fill(columns, [(buffer[own, columns], slice(start + own.start, start + own.stop), block[own]) for own in parts])

    starts = range(0, buffer.shape[1], GALLERY_TILE)
    if buffer.device.type == "cpu":
        with one_thread():  # those that share a product wait for each other, for long when something else runs too
            list(pool.map(work, starts))
    else:
        for column in starts:
            work(column)


def squared_distances(
    block: Tensor, tile: Tensor, block_squares: Tensor, tile_squares: Tensor, out: Tensor | None = None
) -> Tensor:
    """Squared Euclidean distances (R, C) of one tile: ``|q|^2 + |g|^2 - 2 q.g``.

    Args:
        block: (R, D) queries.
        tile: (C, D) gallery.
        block_squares: (R,) squared lengths of the queries.
        tile_squares: (C,) of the gallery.
        out: where to write; None: a new tensor.
    """
    out = block.new_empty((len(block), len(tile))) if out is None else out
    torch.add(block_squares[:, None], tile_squares[None], out=out)
    return out.addmm_(block, tile.T, beta=1, alpha=-2)


def _lengths(squared: Tensor) -> Tensor:
    return squared.sqrt().clamp_min(1e-12)[:, None]


def _tiled(count: int, tile: int) -> int:
    """``count`` rounded up to a multiple of ``tile``; a smaller one to the next power of two."""
    if count >= tile:
        return -(-count // tile) * tile
    return max(16, 1 << (count - 1).bit_length())


def tile_of(array: Descriptors, rows: slice, device: torch.device) -> Tensor:
    """Rows of an array as float32 on ``device``, filled up with zeros beyond its end."""
    size = rows.stop - rows.start
    part = _read_rows(array, rows.start, size) if isinstance(array, np.memmap) else array[rows]
    if isinstance(part, np.ndarray):
        # a tensor on memory that may not be written is not allowed: copy that one tile
        part = torch.from_numpy(np.require(part, np.float32, ["C", "W"]))
    part = part.to(device=device, dtype=torch.float32)
    if len(part) < size:
        part = torch.cat([part, part.new_zeros((size - len(part), part.shape[1]))])
    return part


def _read_rows(array: np.memmap, start: int, size: int) -> np.ndarray:
    """Rows of a mapped file, read without mapping them: nine types of a large gallery would else stay in memory.

    Where the file was replaced since, as an index does whose images are removed, its name leads to other rows: the map
    still has the old ones.
    """
    if array.filename is None or not array.flags.c_contiguous or array.base is not array._mmap:  # type: ignore[attr-defined]
        return array[start : start + size]
    rows, width = max(0, min(size, len(array) - start)), array.shape[1]
    offset = array.offset + start * width * array.itemsize
    try:
        read = np.fromfile(array.filename, array.dtype, rows * width, offset=offset)
    except FileNotFoundError:
        read = np.empty(0, array.dtype)
    ends = [(read[:width], array[start]), (read[-width:], array[start + rows - 1])] if rows else []
    same = len(read) == rows * width and all(one.tobytes() == other.tobytes() for one, other in ends)
    return read.reshape(rows, width) if same else array[start : start + size]


@torch.inference_mode()
def squared_norms(array: Descriptors, tile: int, device: torch.device) -> Tensor:
    """Squared lengths of the rows of an array, filled up with zeros to whole tiles of ``tile`` rows."""
    width = _tiled(len(array), tile)
    parts = [slice(start, min(start + GALLERY_TILE, width)) for start in range(0, width, GALLERY_TILE)]
    return torch.cat([tile_of(array, part, device).square().sum(dim=1) for part in parts])


def check_finite(squared: Tensor, what: str) -> None:
    """Raises ValueError for lengths that make a distance NaN, which compares as "not nearer", so as a perfect rank."""
    bad = (~(squared < LARGEST_SQUARE)).nonzero()
    if len(bad):
        raise ValueError(
            f"{len(bad)} {what} descriptors are not finite or too long to be compared, the first at row {int(bad[0])}"
        )


def descriptor_device(*arrays: Descriptors) -> torch.device:
    """Where distances are computed: on the first GPU that one of the arrays lies on, else on the CPU."""
    on_gpu = [array.device for array in arrays if isinstance(array, Tensor) and array.device.type != "cpu"]
    return on_gpu[0] if on_gpu else torch.device("cpu")


def check_some(gallery: Sized) -> None:
    """Raises ValueError for a gallery without an image, where it is not a shard of a larger one."""
    if not len(gallery):
        raise ValueError("nothing to rank: there is no gallery image")


def check_shapes(query: Descriptors, gallery: Descriptors) -> None:
    """Raises ValueError unless both are matrices of the same width and there is a query."""
    shapes = tuple(query.shape), tuple(gallery.shape)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"query and gallery must be (Q, D) and (G, D) with the same D, got {shapes[0]} and {shapes[1]}"
        )
    if not len(query):
        raise ValueError("nothing to rank: there is no query")
