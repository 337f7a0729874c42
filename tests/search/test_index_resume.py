"""Killing a build at any moment and running it again gives the index of an uninterrupted one, byte for byte."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_crops import contents, make_crops, make_encoder

from oamn_plugin.search import files, index_plan
from oamn_plugin.search.encoder import BATCH
from oamn_plugin.search.gallery import read_gallery
from oamn_plugin.search.index import GalleryIndex

torch.set_num_threads(1)
TYPES = ["none", "left_half"]


class Killed(BaseException):
    """Ends the build at a write, as a power cut would."""


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_plan, "BLOCK", BATCH)  # three blocks of few images
        yield


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    make_crops(folder, 90)
    (folder / "0000_broken.png").write_text("no image")
    (folder / "zzzz_broken.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def reference(crops, encoder, tmp_path_factory):
    """The uninterrupted index."""
    folder = tmp_path_factory.mktemp("reference") / "index"
    GalleryIndex(folder, encoder).add(read_gallery(crops), TYPES)
    return contents(folder)


def run_and_kill(folder: Path, encoder, crops: Path, images: int) -> bool:
    """Builds in a process of its own that is killed at an image; True if it was done before."""
    child = os.fork()
    if child == 0:
        read, left = encoder.read, images

        def dying_read(path):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(path)

        encoder.read = dying_read
        try:
            GalleryIndex(folder, encoder).add(read_gallery(crops), TYPES)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("seed", range(4))
def test_killed_processes(crops, encoder, reference, tmp_path, seed):
    rng = random.Random(seed)
    for _ in range(3):
        if run_and_kill(tmp_path / "index", encoder, crops, rng.randrange(80)):
            break
    index = GalleryIndex(tmp_path / "index", encoder)
    before = len(index)
    added = index.add(read_gallery(crops), TYPES)
    assert contents(tmp_path / "index") == reference
    assert added == len(index) - before, "images of the interrupted build count as added"


def test_killed_at_every_write(crops, encoder, reference, tmp_path, monkeypatch):
    """Before and after each file is put into its place, and before the plan is cleared away."""
    expected = reference
    replace, rmtree = os.replace, index_plan.shutil.rmtree
    step, killed = 0, True
    while killed:
        left = step

        def count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        def dying_replace(source, target):
            count()
            replace(source, target)
            count()

        def dying_rmtree(*args, **kwargs):
            count()
            rmtree(*args, **kwargs)

        monkeypatch.setattr(files.os, "replace", dying_replace)
        monkeypatch.setattr(index_plan.shutil, "rmtree", dying_rmtree)
        folder = tmp_path / str(step)
        try:
            GalleryIndex(folder, encoder).add(read_gallery(crops), TYPES)
            killed = False
        except Killed:
            killed = True
        monkeypatch.undo()
        GalleryIndex(folder, encoder).add(read_gallery(crops), TYPES)
        assert contents(folder) == expected, f"killed at step {step}"
        step += 3  # every third write: each run of the loop builds a whole index
    assert step > 20


def test_an_interrupted_build_comes_before_new_images(crops, encoder, tmp_path, monkeypatch):
    images = read_gallery(crops)
    index = GalleryIndex(tmp_path / "index", encoder)
    with monkeypatch.context() as patch:
        patch.setattr(index_plan.PlanFolder, "finish", lambda self: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            index.add(images[:40], ["none"])
    assert index.unfinished
    index.add(images[40:80])
    assert not index.unfinished
    assert [image.path for image in index.images] == [i.path for i in images[:80] if "broken" not in i.path]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 11), max_size=6)), max_size=5))
def test_any_changes_leave_what_a_set_would_hold(changes, encoder, crops, tmp_path_factory):
    images = [image for image in read_gallery(crops) if "broken" not in image.path][:12]
    index = GalleryIndex(tmp_path_factory.mktemp("any") / "index", encoder)
    index.add(images[:1], ["none"])
    held = {images[0].path}
    for adding, numbers in changes:
        chosen = [images[number] for number in sorted(numbers)]
        if adding:
            index.add(chosen)
            held |= {image.path for image in chosen}
        else:
            index.remove([image.path for image in chosen if image.path in held])
            held -= {image.path for image in chosen}
    again = GalleryIndex(index.folder, encoder)
    assert {image.path for image in again.images} == held
    for image, row in zip(again.images, again.descriptors("none"), strict=True):
        alone = encoder.gallery(encoder.read(image.path)[None], ["none"])["none"][0].numpy()
        assert abs(row - alone).max() < 1e-5


@pytest.mark.parametrize("damage", ["cut", "absent rows", "no reasons"])
def test_a_damaged_block_is_one_message(crops, encoder, tmp_path, monkeypatch, damage):
    index = GalleryIndex(tmp_path / "index", encoder)
    with monkeypatch.context() as patch:
        patch.setattr(index_plan.PlanFolder, "blocks", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            index.add(read_gallery(crops)[:4], ["none"])
    block = index.folder / "pending" / "none" / "000000.npy"
    content = block.read_bytes()
    if damage == "no reasons":
        block.with_suffix(".json").write_text("[]")
    else:
        huge = content.replace(b"(3, ", b"(" + b"9" * 12 + b", ")[: len(content)]
        block.write_bytes(content[:-9] if damage == "cut" else huge)
    with pytest.raises(files.IndexFileError, match="damaged"):
        GalleryIndex(tmp_path / "index", encoder).add(read_gallery(crops)[:4], ["none"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_build_what_one_builds(crops, encoder, reference, tmp_path):
    import torch.distributed as dist

    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            try:
                dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=rank, world_size=2)
                GalleryIndex(tmp_path / "index", encoder).add(read_gallery(crops), TYPES)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert contents(tmp_path / "index") == reference
