"""Pictures of images for pages, papers and debugging: rank lists, masks over images, augmented views.

Takes arrays only: images are (H, W, 3) uint8 RGB; whoever has a model or a data set makes them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from oamn_plugin.occlusion import OCCLUSION_TYPES

Pixels = NDArray[np.uint8]
HIT, MISS, INK = (46, 148, 92), (206, 66, 58), (118, 124, 132)
_GAP, _FRAME = 8, 4
_STRENGTH = 0.6  # of a mask over its image: 0 shows the image alone, 1 the mask alone


@dataclass(frozen=True)
class RankRow:
    """One query and its first matches.

    Attributes:
        query: (H, W, 3) image.
        matches: gallery images, nearest first.
        hits: by match, True if it shows the query's identity; None where the truth is unknown (no frame).
        title: text over the query.
        captions: text under each match, e.g. its distance; empty for none.
    """

    query: Pixels
    matches: Sequence[Pixels]
    hits: Sequence[bool | None]
    title: str = "query"
    captions: Sequence[str] = ()


def rank_lists(rows: Sequence[RankRow], height: int = 128) -> Image.Image:
    """Rank lists, one row a query: hits in a solid green frame, misses in a red one with a bar across its corner.

    Args:
        rows: the queries with their matches.
        height: height of every image in pixels; the width is half of it.

    Raises:
        ValueError: no rows, or a row whose matches and hits differ in number.
    """
    if not rows:
        raise ValueError("no rank lists to draw")
    for row in rows:
        if len(row.matches) != len(row.hits):
            raise ValueError(f"{row.title}: {len(row.matches)} matches but {len(row.hits)} hits")
    width = height // 2
    step = width + _GAP + 2 * _FRAME
    line = _line(height)
    tall = height + 2 * _FRAME + 2 * line + _GAP
    sheet = Image.new("RGB", (step * (1 + max(len(r.matches) for r in rows)) + 3 * _GAP, tall * len(rows)), "white")
    for index, row in enumerate(rows):
        top = index * tall
        _place(sheet, row.query, _FRAME, top + line, width, height, row.title, "")
        for rank, (match, hit) in enumerate(zip(row.matches, row.hits, strict=True)):
            left = step * (rank + 1) + 2 * _GAP
            caption = row.captions[rank] if rank < len(row.captions) else ""
            _place(sheet, match, left, top + line, width, height, str(rank + 1), caption)
            _frame(sheet, hit, left, top + line, width, height)
    return sheet


def mask_overlay(image: Pixels, mask: NDArray[np.floating]) -> Pixels:
    """An image under its mask: where the mask is low the image is dimmed and blue, where it is high it glows warm.

    Args:
        image: (H, W, 3) uint8.
        mask: (h, w) weights, stretched to the image; shown from its own minimum to its maximum.
    """
    low, high = float(mask.min()), float(mask.max())
    scaled = (np.asarray(mask, dtype=np.float32) - low) / max(high - low, 1e-6)
    size = (image.shape[1], image.shape[0])
    large = np.asarray(Image.fromarray(scaled).resize(size, Image.Resampling.BILINEAR))
    warm = matplotlib.colormaps["inferno"](np.clip(large, 0, 1))[..., :3] * 255
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    return np.clip((1 - _STRENGTH) * (0.5 * image + 0.5 * grey) + _STRENGTH * warm, 0, 255).astype(np.uint8)


def mask_sheet(
    images: Mapping[str, Pixels], masks: Mapping[str, NDArray[np.floating]], height: int = 160
) -> Image.Image:
    """The occlusion types of one image in a row each with its mask below.

    Args:
        images: type name to the image occluded that way; shown in the order of :data:`OCCLUSION_TYPES`.
        masks: type name to its (h, w) mask.
        height: height of every image in pixels.

    Raises:
        ValueError: no images, an unknown type or a type without a mask.
    """
    unknown = [name for name in images if name not in OCCLUSION_TYPES or name not in masks]
    if unknown or not images:
        raise ValueError(f"not an occlusion type with a mask: {', '.join(unknown)}" if unknown else "no images to draw")
    names = [name for name in OCCLUSION_TYPES if name in images]
    return _grid(
        [[images[name] for name in names], [mask_overlay(images[name], masks[name]) for name in names]],
        [
            [name.replace("_", " ") for name in names],
            [f"{masks[name].min():.2f} to {masks[name].max():.2f}" for name in names],
        ],
        height,
    )


def augmentation_sheet(views: NDArray[np.uint8], labels: Sequence[Sequence[str]], height: int = 160) -> Image.Image:
    """Augmented views, one row an image.

    Args:
        views: (B, V, H, W, 3) uint8.
        labels: B x V occlusion types.
        height: height of every view in pixels.

    Raises:
        ValueError: shapes that do not fit.
    """
    if views.ndim != 5 or [len(row) for row in labels] != [views.shape[1]] * len(views):
        raise ValueError(f"views must be (B, V, H, W, 3) with B x V labels, got {views.shape}")
    return _grid(list(views), [[name.replace("_", " ") for name in row] for row in labels], height)


def png(image: Image.Image | Pixels) -> bytes:
    """The picture as the bytes of a PNG file."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _grid(
    rows: Sequence[Sequence[Pixels] | NDArray[np.uint8]],
    labels: Sequence[Sequence[str]],
    height: int,
) -> Image.Image:
    width = max(height // 2, 72)
    line = _line(height)
    tall = height + line + _GAP
    sheet = Image.new("RGB", (max(map(len, rows)) * (width + _GAP), len(rows) * tall), "white")
    for r, (row, names) in enumerate(zip(rows, labels, strict=True)):
        for c, (image, name) in enumerate(zip(row, names, strict=True)):
            _place(sheet, image, c * (width + _GAP), r * tall + line, width, height, name, "")
    return sheet


def _place(
    sheet: Image.Image, image: Pixels, left: int, top: int, width: int, height: int, over: str, under: str
) -> None:
    sheet.paste(Image.fromarray(np.ascontiguousarray(image)).convert("RGB").resize((width, height)), (left, top))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(round(0.65 * _line(height)))
    draw.text((left + width / 2, top - _FRAME - 2), over, fill=INK, font=font, anchor="ms")
    draw.text((left + width / 2, top + height + _FRAME + 2), under, fill=INK, font=font, anchor="mt")


def _frame(sheet: Image.Image, hit: bool | None, left: int, top: int, width: int, height: int) -> None:
    if hit is None:
        return
    draw, colour = ImageDraw.Draw(sheet), HIT if hit else MISS
    draw.rectangle((left - _FRAME, top - _FRAME, left + width + _FRAME - 1, top + height + _FRAME - 1),
                   outline=colour, width=_FRAME)  # fmt: skip
    if not hit:  # a second sign for eyes that do not tell red from green
        draw.line((left, top + 16, left + 16, top), fill=colour, width=_FRAME)


def _line(height: int) -> int:
    """Pixels for a line of text beside images of this height."""
    return max(17, height // 9)
