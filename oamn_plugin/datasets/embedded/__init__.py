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

from collections.abc import Callable
from pathlib import Path

from oamn_plugin.datasets.embedded.occluders import KINDS, Occluder, paste, random_occluder
from oamn_plugin.datasets.embedded.plan import plan
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY, SIZES, Difficulty, Size, counts_of
from oamn_plugin.datasets.embedded.store import drawing_nothing, ensure, folder_name
from oamn_plugin.datasets.embedded.truth import Truth, load_truth, nearest_type, side_shares
from oamn_plugin.datasets.records import Record, Split

__all__ = [
    "DIFFICULTY", "HOLISTIC", "KINDS", "SIZES", "Difficulty", "Occluder", "Size", "Truth", "drawing_nothing", "ensure",
    "folder_name", "load_embedded", "load_truth", "nearest_type", "paste", "random_occluder", "read_embedded",
    "side_shares",
]  # fmt: skip


HOLISTIC = {"OccludedPedestrians": False, "OccludedPedestriansHolistic": True}
"""Names of the generated set to whether the people in its queries are whole."""


def load_embedded(
    root: str | Path | None = None, size: str | Size = "demo", seed: int = 0, holistic: bool = False
) -> Split:
    """Reads the generated data set, drawn first where it is not there; a dry run has its records from the plan alone.

    Args:
        root, size, seed: as for :func:`ensure`, whose errors it raises.
        holistic: as for :func:`read_embedded`.
    """
    folder = ensure(root, size=size, seed=seed)
    if folder.is_dir():
        return read_embedded(folder, holistic)
    shots = plan(counts_of(size), seed)
    return _split(
        lambda name: [Record(str(folder / name / s.name), s.pid, s.camid) for s in shots if s.split == name], holistic
    )


def read_embedded(path: str | Path, holistic: bool = False) -> Split:
    """Reads the generated data set.

    Args:
        path: what :func:`ensure` returned.
        holistic: True searches with the un-occluded queries of the same identities and cameras.

    Raises:
        FileNotFoundError: a folder is missing.
    """
    folder = Path(path)
    return _split(lambda name: _records(folder / name), holistic)


def _split(records: Callable[[str], list[Record]], holistic: bool) -> Split:
    query = "query_holistic" if holistic else "query"
    return Split(records("bounding_box_train"), records(query), records("bounding_box_test"))


def _records(folder: Path) -> list[Record]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing: {folder.parent} is not a generated data set; make one with ensure()"
        )
    names = sorted(path.name for path in folder.glob("*.jpg"))
    return [Record(str(folder / name), int(name[:4]), int(name[6 : name.index("s", 6)]) - 1) for name in names]
