"""Drawing the data set, killed at any moment and by two at once: always the same files, nothing left over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oamn_plugin.datasets.embedded import ensure

pytestmark = [pytest.mark.slow, pytest.mark.torture]
KILLS = 5
CODE = """
import sys
from oamn_plugin.datasets.embedded import ensure
print("ready", flush=True)
ensure(sys.argv[1], "tiny")
"""


def begin(root: Path) -> subprocess.Popen[str]:
    """A process that is about to draw, in a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(root)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def drawn(root: Path) -> dict[str, bytes]:
    """Every file below a folder of data sets."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    root, start = tmp_path_factory.mktemp("whole"), time.monotonic()
    ensure(root, "tiny")
    return drawn(root), time.monotonic() - start


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("number", range(KILLS))
def test_drawing_killed_anywhere(
    number: int, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    wanted, seconds = undisturbed
    share, process = random.Random(number).random(), begin(tmp_path)
    time.sleep(share * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    left = len(drawn(tmp_path))
    assert begin(tmp_path).wait() == 0
    assert drawn(tmp_path) == wanted
    record_property(
        "seen", f"killed after {share:.0%} of the time with {left} files there; drawn again: equal byte for byte"
    )


def test_two_drawings_at_once(
    undisturbed: tuple[dict[str, bytes], float], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    both = [begin(tmp_path) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert drawn(tmp_path) == undisturbed[0]
    record_property("seen", "both end well, equal byte for byte, nothing left over")
