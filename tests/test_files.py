"""A write is whole or not there; a full disk is one message."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from oamn_plugin import files
from oamn_plugin.files import WriteError

ROOT = Path(__file__).resolve().parents[1]


def test_a_full_disk_leaves_the_earlier_file_and_no_other(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "a.json", b"old")
    code = f"""
import resource, signal, sys
from pathlib import Path
from oamn_plugin.files import WriteError, write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path({str(tmp_path)!r}) / "a.json", bytes(5000))
except WriteError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "cannot write" in found.stdout
    assert "a.json" in found.stdout
    assert "--resume" in found.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match=r"cannot write .*/file/a.pth: .*intact"):
        files.write_atomically(tmp_path / "file" / "a.pth", b"x")


def test_errors_of_a_full_disk_from_anywhere_are_one_message_and_others_stay() -> None:
    with pytest.raises(WriteError, match=r"cannot write log\.txt: full"), files.clear_write_errors():
        raise OSError(errno.ENOSPC, "full", "log.txt")
    with pytest.raises(ConnectionResetError), files.clear_write_errors():
        raise ConnectionResetError
