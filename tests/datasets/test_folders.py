"""Folders that are made whole or not at all, also by processes that are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oamn_plugin.datasets.folders import new_folder, only_maker

MAKE = """
import sys
from pathlib import Path
from oamn_plugin.datasets.folders import new_folder, only_maker
target = Path(sys.argv[1])
with only_maker(target), new_folder(target) as folder:
    (folder / "half").touch()
    print("making", flush=True)
    sys.stdin.read()
"""


def start(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    return process


def test_what_a_killed_process_leaves_is_cleared_by_the_next_run(tmp_path: Path) -> None:
    target = tmp_path / "a [set]"
    process = start(target)
    process.kill()
    process.communicate()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 2  # the lock and the half-made folder
    (tmp_path / ".a [set]-2.part-x").mkdir()  # of another set
    with only_maker(target), new_folder(target) as folder:
        (folder / "whole").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a [set]-2.part-x", "a [set]"]
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_the_folder_of_a_process_at_work_is_left_to_it(tmp_path: Path) -> None:
    target = tmp_path / "set"
    process = start(target)
    waiting = subprocess.Popen(
        [sys.executable, "-c", MAKE, str(target)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.communicate("")
    assert [path.name for path in target.iterdir()] == ["half"]
    assert "is there already" in waiting.communicate("")[1]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_maker(tmp_path / "set"), new_folder(tmp_path / "set"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
