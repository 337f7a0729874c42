"""One exploit of each kind against the unpacking of archives."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from oamn_plugin.datasets.archives import UnsafeArchiveError, extract_archive


def make_zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def make_tar(path: Path, *members: tuple[str, bytes], mode: str = "w:gz", **fields: object) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def assert_refused(archive: Path, tmp_path: Path, match: str, **limits: int) -> None:
    before = {path for path in tmp_path.rglob("*") if path.name != "inside"}
    with pytest.raises(UnsafeArchiveError, match=match):
        extract_archive(archive, tmp_path / "inside", **limits)
    assert {*tmp_path.rglob("*")} == before  # nothing outside, nothing half inside


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_good_archives_are_unpacked(tmp_path: Path, kind: str) -> None:
    members = (("set/query/a b.jpg", b"1"), ("set/ü.txt", b"22"), ("./dot.txt", b"3"))
    path = tmp_path / "archive.bin"  # known by content
    make_zip(path, *members) if kind == "zip" else make_tar(path, *members, mode=kind)
    target = extract_archive(path, tmp_path / "new" / "inside")
    found = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert found == {"set/query/a b.jpg": b"1", "set/ü.txt": b"22", "dot.txt": b"3"}
    assert [p.name for p in target.parent.iterdir()] == ["inside"]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:evil"]
)
def test_names_that_lead_outside(tmp_path: Path, name: str) -> None:
    good = ("good.txt", b"1")
    assert_refused(make_zip(tmp_path / "a.zip", good, (name, b"x")), tmp_path, "outside")
    assert_refused(make_tar(tmp_path / "a.tar", good, (name, b"x")), tmp_path, "outside")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    path = make_tar(tmp_path / "a.tar", ("inner", b""), type=kind, linkname="/etc")
    assert_refused(path, tmp_path, "link or a device")


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert_refused(make_zip(tmp_path / "a.zip", (info, b"/etc")), tmp_path, "link or a device")


def test_too_large_as_stated(tmp_path: Path) -> None:
    for path in (make_zip(tmp_path / "a.zip", ("x", b"0" * 1000)), make_tar(tmp_path / "a.tar", ("x", b"0" * 1000))):
        assert_refused(path, tmp_path, "more than 999 bytes", max_bytes=999)


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("x", b"0" * 100_000))
    data = path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    assert_refused(path, tmp_path, "damaged|more than", max_bytes=1000)


def test_too_many_files(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", *((f"{i}", b"") for i in range(4)))
    assert_refused(path, tmp_path, "more than 3 files", max_files=3)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path: Path) -> None:
    assert_refused(make_zip(tmp_path / "a.zip", ("x", b"1"), ("x", b"2")), tmp_path, "twice")
    assert_refused(make_tar(tmp_path / "a.tar", ("x", b"1"), ("x/y", b"2")), tmp_path, "twice")


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "a.zip", ("x", os.urandom(5000))).read_bytes()
    flipped = tmp_path / "flipped.zip"
    flipped.write_bytes(whole[:1000] + bytes([whole[1000] ^ 255]) + whole[1001:])
    assert_refused(flipped, tmp_path, "damaged")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(make_tar(tmp_path / "b.tar.gz", ("x", os.urandom(50_000))).read_bytes()[:20_000])
    assert_refused(cut, tmp_path, "damaged")
    (tmp_path / "text").write_text("hello")
    assert_refused(tmp_path / "text", tmp_path, "neither")
    with pytest.raises(FileNotFoundError, match="no such archive"):
        extract_archive(tmp_path / "none.zip", tmp_path / "inside")


def test_files_that_are_there_are_never_touched(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("mine.txt", b"theirs"))
    target = tmp_path / "inside"
    target.mkdir()
    extract_archive(path, target)  # empty is fine
    (target / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        extract_archive(path, target)
    assert (target / "mine.txt").read_text() == "mine"
