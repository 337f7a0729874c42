"""Reading one image from disk: rightly, or with an error that names the file and the reason.

Re-identification galleries grow for years out of many hands' files. Whatever a file is called, it is read by content;
pixels are decoded only after the size is known to be sane; nothing but the formats of photographs is tried.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, get_args

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from oamn_plugin.errors import ExpectedError

ImagePolicy = Literal["fail", "skip"]
"""What a caller does with an unreadable image: stop with its error, or leave it out and say so."""
IMAGE_POLICIES: tuple[str, ...] = get_args(ImagePolicy)
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
"""The only formats tried, by content. PIL knows more (PostScript, for one, starts another program)."""
EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"))
"""Endings, in lower case, by which the readers of data sets know an image file."""
MAX_PIXELS = 50_000_000
"""Images of more pixels are refused before they are decoded; a photograph of 8192 x 6000 still passes."""
MAX_SCANS = 32
"""JPEG files of more scans are refused: each scan costs a pass over the image, and encoders write about ten."""
_LARGEST_JPEG = 1 << 28  # bytes looked through for scans
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan, 0xFF before 0 or a restart marker is no end of it
_ORIENTED = frozenset(("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"))


class BadImageError(ExpectedError, ValueError):
    """An image that cannot be read.

    Attributes:
        path: the file (or the name given for bytes).
        reason: why, in a few words.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"cannot read the image {os.fspath(path)!r}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadImageError], tuple[str, str]]:
        # an error raised in a data loader's worker process travels to the main one by this
        return type(self), (self.path, self.reason)


def check_policy(policy: str) -> ImagePolicy:
    """Returns the policy if it is one.

    Raises:
        ValueError: it is neither ``fail`` nor ``skip``.
    """
    if policy not in IMAGE_POLICIES:
        raise ValueError(f"the policy for bad images must be one of {', '.join(IMAGE_POLICIES)}, got {policy!r}")
    return policy  # type: ignore[return-value]


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Reads an image file as 8-bit RGB, upright.

    Palette, grey, CMYK, 16-bit and transparent images are converted (transparent pixels become black, the colour that
    training pads with); animations and stacks give their first frame; an EXIF rotation is applied.

    Args:
        path: the file; its ending does not matter.

    Returns:
        a decoded PIL image, mode RGB, without the file's metadata.

    Raises:
        BadImageError: missing, empty, truncated, not an image, of a format outside :data:`FORMATS`, of more than
            :data:`MAX_PIXELS`, or a JPEG of more than :data:`MAX_SCANS` scans.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a named pipe would block for ever
            raise BadImageError(path, "it is not a regular file")
        if status.st_size == 0:
            raise BadImageError(path, "the file is empty")
        with open(path, "rb") as file:
            return _decode(file, path)
    except FileNotFoundError:
        raise BadImageError(path, "no such file") from None
    except PermissionError:
        raise BadImageError(path, "permission denied") from None
    except BadImageError:
        raise
    except (OSError, ValueError) as error:  # a name that the file system refuses, a failing disk
        raise BadImageError(path, str(error) or type(error).__name__) from error


def find_bad_images(paths: Iterable[str]) -> Iterator[BadImageError | None]:
    """Decodes every file in full; yields, one for each path, its error or None. Wrap it in a progress bar."""
    for path in paths:
        try:
            read_image(path)
        except BadImageError as error:
            yield error
        else:
            yield None


def _decode(file: IO[bytes], name: str | os.PathLike[str]) -> Image.Image:
    try:
        with _no_truncation():
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                shape = f"{image.width} x {image.height}"
                raise BadImageError(name, f"{shape} pixels, more than the limit of {MAX_PIXELS:,}")
            _check_scans(file, name)
            image.load()
        pixels = _to_rgb(_upright(image))
        pixels.info.clear()  # a comment or a profile would go into every file that is written of them
        return pixels
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise BadImageError(name, f"not an image of a known format ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(name, f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # damaged files raise whatever a decoder trips over
        raise BadImageError(name, str(error) or type(error).__name__) from error


def _check_scans(file: IO[bytes], name: str | os.PathLike[str]) -> None:
    file.seek(0)
    if file.read(2) == b"\xff\xd8" and count_scans(b"\xff\xd8" + file.read(_LARGEST_JPEG)) > MAX_SCANS:
        raise BadImageError(name, f"a JPEG of more than {MAX_SCANS} scans")


def count_scans(jpeg: bytes) -> int:
    r"""Scans of a JPEG file up to the end of its first image; those of a preview in its metadata do not count.

    >>> count_scans(b"\xff\xd8" + b"\xff\xe1\x00\x04\xff\xda" + 2 * b"\xff\xda\x00\x02\xff\x00" + b"\xff\xd9\xff\xda")
    2
    """
    count, place = 0, 2
    while (marker := _MARKER.search(jpeg, place)) and marker[0] != b"\xff\xd9":
        count += marker[0] == b"\xff\xda"
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return count


@contextlib.contextmanager
def _no_truncation() -> Iterator[None]:
    """Half an image is no image, even where another library told PIL to fill the rest with grey."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = True


def _upright(image: Image.Image) -> Image.Image:
    if _ORIENTED & image.info.keys():
        # a damaged EXIF block says nothing about the pixels: they are good as they are
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError(f"pixels of mode {image.mode} have no known range: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):  # convert("RGB") would clip all but the darkest to white
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def is_image_name(name: str) -> bool:
    """Whether a file name ends as an image and is not one of the hidden files that file managers leave.

    >>> is_image_name("0002_c1s1_000451_03.jpg.jpg"), is_image_name("001_01.TIF"), is_image_name("._0001.jpg")
    (True, True, False)
    """
    return not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
