"""The data set on disk: drawn by all processors beside its place, moved there when complete, and never half there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple
from pathlib import Path

from tqdm import tqdm

from oamn_plugin.datasets.embedded import worker
from oamn_plugin.datasets.embedded.plan import plan
from oamn_plugin.datasets.embedded.sizes import FORMAT, Size, counts_of
from oamn_plugin.datasets.embedded.truth import ANNOTATIONS, Truth, load_truth, save_truth
from oamn_plugin.datasets.folders import new_folder, only_maker, stopping_cleanly
from oamn_plugin.environment import ROOT_VARIABLE, default_root, processors

FEW = 400
"""Below so many images one process is quicker than several."""
_DRAWS = ContextVar("draws", default=True)


def folder_name(size: str | Size, seed: int) -> str:
    """Name of a data set's folder: it carries everything that the pictures depend on.

    >>> folder_name("demo", 0)
    'OccludedPedestrians-demo-seed0-v2'
    """
    label = size if isinstance(size, str) else "x".join(map(str, astuple(size)))
    return f"OccludedPedestrians-{label}-seed{seed}-v{FORMAT}"


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Within it nothing is drawn: :func:`ensure` gives the folder that the data set would have. For dry runs."""
    token = _DRAWS.set(False)
    try:
        yield
    finally:
        _DRAWS.reset(token)


def ensure(root: str | Path | None = None, size: str | Size = "demo", seed: int = 0, progress: bool = True) -> Path:
    """The folder of the generated data set; generates it if it is not there.

    Args:
        root: folder of the data sets. None: the environment variable ``FASTREID_DATASETS``, else ``datasets``.
        size: ``tiny``, ``demo``, ``benchmark``, or counts of your own.
        seed: another seed draws other people, places and occluders.
        progress: whether to show a progress bar.

    Returns:
        The folder, in Market-1501's layout with ``query_holistic/``, ``annotations.csv``, ``visibility.npz`` besides.

    Raises:
        ValueError: there is no such size, or its counts make no data set.
        PermissionError: the root cannot be written; the message says how to choose another.
        SystemExit: SIGTERM or Ctrl-C while drawing; nothing is left behind.
    """
    counts = counts_of(size)
    base = Path(default_root() if root is None else root).expanduser()
    target = base / folder_name(size, seed)
    if (target / ANNOTATIONS).is_file() or not _DRAWS.get():
        return target
    _check_writable(base)
    with stopping_cleanly(f"drawing the data set {target.name}"), only_maker(target):
        if not (target / ANNOTATIONS).is_file():
            _generate(target, counts, seed, progress)
    return target


def _check_writable(base: Path) -> None:
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base):
            pass
    except OSError as error:
        raise PermissionError(
            f"the embedded data set cannot be generated in {base.absolute()}: {error.strerror or error}. Choose "
            f"another folder with the environment variable {ROOT_VARIABLE} or the argument root"
        ) from error


def _generate(target: Path, counts: Size, seed: int, progress: bool) -> None:
    """Draws everything beside the target, then moves it into place in one step. The caller holds the lock."""
    if target.exists():  # without annotations: not whole, and nobody is at work on it
        shutil.rmtree(target)
    with new_folder(target) as scratch:
        shots, pause = plan(counts, seed), 0.5 if sys.stderr.isatty() else 10
        for split in {shot.split for shot in shots}:
            (scratch / split).mkdir()
        with tqdm(total=len(shots), desc=target.name, unit="image", disable=not progress, mininterval=pause) as bar:
            truths = _draw_all(scratch, counts, seed, bar)
        save_truth(scratch, {shot.name: truths[shot.name] for shot in shots})


def _draw_all(scratch: Path, counts: Size, seed: int, bar: tqdm) -> dict[str, Truth]:
    """Draws here if there is little to draw, else with one program a processor."""
    shots, truths = plan(counts, seed), {}
    workers = processors() if len(shots) >= FEW else 1
    if workers == 1:
        for name, truth in worker.draw(scratch, shots, counts, seed):
            truths[name] = truth
            bar.update()
        return truths
    running: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(workers) as readers:  # its end waits for the readers, these for the workers' ends
        try:
            running += [_start(scratch, counts, seed, first, workers) for first in range(workers)]
            list(readers.map(lambda process: _follow(process, bar), running))
        finally:
            for process in running:
                process.kill()
                process.wait()
    for first in range(workers):
        part = scratch / f"part-{first}"
        truths |= load_truth(part)
        shutil.rmtree(part)
    return truths


def _start(scratch: Path, counts: Size, seed: int, first: int, step: int) -> subprocess.Popen[str]:
    package_root = str(Path(__file__).resolve().parents[3])
    paths = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    numbers = map(str, (seed, first, step, *astuple(counts)))
    return subprocess.Popen(
        [sys.executable, "-c", f"from {worker.__name__} import main; main()", str(scratch.absolute()), *numbers],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends them
    )


def _follow(process: subprocess.Popen[str], bar: tqdm) -> None:
    """Counts the images of a worker until it ends."""
    assert process.stdout is not None
    with process.stdout as lines:
        for _ in lines:
            bar.update()
    if process.wait():
        raise RuntimeError(
            f"a worker that draws the embedded data set ended with status {process.returncode}; see above"
        )
