"""Files of descriptors: what a killed process had begun to add, damaged headers, readers beside a writer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oamn_plugin.retrieval import distances
from oamn_plugin.retrieval.store import write_header
from oamn_plugin.search import descriptor_files
from oamn_plugin.search.descriptor_files import DescriptorFile, Rows
from oamn_plugin.search.files import IndexFileError

ROWS = np.arange(20, dtype=np.float32).reshape(5, 4)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Five rows of four numbers. Nothing waits."""
    monkeypatch.setattr(descriptor_files, "sleep", lambda _: None)
    found = DescriptorFile(tmp_path / "types" / "none.npy", 4)
    found.append([Rows(np.arange(5), ROWS)])
    return found


@pytest.fixture
def begun(file):
    """The same, to which a process was adding four rows when it was killed: before it wrote their numbers."""
    with open(file.path, "ab") as out:
        out.write(b"\0" * 64)
    with open(file.path, "r+b") as out:
        write_header(out, 9, 4)
    return file


def test_rows_are_dropped_and_added_where_more_had_been_begun(begun):
    """The first was an IndexError, at every further try too."""
    begun.drop([1, 3])
    assert np.array_equal(begun.read().descriptors, ROWS[[0, 2, 4]])
    begun.append([Rows(np.array([7]), ROWS[:1])])
    assert begun.read().numbers.tolist() == [0, 2, 4, 7]
    assert np.array_equal(begun.read().descriptors, ROWS[[0, 2, 4, 0]])
    assert begun.path.stat().st_size == 128 + 4 * 16


def test_what_had_been_begun_is_written_over(begun, tmp_path):
    begun.append([Rows(np.array([7]), ROWS[:1])])
    undisturbed = DescriptorFile(tmp_path / "undisturbed.npy", 4)
    undisturbed.append([Rows(np.array([0, 1, 2, 3, 4, 7]), ROWS[[0, 1, 2, 3, 4, 0]])])
    for one, other in ((begun.path, undisturbed.path), (begun.numbers_path, undisturbed.numbers_path)):
        assert one.read_bytes() == other.read_bytes()


def test_an_evaluation_does_not_map_what_had_been_begun(begun, monkeypatch):
    """It read a slice of a map, which stays in memory, in place of the file."""
    found, read = begun.read().descriptors, []
    from_file = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *args, **kwargs: read.append(1) or from_file(*args, **kwargs))
    tile = distances.tile_of(found, slice(2, 6), torch.device("cpu"))
    assert read
    assert np.array_equal(tile, np.concatenate([ROWS[2:], ROWS[:1] * 0]))


def test_a_file_without_rows_in_which_some_had_been_begun(begun):
    begun.drop(range(5))
    with open(begun.path, "r+b") as out:
        write_header(out, 2, 4)
        out.write(b"\0" * 32)
    assert begun.read().descriptors.shape == (0, 4)


def test_readers_wait_while_a_writer_takes_rows_out(file, monkeypatch):
    """A good index was told to be built again: the three tries were over at once."""
    save, found = descriptor_files.save, []

    def with_a_reader(path, array):
        monkeypatch.setattr(descriptor_files, "sleep", lambda _: save(path, array))
        found.append(file.read())

    monkeypatch.setattr(descriptor_files, "save", with_a_reader)
    file.drop([1])
    assert found[0].numbers.tolist() == [0, 2, 3, 4]
    assert np.array_equal(found[0].descriptors, ROWS[[0, 2, 3, 4]])


def test_a_writer_that_was_killed_between_the_two_files_is_told_and_goes_on(file, monkeypatch):
    waited = []
    monkeypatch.setattr(descriptor_files, "sleep", waited.append)
    with monkeypatch.context() as patch:
        patch.setattr(descriptor_files, "save", lambda *_: None)
        file.drop([1])
    with pytest.raises(IndexFileError, match="holds 4 descriptors of 5: run index again"):
        file.read()
    assert 1 < sum(waited) < 10
    file.drop([1])
    assert np.array_equal(file.read().descriptors, ROWS[[0, 2, 3, 4]])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"'shape': (5,", b"'shape':}(5,"),  # tokenize.TokenError
        (b"'shape': (5,", b"'shape': (-5"),
        (b"False", b"True "),
        (b"(5, 4)", b"(9, 4)"),
        (b"(5, 4)", b"(4, 5)"),
        (b"<f4", b"<i4"),
        (b"<f4", b"|O "),
        (b"NUMPY\x01", b"NUMPY\x02"),
    ],
)
def test_damaged_headers_are_one_message(file, old, new):
    for path in (file.path, file.numbers_path):
        content = path.read_bytes()
        if old not in content:
            continue
        path.write_bytes(content.replace(old, new))
        with pytest.raises(IndexFileError, match=r"is damaged .*: build this type again"):
            file.read()
        path.write_bytes(content)
