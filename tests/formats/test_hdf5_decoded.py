"""Chunks that are read without HDF5 give what HDF5 gives, bit for bit; and damaged ones are noticed."""

import io
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats import hdf5_filters
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_chunks import chunk_index
from datastack_fs.formats.hdf5_decoded import DecodedRows
from datastack_fs.formats.hdf5_filters import checked, fletcher32
from harness.counting import CountingStore
from harness.stores import unique

NUMBERS = [
    order + kind
    for order in "<>"
    for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
]
TYPES = [
    *map(np.dtype, NUMBERS),
    np.dtype(bool),
    np.dtype([("x", "<f4"), ("y", ">i2"), ("name", "S3")]),
    np.dtype([("pair", "<i4", (2,)), ("z", "u1")]),
    np.dtype(("<i2", (3,))),
    h5py.enum_dtype({"owl": 0, "wren": 7}, basetype="i2"),
]


MOST_COMPACT = 60_000  # bytes, roughly, that fit into a header

FILTERS = {
    "deflate": lambda plist: plist.set_deflate(4),
    "shuffle": lambda plist: plist.set_shuffle(),
    "fletcher32": lambda plist: plist.set_fletcher32(),
    "lzf": lambda plist: plist.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL),
}


def packed(content, codes, mask, element_bytes):
    """What filters, save those in the mask, make of a chunk."""
    for number, code in enumerate(codes):
        if mask >> number & 1:
            continue
        if code == h5py.h5z.FILTER_DEFLATE:
            content = zlib.compress(content)
        elif code == h5py.h5z.FILTER_FLETCHER32:
            content += fletcher32(content).to_bytes(4, "little")
        elif element_bytes > 1:
            whole = len(content) // element_bytes * element_bytes
            shuffled = np.frombuffer(content[:whole], np.uint8).reshape(-1, element_bytes).T.tobytes()
            content = shuffled + content[whole:]
    return content


@st.composite
def datasets(draw):
    """A whole file, and how it was made: every part of it is drawn."""
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple))
    layout = draw(st.sampled_from(["chunked", "chunked", "chunked", "contiguous", "compact"]))
    options = {}
    if layout == "chunked":
        options["chunks"] = tuple(draw(st.integers(1, size + 2)) for size in shape)
        extends = draw(st.sampled_from(["fixed", "one axis", "all axes"]))
        options["maxshape"] = {
            "fixed": tuple(size + 3 for size in shape),
            "one axis": (None, *(size + 3 for size in shape[1:])),
            "all axes": (None,) * len(shape),
        }[extends]
    fill = draw(st.integers(0, 9)) if dtype.names is None and dtype.kind in "iuf" and draw(st.booleans()) else None
    values = np.frombuffer(np.random.default_rng(draw(st.integers(0, 99))).bytes(4 * 9**4 * 16), np.uint8)
    size = int(np.prod(shape)) * dtype.itemsize
    array = values[:size].copy()
    if dtype.kind == "b":
        array &= 1
    array = array.view(dtype.base).reshape(*shape, *dtype.shape) if dtype.subdtype else array.view(dtype).reshape(shape)
    file = io.BytesIO()
    libver = draw(st.sampled_from(["earliest", "latest"]))
    with h5py.File(file, "w", libver=libver, userblock_size=draw(st.sampled_from([0, 0, 512]))) as made:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if layout == "compact" and size < MOST_COMPACT:
            plist.set_layout(h5py.h5d.COMPACT)
        if layout == "chunked":
            for name in draw(st.lists(st.sampled_from(list(FILTERS)), max_size=4, unique=True)):
                FILTERS[name](plist)
        made.create_dataset("x", shape, dtype, fillvalue=fill, dcpl=plist, **options)
        written = draw(st.integers(0, shape[0])) if layout == "chunked" else shape[0]
        if written:
            made["x"][:written] = array[:written]
        if layout == "chunked" and written:  # a chunk for which some of its filters are left out
            codes = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
            mask = draw(st.integers(0, (1 << len(codes)) - 1))
            mask |= sum(1 << number for number, code in enumerate(codes) if code == h5py.h5z.FILTER_LZF)
            raw = bytes(int(np.prod(options["chunks"])) * dtype.itemsize - 1) + b"\1"
            corner = (0,) * len(shape)
            made["x"].id.write_direct_chunk(corner, packed(raw, codes, mask, dtype.itemsize), filter_mask=mask)
    return file.getvalue()


def expected_of(content):
    try:
        with h5py.File(io.BytesIO(content)) as file:
            return file["x"][()]
    except OSError:  # h5py's lzf can't undo what another filter made larger than a chunk
        reject()


def same(found, expected):
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@settings(max_examples=60, deadline=None)
@given(content=datasets(), seed=st.integers(0, 9))
def test_it_is_what_hdf5_reads(content, seed, tmp_path_factory):
    expected = expected_of(content)
    folder = tmp_path_factory.mktemp("decoded")
    order = np.random.default_rng(seed).integers(0, len(expected), 2 * len(expected))
    for store in (MemoryStorageConnector(unique("decoded")), FileStorageConnector(folder)):
        store.set_resource("a.h5", content)
        iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
        assert same(iterator.take(order)[0], expected[order])
        for number, (found, _, _) in enumerate(iterator.batches(5, order)):
            assert same(found, expected[order[5 * number : 5 * number + 5]])


def made(**options):
    file = io.BytesIO()
    rows = np.arange(4000, dtype="<i4").reshape(1000, 4)
    with h5py.File(file, "w") as target:
        dataset = target.create_dataset("x", data=rows, chunks=(10, 4), **options)
        index = chunk_index(dataset)
    return file.getvalue(), rows, index


def column_of(iterator):
    iterator.take([0])
    (column,) = iterator._readers.get()._columns.values()
    return column


PACKED = {"compression": "gzip", "shuffle": True, "fletcher32": True}


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, PACKED])
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_these_filters_are_undone_without_hdf5(options, kind, tmp_path):
    content, rows, _ = made(**options)
    store = MemoryStorageConnector(unique("decoded")) if kind == "memory" else FileStorageConnector(tmp_path)
    store.set_resource("a.h5", content)
    iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
    assert isinstance(column_of(iterator), DecodedRows)
    assert (iterator.take([999, 0, 5])[0] == rows[[999, 0, 5]]).all()


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"fletcher32": True}, PACKED])
def test_a_damaged_chunk_is_an_error_that_names_it_and_of_its_rows_alone(options):
    content, rows, index = made(**options)
    store = MemoryStorageConnector(unique("decoded"))
    start, size = int(index.starts[3]), int(index.sizes[3])
    broken = bytearray(content)
    broken[start + size // 2] ^= 0x41
    store.set_resource("a.h5", bytes(broken))
    iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
    assert (iterator.take([0, 29, 40])[0] == rows[[0, 29, 40]]).all()
    with pytest.raises(DatasetFileCorruptError, match=rf"'/x' of a\.h5 in memory://.*: the chunk at byte {start:,} is"):
        iterator.take([31])


def test_what_is_fetched_is_the_chunks_and_byte_ranges_tells_them():
    content, _, index = made(compression="gzip")
    store = CountingStore(unique("decoded"))
    store.gap_bytes = 0
    store.set_resource("a.h5", content)
    iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
    iterator.take([0])
    store.requests.clear()
    (request,) = iterator.byte_ranges([995, 31, 38])
    wanted = [(int(index.starts[chunk]), int(index.starts[chunk] + index.sizes[chunk])) for chunk in (3, 99)]
    assert request.ranges == sorted(wanted)
    iterator.take([995, 31, 38])
    assert sorted(store.requests[0]) == sorted(wanted)
    assert len(store.requests) == 1
    assert iterator.byte_ranges([30]) == [], "it was fetched just now"


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}], ids=["raw", "gzip"])
def test_rows_of_many_chunks_come_in_their_order(options):
    """Of more chunks than are kept for the next batch; the last one reaches beyond the end; some rows come twice."""
    rows = np.arange(250 * 6, dtype="<i4").reshape(250, 2, 3)
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written.create_dataset("x", data=rows, chunks=(4, 2, 3), **options)
    store = MemoryStorageConnector(unique("wide"))
    store.set_resource("a.h5", file.getvalue())
    iterator = HDF5DatasetIterator(store.get_resource("a.h5"), sample="x")
    indices = np.random.default_rng(1).integers(0, len(rows), 400)
    for wanted in (indices, [249, 0, 249]):
        found = iterator.take(wanted)[0]
        np.testing.assert_array_equal(found, rows[wanted])
        assert found.dtype == rows.dtype
        assert found.flags.writeable


def test_the_index_of_chunks_is_compact():
    file = io.BytesIO()
    with h5py.File(file, "w") as target:
        dataset = target.create_dataset("x", (70_000,), "u1", chunks=(1,), maxshape=(None,))
        dataset[...] = 1
        index = chunk_index(dataset)
    arrays = [array for array in (index.places, index.starts, index.sizes, index.masks) if array is not None]
    assert sum(array.nbytes for array in arrays) <= 20 * 70_000
    assert index.find(np.array([0, 69_999])).tolist() == [0, 69_999]


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 65_537, 2_200_001])
def test_the_checksum_is_that_of_hdf5(size):
    for bytes_ in (np.random.default_rng(size).integers(0, 256, size), np.zeros(size), np.full(size, 255)):
        file = io.BytesIO()
        with h5py.File(file, "w") as target:
            dataset = target.create_dataset("x", data=bytes_.astype(np.uint8), chunks=(size,), fletcher32=True)
            _, stored = dataset.id.read_direct_chunk((0,))
        assert bytes(checked(stored)) == bytes_.astype(np.uint8).tobytes()
        assert stored[-4:] == fletcher32(stored[:-4]).to_bytes(4, "little")


def test_a_libdeflate_that_crashes_on_damaged_bytes_is_not_used(monkeypatch):
    pytest.importorskip("deflate")
    monkeypatch.setattr(hdf5_filters, "version", {"deflate": "0.5.0"}.__getitem__)
    assert hdf5_filters._inflater() is hdf5_filters._by_zlib
