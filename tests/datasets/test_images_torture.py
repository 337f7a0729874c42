"""250 damaged and odd image files: each is read rightly or refused with file and reason, and nothing else happens."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from oamn_plugin.datasets.images import BadImageError, read_image

pytestmark = [pytest.mark.slow, pytest.mark.torture]
FILES = 25
FORMATS = {"JPEG": "RGB", "PNG": "RGB", "WEBP": "RGB", "GIF": "P", "BMP": "RGB", "TIFF": "RGB", "PPM": "RGB"}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "HSV", "LAB")
Rng = random.Random
Made = tuple[bytes, tuple[int, int] | None]
"""The file, and the size that it must be read with; None: it may be refused as well."""


def picture(rng: Rng, mode: str = "RGB") -> Image.Image:
    width, height = rng.choice([1, 2, 7, 31, 64]), rng.choice([1, 3, 32, 65, 128])
    noise = np.frombuffer(rng.randbytes(width * height * 3), dtype=np.uint8).reshape(height, width, 3)
    image = Image.fromarray(noise)
    if mode in ("I;16", "LAB", "HSV", "YCbCr"):
        return Image.frombytes(mode, image.size, rng.randbytes(width * height * (2 if mode == "I;16" else 3)))
    return image.convert("L").convert(mode) if mode in ("I", "F") else image.convert(mode)


def encoded(rng: Rng, kind: str = "", **options: object) -> bytes:
    kind = kind or rng.choice(list(FORMATS))
    buffer = io.BytesIO()
    picture(rng, FORMATS[kind]).save(buffer, kind, **options)
    return buffer.getvalue()


def bits(rng: Rng) -> Made:
    data = bytearray(encoded(rng))
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data), None


def cut(rng: Rng) -> Made:
    data = encoded(rng)
    return data[: rng.randrange(len(data))], None


def shifted(rng: Rng) -> Made:
    data, place = encoded(rng), rng.randrange(8, 60)
    return data[:place] + rng.choice([b"", rng.randbytes(rng.randint(1, 9))]) + data[place + rng.randint(0, 5) :], None


def foreign_head(rng: Rng) -> Made:
    count = rng.choice([4, 8, 16])
    return encoded(rng)[:count] + encoded(rng)[count:], None


def huge_numbers(rng: Rng) -> Made:
    data, place = bytearray(encoded(rng)), rng.randrange(4, 48)
    data[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"])
    return bytes(data), None


def joined(rng: Rng) -> Made:
    parts = [encoded(rng) for _ in range(3)]
    return b"".join(part[rng.randrange(3) :] for part in parts), None


def noise_behind_a_head(rng: Rng) -> Made:
    heads = [
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"P6\n9 9\n255\n",
        b"RIFF",
    ]
    heads += [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg xmlns='x'>", b"\0\0\0\x18ftypheic", b"8BPS\0\1"]
    return rng.choice(heads) + rng.randbytes(rng.randint(0, 4000)), None


def modes(rng: Rng) -> Made:
    mode = rng.choice(MODES)
    image, buffer = picture(rng, mode), io.BytesIO()
    takes = {"CMYK": "TIFF", "YCbCr": "TIFF", "LAB": "TIFF", "F": "TIFF", "I": "TIFF", "HSV": ""}.get(mode, "PNG")
    if not takes:
        image, takes = image.convert("RGB"), "PNG"
    image.save(buffer, takes)
    return buffer.getvalue(), None if mode in ("F", "I") else image.size


def metadata(rng: Rng) -> Made:
    buffer, image = io.BytesIO(), picture(rng)
    if rng.random() < 0.5:
        exif = b"Exif\0\0" + rng.choice([b"II*\0\x08\0\0\0", b""]) + rng.randbytes(rng.randint(0, 300))
        image.save(buffer, "JPEG", exif=exif, comment=rng.randbytes(rng.randint(0, 60000)))
    else:
        text = PngImagePlugin.PngInfo()
        text.add_text("comment", "\x1b[31m" * rng.randint(1, 999))
        image.save(buffer, "PNG", pnginfo=text, icc_profile=rng.randbytes(rng.randint(1, 500)))
    return buffer.getvalue(), None  # a random EXIF block may hold a valid rotation


def names(rng: Rng) -> Made:
    data = encoded(rng, "PNG")
    return data, Image.open(io.BytesIO(data)).size


KINDS: dict[str, Callable[[Rng], Made]] = {
    "bits": bits, "cut": cut, "shifted": shifted, "foreign head": foreign_head, "huge numbers": huge_numbers,
    "joined": joined, "noise behind a head": noise_behind_a_head, "modes": modes, "metadata": metadata, "names": names,
}  # fmt: skip


def a_name(rng: Rng) -> bytes:
    letters = [
        b"a",
        b" ",
        b"\xc3\xa4",
        b"\xe8\xb7\xaf",
        b"\xff",
        b"\xe2\x80\xae",
        b"\n",
        b"\x1b[2J",
        b"'",
        b'"',
        b"%s",
        b"=1+1",
    ]
    return b"".join(rng.choices(letters, k=rng.randint(1, 30))) + rng.choice([b"", b".jpg", b".PNG.gif", b"."])


@pytest.mark.parametrize("kind", KINDS)
def test_odd_files(kind: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    rng, read, refused = random.Random(f"second trial {kind}"), 0, 0
    for number in range(FILES):
        data, size = KINDS[kind](rng)
        path = os.fsdecode(os.fsencode(tmp_path) + b"/%d" % number + (a_name(rng) if kind == "names" else b".jpg"))
        Path(path).write_bytes(data)
        try:
            image = read_image(path)
        except BadImageError as error:
            refused += size is None and bool(error.reason) and str(error).isprintable()
            continue
        assert image.mode == "RGB"
        assert size in (None, image.size)
        np.asarray(image)
        read += 1
    assert read + refused == FILES
    record_property("seen", f"{FILES} files: {read} read, {refused} refused by name and reason")
