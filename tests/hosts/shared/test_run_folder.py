"""One training a folder, whatever way it ends; an earlier run's files are moved, not lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from oamn_plugin.files import WriteError
from oamn_plugin.hosts.shared.run_folder import holding_run, trim_metrics
from oamn_plugin.locks import LOCK, BusyError, holder


def test_metrics_are_cut_at_the_step_that_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("".join(f'{{"iteration": {step}}}\n' for step in range(6)) + "[" * 100000 + '\n{"itera')
    trim_metrics(tmp_path, "iteration", 4)
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]
    trim_metrics(tmp_path / "nowhere", "iteration", 4)


def hold(folder: Path, held: Any, leave: Any) -> None:
    with holding_run(folder):
        held.set()
        leave.wait(60)


def test_two_trainings_in_one_folder_and_a_killed_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, held, leave))
    process.start()
    assert held.wait(60)
    owner = holder(tmp_path / LOCK)
    assert owner is not None
    assert owner.startswith(f"process {process.pid} on ")
    busy = f"belongs to a training that runs, process {process.pid} on "
    with pytest.raises(BusyError, match=busy), holding_run(tmp_path):
        pass
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert holder(tmp_path / LOCK) is None
    with holding_run(tmp_path):
        assert holder(tmp_path / LOCK) == owner.replace(str(process.pid), str(os.getpid()))
    assert holder(tmp_path / LOCK) is None


def test_leftovers_of_killed_writes_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    mine = [".model_final.pth.12.tmp", "checkpoints/.step_00000002.pth.7.tmp", ".results.json.1.tmp"]
    others = [".notes.tmp", "a.tmp", "checkpoints/step_00000001.pth"]
    for name in mine + others:
        (tmp_path / name).write_bytes(b"x")
    with holding_run(tmp_path):
        assert not any((tmp_path / name).exists() for name in mine)
        assert all((tmp_path / name).exists() for name in others)


def test_a_folder_that_cannot_be_locked_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match=f"cannot write .*file/{LOCK}"), holding_run(tmp_path / "file"):
        pass
