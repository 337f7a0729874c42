"""One change of a gallery index as a plan on disk that is carried out block by block and survives being killed.

A plan names its images and occlusion types. Descriptors are written in blocks of fixed membership, each file at once;
the index itself is touched only when all blocks are there, every step of which may be repeated without harm; the plan
is removed last. Whoever finds a plan carries on with it, and ends with the same bytes as if nothing had happened.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from oamn_plugin.datasets.images import BadImageError
from oamn_plugin.search.encoder import BATCH, ImageEncoder, in_batches
from oamn_plugin.search.faiss_files import IndexFileError, replacing
from oamn_plugin.search.gallery import GalleryImage

BLOCK = 4 * BATCH
"""Images a block: what is lost at most when a build is killed."""
Numbered = tuple[int, GalleryImage]


@dataclass(frozen=True)
class Plan:
    """A change: images to describe for types (``new``: not in the index so far), or numbers to remove."""

    images: tuple[Numbered, ...] = ()
    types: tuple[str, ...] = ()
    new: bool = True
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """Descriptors of the readable images of a block for one type, and why the others cannot be read."""

    ids: np.ndarray
    descriptors: np.ndarray
    unreadable: dict[int, str]


class PlanFolder:
    """The folder ``pending`` of an index: the plan and the blocks done so far.

    Args:
        folder: where; it exists only while there is a plan.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._plan = folder, folder / "plan.json"

    def begin(self, plan: Plan) -> None:
        """Writes a plan down; blocks that a finished one left behind are cleared away first."""
        shutil.rmtree(self.folder, ignore_errors=True)
        content = {
            "images": [[number, *image] for number, image in plan.images],
            "types": plan.types,
            "new": plan.new,
            "removed": plan.removed,
        }
        write_json(self._plan, content)

    def load(self) -> Plan | None:
        """The unfinished plan, or None.

        Raises:
            IndexFileError: it is damaged.
        """
        content = read_json(self._plan)
        if content is None:
            return None
        try:
            images = tuple((int(row[0]), GalleryImage(*row[1:])) for row in content["images"])
            return Plan(images, tuple(content["types"]), bool(content["new"]), tuple(content["removed"]))
        except (TypeError, ValueError, LookupError) as error:
            raise IndexFileError(f"{self._plan} is damaged: remove {self.folder} and run index again") from error

    def finish(self) -> None:
        """Takes the plan away: from here on it is done."""
        self._plan.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def encode(self, plan: Plan, encoder: ImageEncoder, progress: bool) -> None:
        """Describes what is missing of a plan; every image is read once, whatever the number of types."""
        with tqdm(total=len(plan.images), desc="gallery", unit="image", disable=not progress) as bar:
            for number, images in enumerate(in_batches(plan.images, BLOCK)):
                missing = [name for name in plan.types if not self._path(number, name).exists()]
                for name, block in _describe(images, missing, encoder).items() if missing else ():
                    self._write(number, name, block)
                bar.update(len(images))

    def blocks(self, plan: Plan, name: str) -> Iterator[Block]:
        """The finished blocks of a type, in order."""
        for number in range(-(-len(plan.images) // BLOCK)):
            with np.load(self._path(number, name), allow_pickle=False) as content:
                reasons = dict(zip(content["bad"].tolist(), content["reasons"].tolist(), strict=True))
                yield Block(content["ids"], content["descriptors"], reasons)

    def _path(self, number: int, name: str) -> Path:
        return self.folder / name / f"{number:06d}.npz"

    def _write(self, number: int, name: str, block: Block) -> None:
        bad = np.array(list(block.unreadable), dtype=np.int64)
        reasons = np.array(list(block.unreadable.values()), dtype=np.str_)
        with replacing(self._path(number, name)) as aside, open(aside, "wb") as file:
            np.savez(file, ids=block.ids, descriptors=block.descriptors, bad=bad, reasons=reasons)


def _describe(images: Sequence[Numbered], names: Sequence[str], encoder: ImageEncoder) -> dict[str, Block]:
    ids: list[int] = []
    unreadable: dict[int, str] = {}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in in_batches(images, BATCH):
        pixels = []
        for number, image in batch:
            try:
                pixels.append(encoder.read(image.path))
                ids.append(number)
            except BadImageError as error:
                unreadable[number] = error.reason
        if pixels:
            for name, rows in encoder.gallery(torch.stack(pixels), names).items():
                parts[name].append(rows.cpu().numpy())
    empty = np.zeros((0, encoder.dim), dtype=np.float32)
    numbers = np.array(ids, dtype=np.int64)
    return {name: Block(numbers, np.concatenate([empty, *rows]), unreadable) for name, rows in parts.items()}


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that the old or the new file is whole at any moment."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON; None where there is no such file.

    Raises:
        IndexFileError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise IndexFileError(f"{path} is damaged: {error}") from error
