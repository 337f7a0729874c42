"""The data set on disk: planned, drawn by all processors, moved into place when complete, and never half there."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from oamn_plugin.datasets.embedded.render import Shot, render
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY, FORMAT, Size, size
from oamn_plugin.datasets.embedded.stream import Stream
from oamn_plugin.datasets.embedded.truth import ANNOTATIONS, Truth, save_truth

ROOT_VARIABLE = "FASTREID_DATASETS"
QUALITY = 92
"""JPEG quality of the files; no chroma subsampling, so that small patterns keep their colour."""


def plan(counts: Size, seed: int) -> list[Shot]:
    """Everything that is to be drawn, in the order of the file names."""
    shots = []
    for pid in range(1, counts.train_ids + 1):
        shots += _spread("bounding_box_train", pid, counts.train_images, counts.cameras, False, seed)
    for pid in range(counts.train_ids + 1, counts.train_ids + counts.test_ids + 1):
        order = Stream(seed, "query cameras", pid).shuffled(range(counts.cameras))
        for number in range(counts.queries):
            camid = order[number % counts.cameras]
            shots.append(Shot("query", pid, camid, number + 1, True))
            shots.append(Shot("query_holistic", pid, camid, number + 1, False))
        shots += _spread("bounding_box_test", pid, counts.gallery_images, counts.cameras, True, seed)
    return sorted(shots)


def _spread(split: str, pid: int, images: int, cameras: int, some_occluded: bool, seed: int) -> list[Shot]:
    """The images of an identity, shared out evenly among cameras in a random order."""
    stream = Stream(seed, "cameras", split, pid)
    order = stream.shuffled(range(cameras))
    shots = []
    for index in range(images):
        occluded = some_occluded and stream.chance(DIFFICULTY.occluded_gallery)
        shots.append(Shot(split, pid, order[index % cameras], index + 1, occluded))
    return shots


def folder_name(name: str, seed: int) -> str:
    """Name of a data set's folder: it carries everything that the pictures depend on."""
    return f"OccludedPedestrians-{name}-seed{seed}-v{FORMAT}"


def ensure(root: str | Path | None = None, size: str = "demo", seed: int = 0, progress: bool = True) -> Path:
    """The folder of the generated data set; generates it if it is not there.

    Args:
        root: folder of the data sets. None: the environment variable ``FASTREID_DATASETS``, else ``datasets``.
        size: ``tiny``, ``demo`` or ``benchmark``.
        seed: another seed draws other people, places and occluders.
        progress: whether to show a progress bar.

    Returns:
        The folder, in Market-1501's layout with ``query_holistic/``, ``annotations.csv``, ``visibility.npz`` besides.

    Raises:
        ValueError: there is no such size.
        PermissionError: the root cannot be written; the message says how to choose another.
    """
    counts = _counts(size)
    base = Path(root if root is not None else os.environ.get(ROOT_VARIABLE, "datasets")).expanduser()
    target = base / folder_name(size, seed)
    if (target / ANNOTATIONS).is_file():
        return target
    try:
        base.mkdir(parents=True, exist_ok=True)
        with _locked(base / f".{target.name}.lock"):
            if not (target / ANNOTATIONS).is_file():
                _generate(base, target, counts, size, seed, progress)
    except OSError as error:
        if not os.access(base if base.exists() else _existing(base), os.W_OK):
            raise PermissionError(_unwritable(base)) from error
        raise
    return target


_counts = size


def _existing(folder: Path) -> Path:
    return next(parent for parent in folder.absolute().parents if parent.exists())


def _unwritable(base: Path) -> str:
    return (
        f"the embedded data set cannot be generated in {base.absolute()}: the folder cannot be written. Choose another "
        f"with the environment variable {ROOT_VARIABLE} or the argument root"
    )


def _generate(base: Path, target: Path, counts: Size, name: str, seed: int, progress: bool) -> None:
    """Draws everything beside the target, then moves it into place in one step."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=base))
    try:
        shots = plan(counts, seed)
        for split in {shot.split for shot in shots}:
            (scratch / split).mkdir()
        truths = {}
        bar = tqdm(total=len(shots), desc=f"OccludedPedestrians ({name})", unit="image", disable=not progress)
        for shot, data, truth in _drawn(shots, counts, seed):
            (scratch / shot.split / shot.name).write_bytes(data)
            truths[shot.name] = truth
            bar.update()
        bar.close()
        save_truth(scratch, truths)
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _drawn(shots: list[Shot], counts: Size, seed: int) -> Iterator[tuple[Shot, bytes, Truth]]:
    """Draws with all processors, in the order of the plan. Few images are drawn here: starting workers costs more."""
    tasks = [(seed, shot, counts.height, counts.width) for shot in shots]
    workers = min(
        len(shots) // 200, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if workers < 2:
        yield from map(_draw, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw, tasks, chunksize=16)


def _draw(task: tuple[int, Shot, int, int]) -> tuple[Shot, bytes, Truth]:
    seed, shot, height, width = task
    image, truth = render(seed, shot, height, width)
    return shot, encode(image), truth


def encode(image: NDArray[np.uint8]) -> bytes:
    """The bytes of an image file: baseline JPEG with fixed tables."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=False, progressive=False)
    return buffer.getvalue()


@contextmanager
def _locked(path: Path, wait: float = 0.5) -> Iterator[None]:
    """Holds a lock that the operating system releases when its process ends, so that none is ever left over."""
    with open(path, "a+b") as file:
        while not _try_lock(file.fileno()):
            time.sleep(wait)
        try:
            yield
        finally:
            _unlock(file.fileno())


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
