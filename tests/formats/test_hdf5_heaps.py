"""Heaps of HDF5 files that would keep HDF5 busy for ever: an error, wherever values of variable length are read."""

import io
import re
import struct
import zlib

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.testing.processes import in_child

TEXT = h5py.string_dtype()
LENGTH, INDEX = rb"[^\0]\0\0\0", rb"[^\0]\0\0\0"  # of a reference, both below 256
ROWS = [f"the {number}. finch" for number in range(40)]


def text(file):
    file.create_dataset("x", data=ROWS, dtype=TEXT)


def packed(file):
    file.create_dataset("x", data=ROWS, dtype=TEXT, chunks=(8,), compression="gzip")


def chunked(file):
    file.create_dataset("x", data=np.array(ROWS[:8], object).reshape(2, 4), dtype=TEXT, chunks=(1, 2))


def long(file):  # its heap is larger than what HDF5 reads of one first
    file.create_dataset("x", data=["w" * 9_000, "owl"], dtype=TEXT)


def ragged(file):
    rows = file.create_dataset("x", (9,), h5py.vlen_dtype(np.int64))
    for number in range(9):
        rows[number] = np.zeros(number)


def records(file):
    kind = np.dtype([("name", TEXT), ("size", "<f4")])
    file.create_dataset("x", data=np.array([("finch", 1), ("owl", 2)], dtype=kind))


def nested(file):
    inner = np.dtype([("rows", h5py.vlen_dtype(np.float64)), ("count", "<i2")])
    value = np.zeros(2, [("short", "i1"), ("inner", inner), ("names", TEXT, (2,)), ("last", TEXT)])
    for row in value:
        row["inner"]["rows"], row["last"], row["names"][:] = np.arange(3.0), "wren", ["finch", "owl"]
    file.create_dataset("x", data=value)


def attribute(file):
    file["x"] = np.arange(3)
    file["x"].attrs["feature_names"] = ["width", "height"]


def saved(build, *, size_bytes=8, latest=False):
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_sizes(8, size_bytes)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST if latest else h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(b"x", h5py.h5f.ACC_TRUNC, creation, access)) as file:
        build(file)
        file.flush()
        return file.id.get_file_image()


def samples(data):
    store = MemoryStorageConnector("hdf5-heaps")
    store.set_resource("birds.h5", data)
    iterator = HDF5DatasetIterator(store.get_resource("birds.h5"), sample="x")
    return iterator.meta.feature_names, list(iterator)


def message(data):
    try:
        return repr(samples(data))
    except DatasetFileCorruptError as error:
        return str(error)


def without_bytes(data, header):
    """The file with another header for the second object of its first heap."""
    heap = data.index(b"GCOL")
    size = int.from_bytes(data[heap + 24 : heap + 28], "little")
    place = heap + 16 + 16 + (size + 7) // 8 * 8
    return place, data[:place] + header + data[place + len(header) :]


@pytest.mark.parametrize("latest", [False, True])
@pytest.mark.parametrize("build", [text, packed, long, ragged, records, attribute])
def test_an_object_without_bytes_is_an_error_that_says_where(build, latest):
    whole = saved(build, latest=latest)
    assert samples(whole)
    free = struct.pack("<HHIQ", 0, 0, 0, 0)
    around = struct.pack("<HHIQ", 2, 1, 0, 2**64 - 16)  # with its own header it takes 2^64 bytes
    for place, damaged in (without_bytes(whole, free), without_bytes(whole, around)):
        told = in_child("fork", message, damaged)  # where it would hang, it is killed
        assert f"an object of no bytes at byte {place:,}" in told


def test_files_with_short_sizes_are_checked_too():
    whole = saved(text, size_bytes=4)
    assert samples(whole)[1][39][0] == ROWS[39]
    place, damaged = without_bytes(whole, bytes(12))
    assert f"an object of no bytes at byte {place:,}" in in_child("fork", message, damaged)
    told = in_child("fork", message, saved(text, size_bytes=16))
    assert "sizes of 16 bytes" in told


@pytest.mark.parametrize("build", [text, packed, ragged, records, attribute])
def test_a_type_of_variable_length_that_is_damaged_is_an_error(build):
    whole = saved(build)
    kind = whole.index(b"\x19\1\1\0" if build is not ragged else b"\x19\0\0\0")
    told = in_child("fork", message, whole[: kind + 1] + b"\x0f" + whole[kind + 2 :])  # HDF5 would crash
    assert "neither rows nor text of variable length" in told


@pytest.mark.parametrize("build", [text, chunked, packed, ragged, records, nested])
def test_a_length_that_no_heap_has_is_an_error_before_memory_is_taken(build):
    whole = saved(build)
    assert samples(whole)
    with h5py.File(io.BytesIO(whole)) as file:
        chunks = [(0,), (8,)] if file["x"].compression else []
    heap = re.escape(struct.pack("<Q", whole.index(b"GCOL")))
    places = chunks or [found.start() for found in re.finditer(LENGTH + heap + INDEX, whole)]
    assert len(places) >= 2
    for place in places:
        damaged = with_length_at(place, whole)
        assert re.search(r"a value of [\d,]{10,} bytes is said to be in the heap", message(damaged))


def with_length_at(place, whole):
    """The file with the length of 32 Mi in a reference at a place, or in the last one of a packed chunk."""
    length = struct.pack("<I", 1 << 25)
    if isinstance(place, int):
        return whole[:place] + length + whole[place + 4 :]
    stream = io.BytesIO(whole)
    with h5py.File(stream, "r+") as file:
        _, packed = file["x"].id.read_direct_chunk(place)
        file["x"].id.write_direct_chunk(place, zlib.compress(zlib.decompress(packed)[:-16] + length + bytes(12)))
    return stream.getvalue()
