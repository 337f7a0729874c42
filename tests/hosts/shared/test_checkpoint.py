"""Checkpoints are written whole, damage is noticed, nothing in them is executed."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from oamn_plugin.hosts.shared import checkpoint
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, load_newest, save_step
from oamn_plugin.hosts.shared.errors import CheckpointError


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((64, 64), float(step))}}


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_step(tmp_path, step, state(step), keep=3)
    save_step(tmp_path, 6, state(6), keep=3)
    assert [path.name for path in checkpoint.step_files(tmp_path)] == [f"step_0000000{step}.pth" for step in (6, 5, 4)]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content = bytearray()
    elif how == "truncated":
        content = content[: len(content) // 2]
    elif how == "one bit":
        content[len(content) // 2] ^= 16
    elif how == "zeros":
        content[-4096:] = bytes(4096)
    elif how == "noise":
        content = bytearray(os.urandom(len(content)))
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["empty", "truncated", "one bit", "zeros", "noise"])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_used(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        save_step(tmp_path, step, state(step), keep=2)
    damage(checkpoint.step_files(tmp_path)[0], how)
    with caplog.at_level(logging.WARNING):
        assert load_newest(tmp_path)["step"] == 1  # type: ignore[index]
    assert "step_00000002.pth" in caplog.text
    assert "the one before it is used" in caplog.text


def test_every_single_damaged_byte_of_the_content_is_noticed(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path / "a.pth", state(7))
    content = (tmp_path / "a.pth").read_bytes()
    wanted = state(7)
    for position in range(0, len(content), 97):
        broken = bytearray(content)
        broken[position] ^= 0x41
        (tmp_path / "b.pth").write_bytes(bytes(broken))
        try:
            found = load_checkpoint(tmp_path / "b.pth")
        except CheckpointError:
            continue
        # dates, padding and the like: what the file says is what was saved
        assert found["step"] == 7
        assert torch.equal(found["model"]["weight"], wanted["model"]["weight"])


def test_when_none_is_whole_the_run_does_not_start_afresh_by_itself(tmp_path: Path) -> None:
    save_step(tmp_path, 1, state(1), keep=2)
    damage(checkpoint.step_files(tmp_path)[0], "truncated")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        load_newest(tmp_path)
    assert load_newest(tmp_path / "nowhere") is None


def test_checksum_files_of_earlier_releases_are_ignored_and_go_with_their_checkpoint(tmp_path: Path) -> None:
    save_step(tmp_path, 1, state(1), keep=1)
    old = tmp_path / "checkpoints" / "step_00000001.sha256"
    old.write_text("a foreign checksum")
    assert load_newest(tmp_path)["step"] == 1  # type: ignore[index]
    save_step(tmp_path, 2, state(2), keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002.pth"]


def test_steps_after_the_one_that_is_saved_belong_to_another_past(tmp_path: Path) -> None:
    for step in (3, 9, 1):
        save_step(tmp_path, step, state(step), keep=2)
    assert load_newest(tmp_path)["step"] == 1  # type: ignore[index]


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("never",)


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("content", [Exploit(), Path("x"), torch.nn.Linear(1, 1)], ids=["call", "object", "module"])
def test_the_advice_to_load_code_is_not_passed_on(content: Any, old_format: bool, tmp_path: Path) -> None:
    torch.save({"model": content}, tmp_path / "evil.pth", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(CheckpointError, match="not a checkpoint of plain tensors and numbers: it holds") as caught:
        load_checkpoint(tmp_path / "evil.pth")
    told = str(caught.value)
    assert "weights_only" not in told
    assert "trust" not in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("content", [b"text", b"PK\x03\x04", b"\x80\x02X", bytes(100)])
def test_other_files_are_one_message(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pth is (not|damaged)") as caught:
        load_checkpoint(tmp_path / "a.pth")
    assert len(str(caught.value).splitlines()) == 1
    assert "weights_only" not in str(caught.value)


def test_safetensors_are_read_and_their_damage_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    assert torch.equal(load_checkpoint(path)["weight"], torch.ones(3))
    for content in (path.read_bytes()[:-2], b"\xff" * 20, b"{}"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged"):
            load_checkpoint(path)


def test_a_state_that_lacks_entries_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"it\.pth cannot be resumed, it lacks optimizer, step"):
        checkpoint.require_keys(OrderedDict(model={}), ("model", "optimizer", "step"), "it.pth")
