"""Unpacking zip and tar archives from elsewhere: nothing is written outside the target, and only plain files are.

A hostile archive is refused as a whole, before its first file is written. Every size is counted while unpacking, since
the sizes that an archive states about itself may lie.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from oamn_plugin.datasets.folders import new_folder, only_maker

MAX_BYTES = 64 * 2**30
MAX_FILES = 2_000_000
_CHUNK = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # encrypted
)


class UnsafeArchiveError(ValueError):
    """An archive that would write outside its folder, is damaged, or is larger than allowed."""


class _Member(NamedTuple):
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def extract_archive(
    archive: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
) -> Path:
    """Unpacks a zip or tar archive (also compressed) into a new folder.

    Args:
        archive: the file; its kind is known by content.
        target: folder to make; it must not exist, or be empty. If anything fails it is not made.
        max_bytes: the unpacked files together may not be larger.
        max_files: the archive may not hold more.

    Returns:
        the target.

    Raises:
        FileNotFoundError: no such archive.
        FileExistsError: the target holds files.
        UnsafeArchiveError: absolute names, ``..``, links, devices, a name twice, too large, damaged, or no archive.
    """
    archive, target = Path(archive), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_maker(target), new_folder(target) as folder, _open(archive) as listed:
        members = _check(archive, listed, max_bytes, max_files)
        _write(archive, members, folder, max_bytes)
    return target


def safe_name(name: str, archive: str | os.PathLike[str] = "the archive") -> PurePosixPath:
    """The name of a member as a path that stays below the folder it is unpacked in.

    Raises:
        UnsafeArchiveError: it is absolute, has a drive letter or ``..``, or is empty.

    >>> str(safe_name("market/query/0001_c1s1_000151_00.jpg"))
    'market/query/0001_c1s1_000151_00.jpg'
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = bool(path.parts) and ":" in path.parts[0]
    if path.is_absolute() or drive or ".." in path.parts or not path.parts or "\0" in name:
        raise UnsafeArchiveError(f"{os.fspath(archive)} would write outside its folder: {name!r}")
    return path


@contextlib.contextmanager
def _open(archive: Path) -> Iterator[Iterator[_Member]]:
    if not archive.is_file():
        raise FileNotFoundError(f"no such archive: {archive}")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield _zip_members(archive, file)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield _tar_members(archive, tar)
        else:
            raise UnsafeArchiveError(f"{archive} is neither a zip nor a tar archive")
    except _DAMAGED as error:
        raise UnsafeArchiveError(f"{archive} is damaged or encrypted: {error}") from error


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeArchiveError(f"{archive} holds a link or a device: {info.filename!r}")
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, partial(file.open, info))


def _tar_members(archive: Path, file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file:
        if info.isdir():
            continue
        if not info.isreg():
            raise UnsafeArchiveError(f"{archive} holds a link or a device: {info.name!r}")
        yield _Member(info.name, info.size, partial(_open_tar, file, info))


def _check(archive: Path, listed: Iterator[_Member], max_bytes: int, max_files: int) -> list[_Member]:
    """All members, once each is known to be sane; stops reading at the first that is not."""
    members, total = [], 0
    for member in listed:
        safe_name(member.name, archive)
        members.append(member)
        total += member.size
        if len(members) > max_files:
            raise UnsafeArchiveError(f"{archive} holds more than {max_files:,} files")
        if total > max_bytes:
            raise UnsafeArchiveError(f"{archive} unpacks to more than {max_bytes:,} bytes")
    return members


def _open_tar(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    source = file.extractfile(info)
    if source is None:
        raise tarfile.ReadError(f"{info.name} has no data")
    return source


def _write(archive: Path, members: list[_Member], folder: Path, max_bytes: int) -> None:
    left = max_bytes
    for member in members:
        path = folder.joinpath(*safe_name(member.name, archive).parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, open(path, "xb") as out:  # x: a name that comes twice is an error
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise UnsafeArchiveError(f"{archive} unpacks to more than {max_bytes:,} bytes")
                    out.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise UnsafeArchiveError(f"{archive} holds the name {member.name!r} twice") from None
