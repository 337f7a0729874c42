"""Writes the descriptors of images: of a folder with its sub-folders, or of single files.

oamn extract crops/ --out crops.npz

The file holds paths (N,), descriptors (N, D) of unit length and, where the model has a mask and a scorer, visible (N,)
and types (N,). Without --weights and --config-file the small model that ships with the package is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.encoder import add_model_arguments, model_of

if TYPE_CHECKING:
    from oamn_plugin.datasets.images import BadImageError
    from oamn_plugin.search.extractor import EncoderExtractor


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("images", nargs="+", metavar="FOLDER", help="folder with images, or image file")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="file that is written")
    parser.add_argument("--half", action="store_true", help="mixed precision: faster, descriptors keep three digits")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images at a time (default 32)")
    add_model_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0, or 1 where an image could not be read; the others are written.

    Raises:
        ExpectedError: no image, or a model that cannot be had.
    """
    args = build_parser().parse_args(argv)
    if Path(args.out).suffix.lower() in (".csv", ".json", ".npy", ".pt", ".txt"):
        raise ExpectedError(f"--out is written as .npz (numpy.load reads it), not as {Path(args.out).suffix}")
    paths = [path for source in args.images for path in find_images(source)]
    from oamn_plugin.search.extractor import EncoderExtractor

    extractor = EncoderExtractor(model_of(args), half=args.half, batch_size=args.batch_size)
    unreadable = extract(extractor, paths, Path(args.out))
    print(f"{args.out}: {len(paths) - len(unreadable)} images by {extractor.encoder.name}")
    if unreadable:
        print(f"{len(unreadable)} images could not be read and are left out:")
        for error in unreadable:
            print(f"  {error.path}: {error.reason}")
    return 1 if unreadable else 0


def find_images(source: str) -> list[str]:
    """The images of a folder with its sub-folders, or the file itself.

    Raises:
        DataSetError: there is no such place, or no image in it.
    """
    from oamn_plugin.datasets.readers import list_images
    from oamn_plugin.datasets.records import DataSetError
    from oamn_plugin.search.gallery import no_such_place

    path = Path(source).expanduser()
    if path.is_file():
        return [str(path)]
    found = list_images(path, recursive=True) if path.is_dir() else []
    if not found:
        empty = f"there is no image in {path}"
        raise DataSetError(empty if path.is_dir() else no_such_place("folder or image", path))
    return found


def extract(extractor: EncoderExtractor, paths: list[str], target: Path) -> list[BadImageError]:
    """Writes the descriptors of images to a ``.npz`` file, batch by batch under a progress bar.

    Returns:
        The images that could not be read.
    """
    import numpy as np
    from tqdm import tqdm

    columns: dict[str, list[Any]] = {"paths": [], "descriptors": [], "visible": [], "types": []}
    unreadable: list[BadImageError] = []
    with tqdm(total=len(paths), unit="image", disable=None) as bar:
        for part in extractor.stream(paths, "skip"):
            columns["paths"].append(np.array([paths[place] for place in part.places.tolist()], dtype=np.str_))
            columns["descriptors"].append(part.descriptors.numpy())
            if part.visible is not None:
                columns["visible"].append(part.visible.numpy())
                columns["types"].append(np.array(part.types, dtype=np.str_))
            unreadable += part.unreadable
            bar.update(len(part) + len(part.unreadable))
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:  # a name without .npz stays as it is
        arrays: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
        np.savez(file, **arrays)
    return unreadable
