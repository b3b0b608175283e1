"""Where the chunks of a remote HDF5 file are: found as HDF5 finds it, in few requests, and remembered by version."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_btree import chunk_index_of_tree
from datastack_fs.formats.hdf5_chunks import chunk_index
from harness.counting import CountingStore
from harness.stores import unique

ROWS = 3000


def file_of(shape, chunks, written, *, attributes=0, **options):
    """A file whose datasets take turns in growing, so that the nodes of their trees lie scattered."""
    file = io.BytesIO()
    with h5py.File(file, "w", libver="earliest") as made:
        made["other"] = np.arange(10)
        dataset = made.create_dataset("x", shape, "<i4", chunks=chunks, **options)
        for number in range(attributes):
            dataset.attrs[f"note {number}"] = "of some length" * 20
        for corner in written:
            place = tuple(slice(start, start + step) for start, step in zip(corner, chunks, strict=True))
            dataset[place] = sum(corner) + 1
    return file.getvalue()


def rows_file(**options):
    return file_of((ROWS, 2), (1, 2), [(row, 0) for row in range(ROWS)], **options)


def both(content):
    """The index as it is read from the tree, and as HDF5 tells it."""
    store = MemoryStorageConnector(unique("index"))
    store.set_resource("a.h5", content)
    with store.get_resource("a.h5") as resource, h5py.File(io.BytesIO(content)) as file:
        return chunk_index_of_tree(file["x"], resource), chunk_index(file["x"])


def same(found, expected):
    pairs = [(getattr(found, name), getattr(expected, name)) for name in ("places", "starts", "sizes", "masks")]
    return found.grid == expected.grid and all(
        (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs
    )


@settings(max_examples=15)
@given(data=st.data())
def test_the_tree_says_what_hdf5_says(data):
    grid = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple))
    chunks = tuple(data.draw(st.integers(1, 3)) for _ in grid)
    places = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(int(np.prod(grid)))[:400]
    corners = np.array(np.unravel_index(places, grid)).T * np.array(chunks)
    options = data.draw(st.sampled_from([{}, {"compression": "gzip"}, {"maxshape": (None,) * len(grid)}]))
    shape = tuple(number * step for number, step in zip(grid, chunks, strict=True))
    found, expected = both(file_of(shape, chunks, corners.tolist(), attributes=data.draw(st.integers(0, 9)), **options))
    assert same(found, expected)


def test_a_tree_of_three_levels_is_read():
    found, expected = both(rows_file())
    assert len(found.starts) == ROWS
    assert same(found, expected)


def test_a_file_that_is_opened_for_the_first_time_takes_few_requests():
    store = CountingStore(unique("index"))
    store.set_resource("a.h5", rows_file(compression="gzip"))
    iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
    iterator.take([7])
    assert len(store.requests) <= 5  # the superblock, two levels of the tree below its root, the chunk


def test_the_index_is_remembered_by_the_version_of_the_file():
    store = CountingStore(unique("index"))
    for content in (rows_file(compression="gzip"), rows_file()):
        store.set_resource("a.h5", content)
        for opening in range(2):
            store.requests.clear()
            iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
            assert iterator.take([2999, 0])[0].tolist() == [[3000, 3000], [1, 1]]
            assert opening == 0 or len(store.requests) <= 2


@pytest.mark.parametrize("what", ["signature", "level", "address"])
def test_of_a_damaged_tree_hdf5_says_what_is_wrong(what):
    content = bytearray(rows_file(compression="gzip"))
    node = [at for at in range(0, len(content), 8) if content[at : at + 6] == b"TREE\x01\x01"][-1]
    place, broken = {"signature": (0, b"TRAP"), "level": (5, b"\x07"), "address": (24 + 32, b"\xf0" * 7)}[what]
    content[node + place : node + place + len(broken)] = broken
    store = MemoryStorageConnector(unique("index"))
    store.set_resource("a.h5", bytes(content))
    with pytest.raises(DatasetFileCorruptError, match=r"a\.h5 in memory://"):
        HDF5DatasetIterator(store.get_resource("a.h5"), sample="x").take([0, 2999])
