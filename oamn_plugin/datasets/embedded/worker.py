"""Draws a share of the data set, as a program of its own: ``FOLDER SEED FIRST STEP COUNTS...``.

Not a forked process: forking a process that runs torch's threads may hang, and spawning one runs the user's script
again unless it is guarded. It prints a line for every image that is on disk.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oamn_plugin.datasets.embedded.plan import plan
from oamn_plugin.datasets.embedded.render import Shot, render
from oamn_plugin.datasets.embedded.sizes import Size
from oamn_plugin.datasets.embedded.truth import Truth, save_truth

QUALITY = 92
"""JPEG quality of the files; no chroma subsampling, so that small patterns keep their colour."""


def encode(image: NDArray[np.uint8]) -> bytes:
    """The bytes of an image file: baseline JPEG with fixed tables."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=False, progressive=False)
    return buffer.getvalue()


def draw(folder: Path, shots: list[Shot], counts: Size, seed: int) -> Iterator[tuple[str, Truth]]:
    """Draws images into ``folder/<split>/`` and yields what is known of each."""
    for shot in shots:
        image, truth = render(seed, shot, counts.height, counts.width)
        (folder / shot.split / shot.name).write_bytes(encode(image))
        yield shot.name, truth


def main() -> None:
    """Draws every ``STEP``-th image from the ``FIRST`` on; what is known of them goes to ``FOLDER/part-FIRST``."""
    folder, (seed, first, step, *fields) = Path(sys.argv[1]), map(int, sys.argv[2:])
    counts = Size(*fields)
    truths = {}
    for name, truth in draw(folder, plan(counts, seed)[first::step], counts, seed):
        truths[name] = truth
        print(name, flush=True)
    part = folder / f"part-{first}"
    part.mkdir()
    save_truth(part, truths)
