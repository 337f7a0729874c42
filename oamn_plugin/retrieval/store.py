"""Gallery descriptors on disk, one memory-mapped array per occlusion type."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from oamn_plugin.occlusion import OCCLUSION_TYPES


class DescriptorStore(Mapping[str, np.ndarray]):
    """A mapping from occlusion type to (G, D) float32 descriptors that lie in ``.npy`` files, not in memory.

    Filled batch by batch in gallery order, read as memory maps: memory stays at one batch while writing and at one type
    while ranking, however many types there are. Usable as the ``gallery`` of
    :func:`oamn_plugin.retrieval.evaluate_ranking`.

    Args:
        folder: where the files go (made if missing; files of types it already holds can be read, and are replaced when
            written to). None: a temporary folder, removed by :meth:`close`, at the end of a ``with`` block or with the
            object.

    >>> with DescriptorStore() as store:
    ...     store.append({"none": np.ones((2, 3)), "left_half": np.zeros((2, 3))})
    ...     store.append({"none": np.ones((1, 3)), "left_half": np.zeros((1, 3))})
    ...     list(store), store["none"].shape
    (['none', 'left_half'], (3, 3))
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="descriptors-") if folder is None else None
        self.folder = Path(self._temporary.name if self._temporary else str(folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, _GrowingArray] = {}

    def append(self, descriptors: Mapping[str, np.ndarray | Tensor]) -> None:
        """Adds the descriptors of the next gallery images: ``{type name: (N, D)}``, the same types at every call.

        Raises:
            ValueError: a name that is no occlusion type, other types than before, or another D.
        """
        unknown = sorted(set(descriptors) - set(OCCLUSION_TYPES))
        if unknown:
            raise ValueError(f"unknown occlusion types {', '.join(unknown)}: choose of {', '.join(OCCLUSION_TYPES)}")
        if self._open and set(self._open) != set(descriptors):
            raise ValueError(f"types {', '.join(descriptors)} do not continue a store of {', '.join(self._open)}")
        for name, rows in descriptors.items():
            array = rows.detach().float().cpu().numpy() if isinstance(rows, Tensor) else rows
            if name not in self._open:
                self._open[name] = _GrowingArray(self._path(name))
            self._open[name].append(np.ascontiguousarray(array, dtype=np.float32))

    def finish(self) -> None:
        """Ends writing; reading does so by itself."""
        for array in self._open.values():
            array.finish()
        self._open.clear()

    def close(self) -> None:
        """Ends writing and removes the folder if it is a temporary one."""
        self.finish()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._temporary.cleanup()

    def __getitem__(self, name: str) -> np.ndarray:
        self.finish()
        if not self._path(name).exists():
            raise KeyError(f"no descriptors of type {name!r}: the store holds {', '.join(self) or 'nothing'}")
        return np.load(self._path(name), mmap_mode="r", allow_pickle=False)

    def __iter__(self) -> Iterator[str]:
        return (name for name in OCCLUSION_TYPES if self._path(name).exists())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __enter__(self) -> DescriptorStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


class _GrowingArray:
    """A ``.npy`` file of float32 rows that grows; its header, which numpy pads for that, is rewritten at the end."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._rows, self._width = 0, -1

    def append(self, rows: np.ndarray) -> None:
        if rows.ndim != 2 or self._width not in (-1, rows.shape[1]):
            wanted = "(N, D)" if self._width < 0 else f"(N, {self._width})"
            raise ValueError(f"descriptors must have shape {wanted}, got {rows.shape}")
        if self._width < 0:
            self._width = rows.shape[1]
            self._write_header()
        self._file.write(rows.tobytes())
        self._rows += len(rows)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        write_header(self._file, self._rows, max(self._width, 0))


def write_header(file: IO[bytes], rows: int, width: int) -> None:
    """Writes the header of a ``.npy`` file of float32 rows; as long for any number, so it may be written over."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, header)
