"""Descriptors on disk: rows that are added at the end, each with the number of its image, read as a memory map.

NAME.npy           (M, D) float32 descriptors
NAME.numbers.npy   (N,) int64 image numbers of the first N rows, ascending; written last, so that it says what counts

Any numpy program reads them. Rows beyond N are what a killed process had begun to add: they are written over. While
images are taken out, there are fewer rows than numbers for a moment, by which readers see that they came at the wrong
one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from time import sleep
from typing import IO, Any, NamedTuple

import numpy as np

from oamn_plugin.retrieval.store import write_header
from oamn_plugin.search.files import IndexFileError, replacing, signature

_STEP = 1 << 14
_TRIES, _PAUSE = 30, 0.1  # readers wait for what another process is changing
_AGAIN = "build this type again (remove its files and run index)"


class Rows(NamedTuple):
    """Descriptors and whose they are."""

    numbers: np.ndarray
    """(N,) int64, ascending."""
    descriptors: np.ndarray
    """(N, D) float32, a memory map."""


class DescriptorFile:
    """The descriptors of one occlusion type.

    Args:
        path: ``NAME.npy``.
        dim: D.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path, self.dim = path, dim
        self.numbers_path = path.with_suffix(".numbers.npy")

    def exists(self) -> bool:
        """Whether there is one."""
        return self.numbers_path.exists()

    def read(self) -> Rows:
        """What it holds. Sizes are compared with those of the files before anything is allocated.

        Raises:
            IndexFileError: missing, damaged, or of another dimension; or being changed for seconds on end.
        """
        for _ in range(_TRIES):
            before = signature(self.numbers_path)
            numbers = np.array(mapped(self.numbers_path, np.int64))
            descriptors = mapped(self.path, np.float32, self.dim, most=len(numbers))
            if len(descriptors) == len(numbers) and signature(self.numbers_path) == before:
                break
            sleep(_PAUSE)  # one file was replaced, or both were in between
        else:
            raise IndexFileError(
                f"{self.path} holds {len(descriptors)} descriptors of {len(numbers)}: run index again, which ends a "
                f"change that was interrupted, or {_AGAIN}"
            )
        if len(numbers) and (numbers[0] < 0 or bool((np.diff(numbers) <= 0).any())):
            raise IndexFileError(f"{self.numbers_path} is damaged: {_AGAIN}")
        return Rows(numbers, descriptors)

    def append(self, blocks: Iterable[Rows]) -> None:
        """Adds rows whose numbers are larger than those there are. May be repeated after it was killed: a block's
        images that are there already are left out."""
        numbers = self.read().numbers if self.exists() else np.zeros(0, dtype=np.int64)
        last = int(numbers[-1]) if len(numbers) else -1
        parts = [numbers]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "r+b" if self.exists() else "w+b") as file:
            write_header(file, len(numbers), self.dim)
            file.seek(len(numbers) * self.dim * 4, os.SEEK_CUR)
            for block in blocks:
                fresh = block.numbers > last
                parts.append(block.numbers[fresh])
                file.write(np.ascontiguousarray(block.descriptors[fresh], dtype="<f4").tobytes())
            numbers = np.concatenate(parts)
            file.truncate()
            _sync(file)
            file.seek(0)
            write_header(file, len(numbers), self.dim)
            _sync(file)
        if len(numbers) > len(parts[0]) or not self.exists():
            save(self.numbers_path, numbers)

    def drop(self, gone: Iterable[int]) -> None:
        """Takes rows out, by the numbers of their images. May be repeated after it was killed at any moment."""
        numbers = np.array(mapped(self.numbers_path, np.int64))
        kept = ~np.isin(numbers, np.fromiter(gone, dtype=np.int64))
        if kept.all():
            return
        old = mapped(self.path, np.float32, self.dim, most=len(numbers))
        if len(old) == len(numbers):  # else it was killed between the two files
            with replacing(self.path) as aside, open(aside, "wb") as file:
                write_header(file, int(kept.sum()), self.dim)
                for start in range(0, len(numbers), _STEP):
                    file.write(old[start : start + _STEP][kept[start : start + _STEP]].tobytes())
        elif len(old) != kept.sum():
            raise IndexFileError(f"{self.path} holds {len(old)} descriptors of {len(numbers)}: {_AGAIN}")
        save(self.numbers_path, numbers[kept])


def mapped(path: Path, kind: Any, *row: int, most: int | None = None) -> np.memmap:
    """The rows of a ``.npy`` file as a memory map, which is refused where the file is too short for it.

    Args:
        path: the file, which may be replaced meanwhile.
        kind: dtype of the rows.
        row: their shape.
        most: rows that are wanted, the first of them; None: all.

    Raises:
        IndexFileError: missing, or not what it should be.
    """
    try:
        with open(path, "rb") as file:  # opened once: header and rows of one file
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of the format")
            shape, by_columns, found = np.lib.format.read_array_header_1_0(file)
            if by_columns or found != kind or not shape or shape[1:] != row:
                raise ValueError(f"{found} of shape {shape}, rows of {row or 1} {np.dtype(kind)} are wanted")
            start = file.tell()
            whole = np.memmap(file, kind, "r", start, shape)  # compares its length with that of the file
            # a slice would not do: evaluations read whole maps row by row without mapping them
            return whole if most is None or most >= len(whole) else np.memmap(file, kind, "r", start, (most, *row))
    except FileNotFoundError:
        raise IndexFileError(f"there is no {path}: {_AGAIN}") from None
    except Exception as error:  # whatever numpy raises of a damaged header
        raise IndexFileError(f"{path} is damaged ({str(error)[:200]}): {_AGAIN}") from error


def save(path: Path, array: np.ndarray) -> None:
    """Writes an array as ``.npy``, so that the old or the new file is whole at any moment."""
    with replacing(path) as aside, open(aside, "wb") as file:
        np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
