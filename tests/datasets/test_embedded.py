from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oamn_plugin.datasets.embedded import (
    DIFFICULTY,
    SIZES,
    Size,
    drawing_nothing,
    ensure,
    folder_name,
    load_embedded,
    load_truth,
    nearest_type,
    read_embedded,
    side_shares,
    store,
)
from oamn_plugin.datasets.embedded.plan import plan
from oamn_plugin.datasets.embedded.render import Shot, render
from oamn_plugin.datasets.embedded.worker import encode

# A change of these is a change of every published figure: raise FORMAT in sizes.py with them.
PIXELS = "48115929167d5a976b0fbeae776f74a5c7e2ed0658bc94454a3cc456b24a6ff6"
FILES = "86c67b14ffbd49a6da5ef94ad79a85114d5af853263cf113d117bc63bc68fa92"
SMALL = Size(train_ids=2, test_ids=2, train_images=2, queries=1, gallery_images=2, cameras=2, height=48, width=24)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return ensure(tmp_path_factory.mktemp("data"), "tiny", progress=False)


def digest(parts) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


def test_the_files_are_the_same_everywhere(tiny):
    files = sorted(path for path in tiny.rglob("*") if path.suffix in (".jpg", ".csv"))
    assert digest(part for path in files for part in (path.name.encode(), path.read_bytes())) == FILES


def test_the_pixels_are_the_same_everywhere():
    counts = SIZES["tiny"]
    images = (render(0, shot, counts.height, counts.width)[0] for shot in plan(counts, 0)[::7])
    assert digest(image.tobytes() for image in images) == PIXELS


def test_an_image_depends_on_its_own_key_alone(tiny):
    shot = plan(SIZES["tiny"], 0)[-1]
    for other in (Shot("query", 3, 1, 9, True), Shot("bounding_box_test", 5, 2, 1, False)):
        render(0, other, 128, 64)
    assert encode(render(0, shot, 128, 64)[0]) == (tiny / shot.split / shot.name).read_bytes()
    assert render(1, shot, 128, 64)[0].tobytes() != render(0, shot, 128, 64)[0].tobytes()


def test_the_number_of_workers_changes_nothing(tmp_path, monkeypatch):
    alone = ensure(tmp_path / "alone", SMALL, progress=False)
    monkeypatch.setattr(store, "FEW", 1)
    monkeypatch.setattr(store, "processors", lambda: 3)
    together = ensure(tmp_path / "together", SMALL, progress=False)
    files = sorted(path.relative_to(alone) for path in alone.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(together) for path in together.rglob("*") if path.is_file())
    assert all((alone / name).read_bytes() == (together / name).read_bytes() for name in files)


def test_splits_counts_and_cameras(tiny):
    counts, split, holistic = SIZES["tiny"], read_embedded(tiny), read_embedded(tiny, holistic=True)
    assert len(split.train) == counts.train_ids * counts.train_images
    assert len(split.query) == len(holistic.query) == counts.test_ids * counts.queries
    assert len(split.gallery) == counts.test_ids * counts.gallery_images
    assert {record.pid for record in split.train} == set(range(1, counts.train_ids + 1))
    assert not {record.pid for record in split.train} & {record.pid for record in split.gallery}
    assert Counter(r[1:] for r in split.query) == Counter(r[1:] for r in holistic.query)
    for query in split.query:
        assert any(g.pid == query.pid and g.camid != query.camid for g in split.gallery)
    assert {record.camid for record in split.train} == set(range(counts.cameras))


def test_all_queries_are_occluded_and_no_holistic_one(tiny):
    truths = load_truth(tiny)
    for name, truth in truths.items():
        assert (tiny / truth.split / name).is_file()
        if truth.split == "query":
            assert DIFFICULTY.smallest_area - 0.02 <= truth.area <= DIFFICULTY.largest_area + 0.02
            assert truth.type_name.startswith(truth.side)
            assert truth.occluder != "none"
        if truth.split in ("query_holistic", "bounding_box_train"):
            assert (truth.area, truth.type_name, truth.side, truth.occluder) == (0.0, "none", "none", "none")


def test_the_truth_is_consistent_with_itself(tiny):
    for truth in load_truth(tiny).values():
        assert not (truth.visible & truth.occluder_mask).any()
        assert truth.visible.any()
        assert truth.area == pytest.approx(truth.occluder_mask.mean(), abs=1e-4)
        assert truth.type_name == nearest_type(truth.occluder_mask)
        assert truth.sides == pytest.approx(side_shares(truth.occluder_mask), abs=1e-4)


def test_the_masks_lie_where_the_pictures_differ():
    shot = Shot("query", 13, 1, 1, True)
    occluded, truth = render(0, shot, 96, 48)
    clean, whole = render(0, shot._replace(occluded=False), 96, 48)
    far = ~_grown(truth.occluder_mask, 4)
    assert (np.abs(occluded[far].astype(int) - clean[far]) <= 2).all()
    changed = np.abs(occluded[truth.occluder_mask].astype(int) - clean[truth.occluder_mask]).max(axis=1)
    assert (changed > 8).mean() > 0.7
    np.testing.assert_array_equal(truth.visible & far, whole.visible & far)


def _grown(mask, by):
    grown = np.zeros_like(mask)
    for row, column in zip(*np.nonzero(mask), strict=True):
        grown[max(0, row - by) : row + by + 1, max(0, column - by) : column + by + 1] = True
    return grown


def test_about_a_tenth_of_the_gallery_is_occluded():
    gallery = [shot for shot in plan(SIZES["demo"], 0) if shot.split == "bounding_box_test"]
    assert 0.07 < sum(shot.occluded for shot in gallery) / len(gallery) < 0.13


def test_every_size_has_unique_names_and_a_findable_identity_for_each_query():
    for counts in SIZES.values():
        shots = plan(counts, 0)
        assert len({shot.name for shot in shots}) == len(shots)
        gallery = {(shot.pid, shot.camid) for shot in shots if shot.split == "bounding_box_test"}
        assert all((s.pid, c) in gallery for s in shots if s.split == "query" for c in range(counts.cameras))


def test_a_finished_data_set_is_not_drawn_again(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    assert ensure(tiny.parent, "tiny", progress=False) == tiny
    assert before == {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}


@pytest.mark.parametrize("holistic", [False, True])
def test_a_dry_run_knows_the_records_and_draws_nothing(tiny, tmp_path, holistic):
    with drawing_nothing():
        planned = load_embedded(tmp_path, "tiny", holistic=holistic)
    assert list(tmp_path.iterdir()) == []
    drawn = load_embedded(tiny.parent, "tiny", holistic=holistic)
    for ours, theirs in zip(planned, drawn, strict=True):
        moved = [one._replace(path=str(tiny.parent / Path(one.path).relative_to(tmp_path))) for one in ours]
        assert sorted(moved) == sorted(theirs)


def test_images_have_the_asked_for_size(tmp_path):
    folder = ensure(tmp_path, SMALL, seed=3, progress=False)
    assert {Image.open(path).size for path in folder.rglob("*.jpg")} == {(24, 48)}
    assert folder.name == folder_name(SMALL, 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_drawing_ends_with_75_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(store, "save_truth", lambda *_: signal.raise_signal(number))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        ensure(tmp_path, SMALL, progress=False)
    assert stop.value.code == 75
    assert "run again" in capsys.readouterr().err
    assert signal.getsignal(number) == before
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_the_workers_too(tmp_path):
    code = f"from oamn_plugin.datasets.embedded import ensure; ensure({str(tmp_path)!r}, 'demo', progress=False)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not any(tmp_path.glob(".*.part-*/*/*.jpg")):
        assert process.poll() is None
    process.terminate()
    assert "run again" in process.communicate()[1]
    assert process.returncode == 75
    assert list(tmp_path.iterdir()) == []


def test_two_processes_draw_one_data_set(tmp_path):
    code = (
        "from oamn_plugin.datasets.embedded import ensure, Size\n"
        f"print(ensure({str(tmp_path)!r}, Size(*{[2, 2, 2, 1, 2, 2, 48, 24]}), progress=False))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert outputs == {str(tmp_path / folder_name(SMALL, 0))}
    assert len(load_truth(tmp_path / folder_name(SMALL, 0))) == len(plan(SMALL, 0))


def test_the_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "from env"))
    assert ensure(size=SMALL, progress=False).parent == tmp_path / "from env"


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PermissionError, match=r"file.*FASTREID_DATASETS"):
        ensure(tmp_path / "file", "tiny", progress=False)


def test_misspelt_sizes_and_impossible_counts_are_named(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'benchmark'"):
        ensure(tmp_path, "benchmrk")
    with pytest.raises(ValueError, match="another camera"):
        Size(2, 2, 2, 2, 2, cameras=1)
    with pytest.raises(ValueError, match="train_ids must be at least 1"):
        Size(0, 2, 2, 2, 2)


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="bounding_box_train"):
        read_embedded(tmp_path)
