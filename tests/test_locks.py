from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from oamn_plugin.locks import BusyError, holder, holding


def test_a_data_worker_does_not_hold_the_folder_longer_than_its_training(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    leave = context.Event()
    with holding(tmp_path / "lock"):
        worker = context.Process(target=leave.wait, args=(60,))
        worker.start()
    with holding(tmp_path / "lock"):
        assert worker.is_alive()
    leave.set()
    worker.join()


def test_who_holds_a_lock_is_told(tmp_path: Path) -> None:
    with holding(tmp_path / "lock"):
        with (
            pytest.raises(BusyError, match=r"lock is held by process [0-9]+ on .*: wait for its end"),
            holding(tmp_path / "lock"),
        ):
            pass
        assert (holder(tmp_path / "lock") or "").startswith("process ")
    assert holder(tmp_path / "lock") is None
    assert holder(tmp_path / "nowhere") is None
