"""Generated image files for ``torture.py``: sound ones of rare kinds, and damaged ones."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

Maker = Callable[[random.Random], bytes]
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")


def damaged_images(rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` files as ``(kind, content)``, every kind in turn."""
    kinds = list(KINDS.items())
    for number in range(count):
        name, make = kinds[number % len(kinds)]
        yield name, make(rng)


def _picture(rng: random.Random, mode: str = "RGB") -> Image.Image:
    size = rng.randint(8, 40), rng.randint(8, 80)
    return Image.frombytes("RGB", size, rng.randbytes(size[0] * size[1] * 3)).convert(mode)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _any(rng: random.Random) -> bytes:
    return _encoded(_picture(rng), rng.choice(FORMATS))


def _truncated(rng: random.Random) -> bytes:
    content = _any(rng)
    return content[: rng.randrange(1, max(2, len(content) * 3 // 4))]


def _flipped(rng: random.Random) -> bytes:
    content = bytearray(_any(rng))
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _bomb(rng: random.Random) -> bytes:
    side = rng.randint(15_000, 20_000)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def _rotated(rng: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = rng.randint(0, 12)
    return _encoded(_picture(rng), "JPEG", exif=exif)


def _animated(rng: random.Random) -> bytes:
    frames = [Image.new("RGB", (20, 40), (rng.randrange(256), 0, 0)) for _ in range(3)]
    return _encoded(frames[0], rng.choice(("GIF", "PNG", "WEBP")), save_all=True, append_images=frames[1:])


KINDS: dict[str, Maker] = {
    "empty": lambda rng: b"",
    "truncated": _truncated,
    "text": lambda rng: b"<html>404 " + rng.randbytes(20).hex().encode() + b"</html>",
    "bytes overwritten": _flipped,
    "noise": lambda rng: rng.randbytes(rng.randint(1, 3000)),
    "other program's file (PostScript, SVG)": lambda rng: rng.choice((b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>")),
    "decompression bomb": _bomb,
    "CMYK, grey, palette, 1 bit": lambda rng: _encoded(
        _picture(rng, mode := rng.choice(("CMYK", "L", "P", "1"))), "TIFF" if mode == "CMYK" else "PNG"
    ),
    "EXIF-rotated": _rotated,
    "animated": _animated,
    "1 x 1": lambda rng: _encoded(Image.new("RGB", (1, 1), (rng.randrange(256), 0, 0)), rng.choice(FORMATS)),
}
