"""The generated set's occluders as a folder of cut-outs: RGBA pictures to be pasted on training images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from oamn_plugin.datasets.embedded.occluders import random_occluder
from oamn_plugin.datasets.folders import new_folder, only_maker
from oamn_plugin.occlusion import SIDES

SIZE = (256, 128)
"""Height and width of the image that each occluder is drawn for; a cut-out is the part of it that is covered."""
_README = """\
Occluders drawn by oamn_plugin (Apache-2.0), seed {seed}: RGBA pictures KIND_SIDE_NUMBER.png, cut to their outline.
SIDE is the side of the image that the object reaches in from: it is cut straight there.

They are for training on real images. A model trained with them must never be tested on the generated data set
(OccludedPedestrians), nor on a set made by `oamn data occlude`: the same program draws the occluders of these
sets, so the test would show nothing about objects that the model has not seen.
"""


def write_cutouts(target: str | os.PathLike[str], number: int = 200, seed: int = 0, *, progress: bool = False) -> Path:
    """Writes occluders of all kinds, their sides in turn, as RGBA files, and a README.txt on what they are not for.

    Args:
        target: folder to make; made whole or not at all.
        number: how many.
        seed: another seed draws others.
        progress: show a bar, on a terminal.

    Returns:
        the target.

    Raises:
        FileExistsError: the target is there and not empty.
        ValueError: the number is not positive.
    """
    if number < 1:
        raise ValueError(f"the number of occluders must be at least 1, got {number}")
    target = Path(target).expanduser()
    with only_maker(target), new_folder(target) as unfinished:
        (unfinished / "README.txt").write_text(_README.format(seed=seed), encoding="utf-8")
        for index in tqdm(range(number), desc="drawing", unit="occluder", disable=None if progress else True):
            occluder = random_occluder((seed, "cut-out", index), *SIZE, SIDES[index % len(SIDES)])
            rows, columns = (np.flatnonzero(occluder.rgba[..., 3].any(axis=axis)) for axis in (1, 0))
            part = occluder.rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            Image.fromarray(part).save(unfinished / f"{occluder.kind}_{occluder.side}_{index:04}.png")
    return target
