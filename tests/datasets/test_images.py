"""Reading of damaged, strange and hostile image files."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from oamn_plugin.datasets import images
from oamn_plugin.datasets.images import BadImageError, check_policy, find_bad_images, read_image

WIDTH, HEIGHT = 20, 40


def picture(seed: int = 0) -> Image.Image:
    """Smooth colours, so that a JPEG of it stays near."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def distance(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).mean())


def check_read(path: Path, wanted: Image.Image, tolerance: float = 0.0) -> None:
    got = read_image(path)
    assert (got.mode, got.size) == ("RGB", wanted.size)
    assert distance(got, wanted) <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "JPEG"])
def test_ordinary_images_are_read_as_pil_reads_them(tmp_path: Path, kind: str) -> None:
    data = encoded(picture(), kind)
    check_read(save(tmp_path / "image.jpg", data), Image.open(io.BytesIO(data)).convert("RGB"))  # by content


@pytest.mark.parametrize("name", ["a person.jpg", "männlein_路人.png", "_c1s1.jpg.jpg", "no_ending", "wrong.txt"])
def test_names_do_not_matter(tmp_path: Path, name: str) -> None:
    check_read(save(tmp_path / name, encoded(picture(), "PNG")), picture())


def test_grey_and_one_bit(tmp_path: Path) -> None:
    grey = picture().convert("L")
    check_read(save(tmp_path / "l.png", encoded(grey, "PNG")), grey.convert("RGB"))
    check_read(save(tmp_path / "1.png", encoded(grey.convert("1"), "PNG")), grey.convert("1").convert("RGB"))


def test_palette(tmp_path: Path) -> None:
    palette = picture().quantize(32)
    check_read(save(tmp_path / "p.png", encoded(palette, "PNG")), palette.convert("RGB"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_become_black_whatever_colour_hides_there(tmp_path: Path, mode: str) -> None:
    alpha = Image.new("L", (WIDTH, HEIGHT), 0)
    alpha.paste(255, (0, 0, WIDTH, HEIGHT // 2))
    base = picture().convert("L" if mode == "LA" else "RGB")
    wanted = base.convert("RGB")
    wanted.paste((0, 0, 0), (0, HEIGHT // 2, WIDTH, HEIGHT))
    base.putalpha(alpha)
    if mode == "PA":  # a palette with one transparent entry
        base = Image.new("P", (WIDTH, HEIGHT), 1)
        base.putpalette([255, 0, 0, 0, 255, 0])
        base.paste(0, (0, HEIGHT // 2, WIDTH, HEIGHT))
        wanted = Image.new("RGB", (WIDTH, HEIGHT), (0, 255, 0))
        wanted.paste((0, 0, 0), (0, HEIGHT // 2, WIDTH, HEIGHT))
    data = encoded(base, "PNG", **({"transparency": 0} if mode == "PA" else {}))
    check_read(save(tmp_path / "t.png", data), wanted)


def test_cmyk(tmp_path: Path) -> None:
    data = encoded(picture().convert("CMYK"), "JPEG", quality=95)
    check_read(save(tmp_path / "c.jpg", data), picture(), tolerance=6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_is_scaled_not_clipped(tmp_path: Path, kind: str) -> None:
    grey = np.asarray(picture().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    check_read(save(tmp_path / "d.png", encoded(deep, kind)), Image.fromarray(grey).convert("RGB"), tolerance=0.5)


def test_16_bit_colour(tmp_path: Path) -> None:
    pixels = np.asarray(picture())
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels.astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    check_read(save(tmp_path / "d.png", png(header, zlib.compress(rows))), picture(), tolerance=0.5)


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "f.tif", encoded(Image.new("F", (WIDTH, HEIGHT), 0.5), "TIFF"))
    with pytest.raises(BadImageError, match="no known range"):
        read_image(path)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_give_their_first_frame(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    check_read(save(tmp_path / "moving.gif", data), frames[0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = Image.Transpose
    back: dict[int, Callable[[Image.Image], Image.Image]] = {
        1: lambda image: image,
        2: lambda image: image.transpose(turn.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(turn.ROTATE_180),
        4: lambda image: image.transpose(turn.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(turn.TRANSPOSE),
        6: lambda image: image.transpose(turn.ROTATE_90),
        7: lambda image: image.transpose(turn.TRANSVERSE),
        8: lambda image: image.transpose(turn.ROTATE_270),
    }
    data = encoded(back[orientation](picture()), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    check_read(save(tmp_path / "r.jpg", data), picture(), tolerance=4 if kind == "JPEG" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_cost_the_image(tmp_path: Path) -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    check_read(save(tmp_path / "e.jpg", data), Image.open(io.BytesIO(encoded(picture(), "JPEG"))))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    check_read(
        save(tmp_path / "1.png", encoded(Image.new("RGB", (1, 1), "red"), "PNG")), Image.new("RGB", (1, 1), "red")
    )


def png(header: bytes, data: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8000, 12000, 20000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder) -> None:
    path = save(tmp_path / "bomb.png", png(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"never inflated"))
    with pytest.raises(BadImageError, match="pixels"):
        read_image(path)


def test_the_pixel_limit_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", encoded(picture(), "PNG"))
    monkeypatch.setattr(images, "MAX_PIXELS", 800)
    read_image(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 799)
    with pytest.raises(BadImageError, match=r"20 x 40 pixels, more than the limit of 799"):
        read_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
@pytest.mark.parametrize("tolerant", [False, True], ids=["strict", "tolerant PIL"])
def test_truncated_files_are_refused(
    tmp_path: Path, kind: str, share: float, tolerant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # some libraries set it for the whole process
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(BadImageError):
        read_image(save(tmp_path / "t.jpg", data[: int(len(data) * share)]))
    assert tolerant is ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>404</html>", "not an image"),
        (b"\0" * 500, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),  # PIL would start Ghostscript
        (b"\xff\xd8\xff\xe0", "not an image"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    path = save(tmp_path / "x.jpg", data)
    with pytest.raises(BadImageError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == str(path)


def test_missing_files_folders_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="no such file"):
        read_image(tmp_path / "nobody.jpg")
    with pytest.raises(BadImageError, match="not a regular file"):
        read_image(tmp_path)
    with pytest.raises(BadImageError, match="null"):
        read_image("a\0b.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(BadImageError, match="not a regular file"):
            read_image(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", encoded(picture(), "PNG"))
    path.chmod(0)
    with pytest.raises(BadImageError, match="permission denied"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_gives_another_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 10**6)
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"):
        data = np.frombuffer(encoded(picture(), kind), dtype=np.uint8)
        for _ in range(40):
            damaged = data.copy()
            damaged[rng.integers(0, len(data), 5)] = rng.integers(0, 256, 5)
            path = save(tmp_path / "damaged", damaged.tobytes())
            with contextlib.suppress(BadImageError):
                assert read_image(path).mode == "RGB"


def progressive(scans: int, preview: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan comes again and again, with a preview in its metadata."""
    data = encoded(picture(), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    more = data[last:end] * (scans - data.count(b"\xff\xda"))
    metadata = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    return data[:2] + metadata + data[2:end] + more + data[end:]


def test_a_jpeg_of_sixty_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="a JPEG of more than 32 scans"):
        read_image(save(tmp_path / "a.jpg", progressive(60)))
    beside = progressive(20, preview=progressive(20)) + b"\xff\xda" * 60  # as in photographs that hold a film
    assert read_image(save(tmp_path / "b.jpg", beside)).size == (WIDTH, HEIGHT)


def test_a_comment_of_a_file_does_not_go_into_pictures_made_of_it(tmp_path: Path) -> None:
    frames = picture().convert("P")
    path = save(tmp_path / "a.jpg", encoded(frames, "GIF", comment=b"x" * 70_000))  # known by content
    buffer = io.BytesIO()
    read_image(path).resize((8, 8)).save(buffer, "JPEG")
    assert buffer.tell() < 2000


def test_the_error_travels_between_processes() -> None:
    error = copy.copy(BadImageError("a.jpg", "the file is empty"))  # by __reduce__, as between processes
    assert (error.path, error.reason, str(error)) == (
        "a.jpg", "the file is empty", "cannot read the image 'a.jpg': the file is empty",
    )  # fmt: skip


def test_policy_and_search_for_bad_images(tmp_path: Path) -> None:
    assert check_policy("skip") == "skip"
    with pytest.raises(ValueError, match="fail, skip"):
        check_policy("ignore")
    good, bad = save(tmp_path / "g.png", encoded(picture(), "PNG")), save(tmp_path / "b.png", b"")
    found = list(find_bad_images([str(good), str(bad)]))
    assert found[0] is None
    assert found[1] is not None
    assert found[1].reason == "the file is empty"
