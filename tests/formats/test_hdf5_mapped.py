"""HDF5 datasets read by memory map: bit for bit what h5py reads, of one version, without a descriptor left over."""

import gc
import io
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastack_fs.connectors import FileStorageConnector
from datastack_fs.errors import DatastackError, ResourceChangedError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_file import HDF5File
from datastack_fs.formats.hdf5_mapped import mapped_rows
from datastack_fs.testing.iterators import assert_same
from datastack_fs.testing.processes import in_child
from harness.children import first_columns

DTYPES = {
    "u1": np.dtype("u1"),
    "i2": np.dtype("<i2"),
    "big i4": np.dtype(">i4"),
    "f2": np.dtype("<f2"),
    "big f4": np.dtype(">f4"),
    "f8": np.dtype("<f8"),
    "big c16": np.dtype(">c16"),
    "long double": np.dtype("g"),
    "bool": np.dtype("?"),
    "opaque": np.dtype("V5"),
    "enum": h5py.enum_dtype({"owl": 1, "wren": 2}, "<i2"),
    "time": h5py.opaque_dtype(np.dtype("<M8[s]")),
    "records": np.dtype([("a", ">i2"), ("b", "<f8", (2,)), ("c", "S3")]),
    "arrays": np.dtype(("<f4", (2, 3))),
}

few = settings(
    max_examples=5000 if os.environ.get("DATASTACK_SOAK") else 250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def datasets(draw):
    """How to make a dataset: type, shape, layout, and which rows of it are written."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    shape = (draw(st.integers(0, 20)), *shape[1:])
    chunks = draw(st.none() | st.tuples(*(st.integers(1, size + 2) for size in shape)))
    options = {"libver": draw(st.sampled_from(["earliest", "latest"]))}
    options["userblock_size"] = draw(st.sampled_from([0, 0, 0, 512]))
    fill = draw(st.booleans()) and dtype in {"u1", "i2", "big i4", "f2", "big f4", "f8"}
    growing = [chunks is not None and (size == 0 or draw(st.booleans())) for size in shape]
    early, never = draw(st.booleans()), draw(st.booleans())
    written = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3) | st.just([(0, 20)]))
    return dtype, shape, chunks, options, fill, growing, early, never, written


def make(path, dataset):
    """Makes the file, and gives what h5py reads of it."""
    kind, shape, chunks, options, fill, growing, early, never, written = dataset
    dtype = DTYPES[kind]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if early:
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    if chunks:  # a chunk may be larger than the dataset if that can grow
        chunks = tuple(c if grows else min(c, n) for c, grows, n in zip(chunks, growing, shape, strict=True))
    maxshape = tuple(None if grows else size for grows, size in zip(growing, shape, strict=True))
    path.unlink(missing_ok=True)  # the one before may still be open
    with h5py.File(path, "w", **options) as file:
        made = file.create_dataset(
            "x",
            shape,
            dtype,
            chunks=chunks,
            maxshape=maxshape if chunks else None,
            fillvalue=7 if fill else None,
            fill_time="never" if never and written == [(0, 20)] else "ifset",
            dcpl=plist,
        )
        values = random_values(made, shape, dtype)
        for start, stop in written:
            made[start:stop] = values[start:stop]
    with h5py.File(path, "r") as file:
        return file["x"][:]


def random_values(made, shape, dtype):
    shape = (*shape, *dtype.shape)
    count = int(np.prod(shape))
    raw = np.random.default_rng(count).integers(0, 256, count * dtype.base.itemsize, dtype=np.uint8)
    if dtype == np.dtype("?"):
        raw &= 1
    if dtype == np.dtype("g"):
        return np.random.default_rng(1).normal(size=shape).astype("g")
    if h5py.check_enum_dtype(dtype):
        raw[:] = 1
    return raw.view(dtype.base).reshape(shape)


@given(dataset=datasets(), seed=st.integers(0, 9))
@few
def test_what_is_mapped_is_what_h5py_reads(tmp_path, dataset, seed):
    expected = make(tmp_path / "a.h5", dataset)
    length = len(expected)
    iterator = HDF5DatasetIterator(FileStorageConnector(tmp_path).get_resource("a.h5"), sample="x")
    assert len(iterator) == length
    if length:
        chosen = np.random.default_rng(seed).integers(0, length, 30)
        for indices in (chosen, np.arange(length), chosen[:1]):
            found = iterator.take(indices)[0]
            assert found.dtype == expected.dtype
            assert found.shape == (len(indices), *expected.shape[1:])
            if expected.dtype == np.dtype("g"):  # it has bytes that mean nothing
                assert_same(found, expected[indices])
            else:
                assert found.tobytes() == expected[indices].tobytes()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("chunks", [None, (3, 2), (7, 5), (2, 5)], ids=str)
def test_plain_datasets_are_mapped(tmp_path, chunks, libver):
    for kind in DTYPES:
        make(
            tmp_path / kind, (kind, (13, 5), chunks, {"libver": libver}, False, (False, False), False, False, [(0, 20)])
        )
        file = HDF5File(FileStorageConnector(tmp_path).get_resource(kind))
        assert mapped_rows(file.find("x"), file.pin) is not None


@pytest.mark.parametrize(
    "build",
    [
        lambda file: file.create_dataset("x", data=[1, 2, 3], chunks=(2,), compression="gzip"),
        lambda file: file.create_dataset("x", data=[1, 2, 3], chunks=(2,), fletcher32=True),
        lambda file: file.create_dataset("x", data=["a", "b"]),
        lambda file: file.create_dataset("x", (9,), "i4", chunks=(2,), fill_time="never"),
        lambda file: file.create_dataset("x", (1 << 23,), "u1", chunks=(1,)),
        lambda file: h5py.h5d.create(file.id, b"x", twelve_bits(), h5py.h5s.create_simple((4,))),
    ],
    ids=["gzip", "checksum", "text", "never filled", "next to nothing written", "a type that numpy has not"],
)
def test_others_are_left_to_hdf5(tmp_path, build):
    with h5py.File(tmp_path / "a.h5", "w") as made:
        build(made)
    file = HDF5File(FileStorageConnector(tmp_path).get_resource("a.h5"))
    assert mapped_rows(file.find("x"), file.pin) is None


def twelve_bits():
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(12)
    return kind


@pytest.mark.parametrize("chunks", [None, (3, 2)], ids=["contiguous", "chunked"])
@given(damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
@few
def test_a_damaged_file_is_an_error_or_has_rows(tmp_path, chunks, damage):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("x", data=np.arange(60).reshape(20, 3), chunks=chunks)
    data = bytearray(stream.getvalue())
    for place, byte in damage:
        data[place % len(data)] = byte
    (tmp_path / "a.h5").write_bytes(data)
    with suppress(DatastackError):
        iterator = HDF5DatasetIterator(FileStorageConnector(tmp_path).get_resource("a.h5"), sample="x")
        assert len(list(iterator)) == len(iterator)


@pytest.fixture(params=[None, (4, 3)], ids=["contiguous", "chunked"])
def birds(request, tmp_path):
    """A file of plain numbers, each row its own."""
    with h5py.File(tmp_path / "birds.h5", "w") as file:
        file.create_dataset("x", data=np.arange(60).reshape(20, 3), chunks=request.param)
    return tmp_path / "birds.h5"


def test_a_file_changed_in_place_is_noticed(birds):
    iterator = HDF5DatasetIterator(FileStorageConnector(birds.parent).get_resource("birds.h5"))
    assert iterator[5][0].tolist() == [15, 16, 17]
    with open(birds, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    os.utime(birds, (1, 1))
    with pytest.raises(ResourceChangedError, match=r"birds\.h5"):
        iterator[5]


def test_a_file_cut_short_in_place_does_not_end_the_process(birds):
    iterator = HDF5DatasetIterator(FileStorageConnector(birds.parent).get_resource("birds.h5"))
    iterator[5]
    os.truncate(birds, 100)
    with pytest.raises(ResourceChangedError, match=r"birds\.h5"):
        iterator[19]


def test_a_replaced_file_gives_the_rows_of_the_old_one(birds):
    connector = FileStorageConnector(birds.parent)
    iterator = HDF5DatasetIterator(connector.get_resource("birds.h5"))
    iterator[0]
    connector.set_resource("birds.h5", b"another")
    assert iterator[5][0].tolist() == [15, 16, 17]
    with pytest.raises(ResourceChangedError):
        pickle.loads(pickle.dumps(iterator))[5]


def test_rows_are_the_callers_own(birds):
    iterator = HDF5DatasetIterator(FileStorageConnector(birds.parent).get_resource("birds.h5"))
    rows = iterator.take([5, 5])[0]
    rows[0] = 0
    assert rows[1].tolist() == iterator[5][0].tolist() == [15, 16, 17]


def test_threads_and_children_read_the_same(birds):
    iterator = HDF5DatasetIterator(FileStorageConnector(birds.parent).get_resource("birds.h5"))

    def read(seed):
        chosen = np.random.default_rng(seed).integers(0, 20, 50)
        for _ in range(50):
            assert (iterator.take(chosen)[0][:, 0] == chosen * 3).all()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [None] * 8
    for method in ("fork", "spawn"):
        assert_same(in_child(method, first_columns, iterator), np.arange(0, 60, 3))


@pytest.mark.skipif(sys.platform != "linux", reason="counts maps and descriptors in /proc")
def test_no_map_and_no_descriptor_stays(birds):
    connector = FileStorageConnector(birds.parent)

    def left():
        gc.collect()
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), maps.read().count("birds.h5")

    descriptors, maps = left()
    for _ in range(50):
        assert HDF5DatasetIterator(connector.get_resource("birds.h5"))[5][0][0] == 15
    after = left()
    assert after[0] <= descriptors, "there may be fewer: connections of earlier tests end in the background"
    assert after[1] == maps
