from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from oamn_plugin.benchmark.processes import (
    Child,
    Stop,
    child_environment,
    end_all,
    stopping_on_signals,
    wait_for_any,
)
from oamn_plugin.environment import processors
from oamn_plugin.locks import holder, holding

STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: pathlib.Path(sys.argv[1], "asked").touch())
pathlib.Path(sys.argv[1], "ready").touch()
for _ in range(3000):
    time.sleep(0.02)
"""

POLITE = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
pathlib.Path(sys.argv[1], "ready").touch()
for _ in range(3000):
    time.sleep(0.02)
"""


def appeared(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


def child(folder: Path, code: str, *words: str) -> Child:
    return Child([sys.executable, "-c", code, *words], folder / "log.txt", os.environ)


def test_several_trainings_share_the_cores_and_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert child_environment(2)["OMP_NUM_THREADS"] == str(max(1, processors() // 2))
    assert child_environment(10**6)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in child_environment(1)
    own = {"OMP_NUM_THREADS": "7", "HOME": "elsewhere"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert child_environment(2) | own == child_environment(2)


def test_the_first_to_end_is_found_and_its_log_kept(tmp_path: Path) -> None:
    waiting, ended = child(tmp_path, STUBBORN, str(tmp_path)), child(tmp_path, "print('done')")
    stop = Stop()
    assert wait_for_any([waiting, ended], stop) is ended
    assert ended.code == 0
    assert "done" in (tmp_path / "log.txt").read_text()
    stop.request()
    assert wait_for_any([waiting], stop) is None
    waiting.process.kill()
    waiting.process.wait()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one child")
def test_a_second_request_kills_what_does_not_end(tmp_path: Path) -> None:
    stubborn, stop = child(tmp_path, STUBBORN, str(tmp_path)), Stop()
    appeared(tmp_path / "ready")
    stop.request()

    def ask_again() -> None:
        appeared(tmp_path / "asked")
        stop.request()

    thread = threading.Thread(target=ask_again)
    thread.start()
    end_all([stubborn], stop)
    thread.join()
    assert stubborn.code == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGTERM to one child")
def test_children_that_inherit_an_ignored_ctrl_c_are_asked_to_stop_too(tmp_path: Path) -> None:
    """A suite started in a script's background killed its trainings without a checkpoint."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        polite = child(tmp_path, POLITE, str(tmp_path))
        appeared(tmp_path / "ready")
        end_all([polite], Stop())
    finally:
        signal.signal(signal.SIGINT, before)
    assert polite.code == 75


@pytest.mark.skipif(os.name == "nt", reason="Windows passes no open file on")
def test_a_run_that_outlives_its_suite_keeps_the_suites_lock_until_it_ends(tmp_path: Path) -> None:
    """A suite that was killed and started again at once began a second training while the first was still loading."""
    with holding(tmp_path / "lock") as lock:
        left = Child([sys.executable, "-c", STUBBORN, str(tmp_path)], tmp_path / "log.txt", os.environ, lock)
    assert holder(tmp_path / "lock")
    left.process.kill()
    left.process.wait()
    assert holder(tmp_path / "lock") is None


def test_signals_are_counted_inside_and_as_before_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_signals() as stop:
        assert not stop
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requests == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_on_signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop
    finally:
        signal.signal(signal.SIGINT, before)
