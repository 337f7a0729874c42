"""Draws pictures for papers and for debugging.

oamn visualize ranks IMAGE... --index INDEX --out ranks.png       rank lists; right matches green, wrong ones red
oamn visualize masks IMAGE... --out masks.png                     masks over an image for the nine types
oamn visualize augmentation IMAGE... --out views.png              augmented views, as training makes them

IMAGE is an image file, a folder or a CSV file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.encoder import add_model_arguments, model_of
from oamn_plugin.presets import PRESETS

if TYPE_CHECKING:
    from PIL import Image


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ranks = commands.add_parser("ranks", help="rank lists of queries")
    ranks.add_argument("--index", required=True, metavar="INDEX", help="folder that oamn search index wrote")
    ranks.add_argument("--topk", type=int, default=10, help="matches per query (default 10)")
    ranks.add_argument(
        "--plain", action="store_true", help="only without unification (default: both, one below the other)"
    )
    ranks.add_argument("--other-cameras", action="store_true", help="leave out the query's person in its own camera")
    masks = commands.add_parser("masks", help="masks over images for the nine occlusion types")
    views = commands.add_parser("augmentation", help="augmented views; needs no model")
    views.add_argument("--preset", default="paper", choices=PRESETS, help="variant of the method (default paper)")
    views.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("H", "W"), help="default 256 128")
    views.add_argument("--seed", type=int, default=0)
    for command in (ranks, masks, views):
        command.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders or CSV files")
        command.add_argument("--out", required=True, type=Path, metavar="FILE", help=".png, .jpg, .webp or .pdf")
        command.add_argument("--limit", type=int, default=6, help="draw at most this many images (default 6)")
        command.add_argument("--height", type=int, default=160, help="height of every picture in pixels (default 160)")
        if command is not views:
            add_model_arguments(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    from PIL import Image

    if Image.registered_extensions().get(args.out.suffix.lower()) not in Image.SAVE:
        raise ExpectedError(f"cannot tell the format of {args.out}: end it in .png, .jpg, .webp or .pdf")
    if args.limit < 1:
        raise ExpectedError(f"--limit must be at least 1, got {args.limit}")
    sheet = {"ranks": draw_ranks, "masks": draw_masks, "augmentation": draw_views}[args.command](args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.convert("RGB").save(args.out)
    print(f"wrote {args.out}")
    return 0


def draw_ranks(args: argparse.Namespace) -> Image.Image:
    """Rank lists, two rows a query: unified and plain."""
    from oamn_plugin.reporting.pictures import rank_lists
    from oamn_plugin.search.index import GalleryIndex
    from oamn_plugin.search.page import rank_rows
    from oamn_plugin.search.results import search

    queries, pictures = read_named(args)
    if args.topk < 1:
        raise ExpectedError(f"--topk must be at least 1, got {args.topk}")
    encoder = model_of(args, args.index)
    index = GalleryIndex(args.index, encoder, progress=True)
    results, _ = search(index, encoder, queries, pictures, args.topk, args.other_cameras)
    return rank_lists([row for result in results for row in rank_rows(result, args.height, args.plain)], args.height)


def draw_masks(args: argparse.Namespace) -> Image.Image:
    """One image below the other, each under its nine types."""
    import numpy as np

    from oamn_plugin.occlusion import OCCLUSION_TYPES, strip
    from oamn_plugin.reporting.pictures import mask_sheet
    from oamn_plugin.search.results import masks_of

    encoder = model_of(args)
    if not encoder.has_scorer:
        raise ExpectedError(
            f"{encoder.name or 'this model'} has no mask to draw: masks are OAMN's; ranks draws any model"
        )
    sheets = []
    for picture in read_named(args)[1]:
        masks = dict(zip(OCCLUSION_TYPES, masks_of(encoder, [picture] * 9, OCCLUSION_TYPES), strict=True))
        shown = {}
        for name in OCCLUSION_TYPES:
            pixels = np.array(picture.resize((encoder.input_size[1], encoder.input_size[0])))
            top, left, height, width = strip(name, *encoder.input_size)
            pixels[top : top + height, left : left + width] = 0
            shown[name] = pixels
        sheets.append(mask_sheet(shown, masks, args.height))
    return stack(sheets)


def draw_views(args: argparse.Namespace) -> Image.Image:
    """The views that training makes of a batch of images, geometry included."""
    import numpy as np
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    from oamn_plugin.augmentation import Geometry, TrainingTransform, augmentation_of
    from oamn_plugin.occlusion import OCCLUSION_TYPES
    from oamn_plugin.presets import preset
    from oamn_plugin.reporting.pictures import augmentation_sheet

    options = preset(args.preset)
    size = (args.size[1], args.size[0])
    batch = torch.stack([pil_to_tensor(picture.resize(size)) for picture in read_named(args)[1]])
    occlusion = augmentation_of(options)
    transform = TrainingTransform(Geometry(), occlusion, options.aligned_views)
    generator = torch.Generator().manual_seed(args.seed)
    # a reading with one view an image is shown by several draws
    draws = [transform(batch, generator) for _ in range(1 if occlusion.num_views > 1 else 5)]
    images, types = (torch.cat([getattr(draw, part) for draw in draws], dim=1) for part in ("images", "types"))
    pixels = images.round().clamp(0, 255).byte().permute(0, 1, 3, 4, 2).numpy()
    labels = [[OCCLUSION_TYPES[index] for index in row] for row in types.tolist()]
    return augmentation_sheet(np.ascontiguousarray(pixels), labels, args.height)


def read_named(args: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """The first images of all that were named, and their pixels."""
    from oamn_plugin.datasets.images import read_image
    from oamn_plugin.search.gallery import read_gallery

    images = [image for source in args.images for image in read_gallery(source)][: args.limit]
    return images, [read_image(image.path) for image in images]


def stack(sheets: list[Any]) -> Image.Image:
    """Pictures below each other."""
    from PIL import Image

    width, height = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    out, top = Image.new("RGB", (width, height), "white"), 0
    for sheet in sheets:
        out.paste(sheet, (0, top))
        top += sheet.height
    return out
