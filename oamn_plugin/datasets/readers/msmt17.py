"""MSMT17: images in two folders, splits in list files with one ``path pid`` a line."""

from __future__ import annotations

from pathlib import Path

from oamn_plugin.datasets.labels import label_number
from oamn_plugin.datasets.readers.layout import FolderLayout
from oamn_plugin.datasets.records import DataSetError, Record, Split

_LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
MSMT17 = FolderLayout(
    "MSMT17",
    ("MSMT17_V1", "MSMT17", "MSMT17_V2"),
    _LISTS,
    "MSMT17 is handed out by its authors (Wei et al., CVPR 2018).",
)


def read_msmt17(folder: Path) -> Split:
    """MSMT17 (V1 or V2) from its own folder, without its validation list, as published figures use it.

    Test identities are numbered from 0 again in the lists; they keep those numbers here.

    Raises:
        DataSetError: the images are missing, or a line of a list is not ``path pid``.
    """
    train, test = (_first(folder, names) for names in (("train", "mask_train_v2"), ("test", "mask_test_v2")))
    lists = [_read_list(folder / name, images) for name, images in zip(_LISTS, (train, test, test), strict=True)]
    return Split(*lists)


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataSetError(f"MSMT17 in {folder} lacks its images: neither {' nor '.join(names)} is there")


def _read_list(path: Path, images: Path) -> list[Record]:
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, pid = line.split()
            record = Record(str(images / name), label_number(pid, "pid"), int(name.split("_")[2]) - 1)
        except (ValueError, IndexError):
            raise DataSetError(f"{path}, line {number}: expected 'PPPP/PPPP_III_CC_... pid', got {line!r}") from None
        records.append(record)
    return sorted(records)
