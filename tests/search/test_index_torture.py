"""Index builds that are killed at any moment, and two at once: always the index of an undisturbed build."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from index_crops import contents, make_crops, make_encoder

from oamn_plugin.search.files import GalleryIndexError
from oamn_plugin.search.gallery import read_gallery
from oamn_plugin.search.index import GalleryIndex

pytestmark = [
    pytest.mark.slow, pytest.mark.torture, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
]  # fmt: skip
KILLS = 5
BUSY = 3
"""Exit code of a build that was refused because another one is at it."""


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    make_crops(folder, 300)
    return folder


@pytest.fixture(scope="module")
def undisturbed(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The files of a build that nothing happened to, and the seconds it took."""
    folder, start = tmp_path_factory.mktemp("reference") / "index", time.monotonic()
    assert end(begin(folder, crops)) == 0
    return contents(folder), time.monotonic() - start


def begin(folder: Path, crops: Path) -> int:
    """A build in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            GalleryIndex(folder, make_encoder()).add(read_gallery(crops), ["none", "left_half"])
            os._exit(0)
        except GalleryIndexError:
            os._exit(BUSY)
        finally:
            os._exit(1)
    return child


def end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("number", range(KILLS))
def test_index_killed_anywhere(
    number: int, crops: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    wanted, seconds = undisturbed
    share = random.Random(number).random()
    child = begin(tmp_path / "index", crops)
    time.sleep(share * seconds)
    os.kill(child, signal.SIGKILL)
    end(child)
    left = len(list((tmp_path / "index").rglob("*")))
    assert end(begin(tmp_path / "index", crops)) == 0
    assert contents(tmp_path / "index") == wanted
    record_property(
        "seen", f"killed after {share:.0%} of the time with {left} files there; built again: equal byte for byte"
    )


def test_two_index_builds_at_once(
    crops: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    codes = sorted(map(end, [begin(tmp_path / "index", crops) for _ in range(2)]))
    assert codes in ([0, 0], [0, BUSY])
    assert contents(tmp_path / "index") == undisturbed[0]
    record_property("seen", f"{'one refused' if BUSY in codes else 'one after the other'}; equal byte for byte")
