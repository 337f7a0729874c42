"""``OccludedPedestrians``: a person re-identification data set that is drawn on first use, with its whole truth.

Articulated pedestrians walk through the places of several cameras; all queries and a tenth of the gallery stand
behind cars, walls, plants, bicycles, furniture, signs or other people, never behind the patches that training pastes.
For every image it is known which pixels show the person, so that masks and occlusion scores can be measured against
the truth.

>>> path = ensure("/tmp/data", size="tiny")  # doctest: +SKIP
>>> split = read_embedded(path)  # doctest: +SKIP
>>> load_truth(path)["0013_c1s1_100001_00.jpg"].type_name  # doctest: +SKIP
'left_half'
"""

from __future__ import annotations

from pathlib import Path

from oamn_plugin.datasets.embedded.occluders import KINDS, Occluder, paste, random_occluder
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY, SIZES, Difficulty, Size
from oamn_plugin.datasets.embedded.store import ensure, folder_name
from oamn_plugin.datasets.embedded.truth import Truth, load_truth, nearest_type, side_shares
from oamn_plugin.datasets.records import Record, Split

__all__ = [
    "DIFFICULTY", "KINDS", "SIZES", "Difficulty", "Occluder", "Size", "Truth", "ensure", "folder_name", "load_truth",
    "nearest_type", "paste", "random_occluder", "read_embedded", "side_shares",
]  # fmt: skip


def read_embedded(path: str | Path, holistic: bool = False) -> Split:
    """Reads the generated data set.

    Args:
        path: what :func:`ensure` returned.
        holistic: True searches with the un-occluded queries of the same identities and cameras.

    Raises:
        FileNotFoundError: a folder is missing.
    """
    folder = Path(path)
    query = "query_holistic" if holistic else "query"
    train, queries, gallery = (_records(folder / name) for name in ("bounding_box_train", query, "bounding_box_test"))
    return Split(train, queries, gallery)


def _records(folder: Path) -> list[Record]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing: {folder.parent} is not a generated data set; make one with ensure()"
        )
    names = sorted(path.name for path in folder.glob("*.jpg"))
    return [Record(str(folder / name), int(name[:4]), int(name[6 : name.index("s", 6)]) - 1) for name in names]
