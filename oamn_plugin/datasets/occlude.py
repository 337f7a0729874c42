"""An occluded-query version of any holistic set: robustness measured where no occluded set exists.

Every query gets one of the generated data set's occluders; gallery and training images stay what they are. The side and
the area of each are written down, in the columns of the generated set's own annotations.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from oamn_plugin.datasets.embedded.occluders import KINDS, Occluder, paste, random_occluder
from oamn_plugin.datasets.embedded.truth import ANNOTATIONS, COLUMNS, side_shares
from oamn_plugin.datasets.folders import new_folder, only_maker
from oamn_plugin.datasets.images import BadImageError, check_policy, read_image
from oamn_plugin.datasets.readers import FOLDERS, read_market_folder
from oamn_plugin.datasets.records import DataSetError, Record
from oamn_plugin.datasets.validation import Occluded
from oamn_plugin.occlusion import SIDES

HOLISTIC = "query_holistic"
"""Folder of the queries as they were, beside the occluded ones."""
_LARGEST_LAYER = 256  # pixels; occluders for larger images are drawn at this size and enlarged


def occlude_dataset(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    seed: int = 0,
    *,
    copy: bool = False,
    policy: str = "fail",
    progress: bool = False,
) -> Path:
    """Makes the occluded-query version of a set in Market-1501's layout.

    The target has ``query`` (all occluded, names unchanged), ``query_holistic``, ``bounding_box_test``,
    ``bounding_box_train`` and ``annotations.csv``. The occluder of an image depends on the seed and its file name
    alone. JPEG queries are written at quality 95; junk queries are left out.

    Args:
        source: folder with ``bounding_box_train``, ``query`` and ``bounding_box_test``.
        target: folder to make; made whole or not at all.
        seed: chooses occluders, sides and areas.
        copy: True copies the other folders; False links them where the system can.
        policy: ``fail`` stops at an unreadable query, ``skip`` leaves it out.
        progress: show a bar, on a terminal.

    Returns:
        the target.

    Raises:
        DataSetError: the source is not in this layout, or no query is left.
        FileExistsError: the target is there.
        BadImageError: a query cannot be read and the policy is ``fail``.
    """
    source, target = Path(source).expanduser().resolve(), Path(target).expanduser()
    check_policy(policy)
    missing = [name for name in FOLDERS if not (source / name).is_dir()]
    if missing:
        raise DataSetError(f"{source} has no {', '.join(missing)}: name a folder in the layout of Market-1501")
    if target.exists():
        raise FileExistsError(f"{target} is there already: delete it or choose another place")
    records = read_market_folder(source / "query")
    with only_maker(target), new_folder(target) as unfinished:
        (unfinished / "query").mkdir()
        rows = []
        for record in tqdm(records, desc="occluding", unit="query", disable=None if progress else True):
            try:
                rows.append(_occlude_query(record, unfinished / "query", seed))
            except BadImageError:
                if policy == "fail":
                    raise
        if not rows:
            raise DataSetError(f"no query of {source} could be read")
        table = unfinished / ANNOTATIONS  # with names as the disk has them
        with open(table, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        for name, original in ((FOLDERS[0], FOLDERS[0]), (FOLDERS[2], FOLDERS[2]), (HOLISTIC, "query")):
            _bring(source / original, unfinished / name, copy)
    return target


class ObjectOccluder:
    """Occludes validation queries by the generated set's cars, walls, plants and people; the same file by the same.

    Args:
        seed: chooses occluders; another one than that of a test set.
        kinds: only these, of :data:`KINDS`, such as those that no training has shown.
    """

    def __init__(self, seed: int = 0, kinds: Sequence[str] = KINDS) -> None:
        self.seed, self.kinds = seed, tuple(kinds)

    def __call__(self, image: Image.Image, path: str) -> Occluded:
        """Occludes the image that was read from ``path``."""
        key: tuple[int | str, ...] = (self.seed, "held-out", os.path.basename(path))
        found, occluder = occlude_pixels(image.convert("RGB"), key)
        attempt = 0
        while occluder.kind not in self.kinds:
            attempt += 1
            found, occluder = occlude_pixels(image.convert("RGB"), (*key, attempt))
        covered = occluder.rgba[..., 3] >= 128
        return Occluded(found, occluder.side, float(covered.mean()), covered)


def occlude_pixels(image: Image.Image, key: tuple[int | str, ...]) -> tuple[Image.Image, Occluder]:
    """Pastes a generated occluder on an RGB image of any size; the same key gives the same occluder.

    Returns:
        the occluded image and the occluder at the image's size.
    """
    width, height = image.size
    scale = min(1.0, _LARGEST_LAYER / max(width, height))
    occluder = random_occluder(key, max(8, round(height * scale)), max(8, round(width * scale)))
    rgba = occluder.rgba
    if rgba.shape[:2] != (height, width):
        rgba = np.asarray(Image.fromarray(rgba).resize((width, height), Image.Resampling.BILINEAR))
    return Image.fromarray(paste(np.asarray(image), rgba)), occluder._replace(rgba=rgba)


def _occlude_query(record: Record, folder: Path, seed: int) -> tuple[object, ...]:
    name = os.path.basename(record.path)
    image, occluder = occlude_pixels(read_image(record.path), (seed, "occluded-query", name))
    if name.lower().endswith((".jpg", ".jpeg")):
        image.save(folder / name, quality=95, subsampling=0)
    else:
        image.save(folder / name)
    mask = occluder.rgba[..., 3] >= 128
    shares = side_shares(mask)
    area = float(np.count_nonzero(mask)) / mask.size
    return (
        name, "query", record.pid, record.camid, occluder.kind, occluder.side, f"{area:.4f}", occluder.type_name,
        *(f"{shares[side]:.4f}" for side in SIDES),
    )  # fmt: skip


def _bring(source: Path, target: Path, copy: bool) -> None:
    if not copy:
        try:
            target.symlink_to(source, target_is_directory=True)
            return
        except (OSError, NotImplementedError):  # Windows without the right to link, file systems without links
            pass
    shutil.copytree(source, target, copy_function=_copy_file)


def _copy_file(source: str, target: str) -> None:
    if not os.path.isfile(source):  # a pipe would block for ever, a device never end
        raise DataSetError(f"{source} is not a regular file: take it away")
    shutil.copy2(source, target)
