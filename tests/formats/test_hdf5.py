"""HDF5 files as datasets: the same samples from every store, nothing read twice, nothing read outside the file."""

import gc
import io
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatasetNotFoundError,
    DatastackError,
    MaliciousFilePathError,
    MissingDependencyError,
    ResourceChangedError,
)
from datastack_fs.formats import hdf5_reader
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.iterators import DatasetMeta
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_all_same, assert_same, shuffled
from datastack_fs.testing.processes import in_child
from harness.counting import CountingStore

LENGTH = 23


def content(build, **options):
    """The bytes of an HDF5 file that ``build`` fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        build(file)
    return stream.getvalue()


def birds(file, **layout):
    rng = np.random.default_rng(1)
    file.create_dataset("images", data=rng.integers(0, 255, (LENGTH, 6, 5), dtype=np.uint8), **layout)
    file["labels"] = np.arange(LENGTH, dtype=np.int64) % 4
    file["sites"] = [f"site {number}" for number in range(LENGTH)]


def expected_birds():
    with h5py.File(io.BytesIO(content(birds)), "r") as file:
        images, labels = file["images"][:], file["labels"][:]
    return [(images[i], labels[i], f"site {i}") for i in range(LENGTH)]


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def stored(store, data, name="birds.h5"):
    store.set_resource(name, data)
    return store.get_resource(name)


class TestOnEveryStore(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, store):
        data = content(lambda file: birds(file, chunks=(4, 6, 5), compression="gzip"))
        return HDF5DatasetIterator(stored(store, data), sample="images", target="labels", tag="sites")

    @pytest.fixture
    def expected(self):
        return expected_birds()


class TestTargetFirst(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, local_store):
        meta = DatasetMeta("birds.h5", "birds", tag="all", sample_pos=2, target_pos=0, tag_pos=1)
        resource = stored(local_store, content(birds))
        return HDF5DatasetIterator(resource, sample="images", target="labels", meta=meta)

    @pytest.fixture
    def expected(self):
        return [(label, "all", image) for image, label, _ in expected_birds()]


# Layouts: what h5py itself reads is what comes.


def numbers(dtype, shape=(LENGTH, 3, 2)):
    return np.random.default_rng(2).integers(0, 100, shape).astype(dtype)


LAYOUTS = {
    "contiguous": lambda file: file.create_dataset("x", data=numbers("i4")),
    "compact": lambda file: _compact(file),
    "one axis": lambda file: file.create_dataset("x", data=numbers("f8", (LENGTH,))),
    "chunked": lambda file: file.create_dataset("x", data=numbers("u2"), chunks=(4, 3, 2)),
    "chunks across": lambda file: file.create_dataset("x", data=numbers("u2"), chunks=(5, 2, 1)),
    "one chunk": lambda file: file.create_dataset("x", data=numbers("u2"), chunks=(LENGTH, 3, 2)),
    "a row a chunk": lambda file: file.create_dataset("x", data=numbers("u2"), chunks=(1, 3, 2)),
    "resizable": lambda file: file.create_dataset("x", data=numbers("u2"), maxshape=(None, 3, 2), chunks=(4, 3, 2)),
    "all filters": lambda file: file.create_dataset(
        "x", data=numbers(">i4"), chunks=(4, 3, 2), compression="gzip", shuffle=True, fletcher32=True
    ),
    "lzf": lambda file: file.create_dataset("x", data=numbers("i8"), chunks=(6, 3, 2), compression="lzf"),
    "half written": lambda file: _half_written(file),
    "never written": lambda file: file.create_dataset("x", (LENGTH, 4), "i4", fillvalue=7),
    "no width": lambda file: file.create_dataset("x", (LENGTH, 0, 3), "i4"),
    "big endian": lambda file: file.create_dataset("x", data=numbers(">f4")),
    "bool": lambda file: file.create_dataset("x", data=numbers("u1") > 50),
    "complex": lambda file: file.create_dataset("x", data=numbers("c16"), chunks=(4, 3, 2)),
    "compound": lambda file: file.create_dataset("x", data=_compound(), chunks=(4,)),
    "fixed text": lambda file: file.create_dataset("x", data=np.array([b"owl", b"w\xc3\xa4ren"] * 9)),
    "text": lambda file: file.create_dataset("x", data=["owl", "Zaunkönig", ""] * 7, chunks=(4,)),
    "table of text": lambda file: file.create_dataset("x", data=np.array([["a", "b"], ["ä", ""]] * 5, dtype=object)),
    "ragged": lambda file: _ragged(file),
    "half precision": lambda file: file.create_dataset("x", data=numbers(">f2"), chunks=(4, 3, 2)),
    "four axes": lambda file: file.create_dataset("x", data=numbers("i2", (LENGTH, 3, 2, 4)), chunks=(5, 3, 1, 3)),
    "opaque": lambda file: file.create_dataset("x", data=numbers("i4", (LENGTH,)).view("V4")),
    "enum": lambda file: file.create_dataset("x", data=numbers("i2"), dtype=h5py.enum_dtype({"owl": 1}, "i2")),
    "time": lambda file: file.create_dataset("x", data=numbers("M8[s]").astype(h5py.opaque_dtype("M8[s]"))),
    "bits": lambda file: _of_type(file, h5py.h5t.STD_B16BE, (LENGTH,)),
    "arrays": lambda file: file.create_dataset("x", (LENGTH,), "(2,3)f4", chunks=(4,), compression="gzip"),
    "n-bit": lambda file: _of_type(file, _twelve_bits(), (LENGTH,), h5py.h5z.FILTER_NBIT),
    "szip": lambda file: file.create_dataset("x", data=numbers("i4"), chunks=(4, 3, 2), compression="szip"),
    "scaled": lambda file: file.create_dataset("x", data=numbers("f4"), chunks=(4, 3, 2), scaleoffset=2),
    "shuffled only": lambda file: file.create_dataset("x", data=numbers("i4"), chunks=(4, 3, 2), shuffle=True),
    "chunks that could not be packed": lambda file: _unpacked_chunks(file),
}


def _compact(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((LENGTH, 2))
    dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, space, plist))
    dataset[...] = numbers("i4", (LENGTH, 2))


def _half_written(file):
    dataset = file.create_dataset("x", (LENGTH, 2), "f4", chunks=(4, 2), fillvalue=-1)
    dataset[8:13] = 5


def _of_type(file, kind, shape, code=None):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if code is not None:
        plist.set_chunk((4,))
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
    dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple(shape), plist))
    if kind.get_class() == h5py.h5t.INTEGER:
        dataset[...] = numbers("i2", shape)


def _twelve_bits():
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(12)
    return kind


def _unpacked_chunks(file):
    """The filter of some chunks is switched off by their mask."""
    dataset = file.create_dataset("x", (LENGTH, 2), "i4", chunks=(4, 2), compression="gzip")
    dataset[...] = numbers("i4", (LENGTH, 2))
    for row in (0, 8):
        dataset.id.write_direct_chunk((row, 0), numbers("i4", (4, 2)).tobytes(), filter_mask=1)


def _compound():
    rows = np.zeros(LENGTH, dtype=[("name", "S5"), ("place", "f8", (2,))])
    rows["name"] = [f"n{number}".encode() for number in range(LENGTH)]
    rows["place"] = numbers("f8", (LENGTH, 2))
    return rows


def _ragged(file):
    dataset = file.create_dataset("x", (LENGTH,), h5py.vlen_dtype(np.int32), chunks=(4,))
    for number in range(LENGTH):
        dataset[number] = np.arange(number)


def read_by_h5py(data):
    with h5py.File(io.BytesIO(data), "r") as file:
        dataset = file["x"]
        if h5py.check_string_dtype(dataset.dtype):
            dataset = dataset.asstr("utf-8")
        return list(dataset[:])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_what_h5py_gives(local_store, layout, libver):
    data = content(LAYOUTS[layout], libver=libver)
    rows = read_by_h5py(data)
    iterator = HDF5DatasetIterator(stored(local_store, data), sample="x")
    assert len(iterator) == len(rows)
    assert_all_same([sample for sample, _, _ in iterator], rows)
    chosen = shuffled(range(-len(rows), len(rows)))
    assert_all_same([sample for sample, _, _ in iterator.__getitems__(chosen)], [rows[index] for index in chosen])
    assert_same(iterator[len(rows) // 2][0], rows[len(rows) // 2])
    labels = HDF5DatasetIterator(stored(local_store, data), sample="x", target="x").targets()
    assert_all_same(labels, rows)


def test_a_user_block_before_the_file(local_store):
    data = content(birds, userblock_size=1024)
    iterator = HDF5DatasetIterator(stored(local_store, b"#" * 512 + data[512:]), sample="images")
    assert_all_same([image for image, _, _ in iterator], [image for image, _, _ in expected_birds()])


def test_no_samples(local_store):
    data = content(lambda file: file.create_dataset("x", (0, 4), "f4", chunks=(1, 4), maxshape=(None, 4)))
    iterator = HDF5DatasetIterator(stored(local_store, data), sample="x", target="x")
    assert len(iterator) == 0
    assert list(iterator) == []
    assert iterator.targets().shape == (0, 4)


# Which datasets.


def test_usual_names_are_found(memory):
    for sample, target in (("samples", "targets"), ("images", "labels"), ("x", "y"), ("pictures", "label")):
        data = content(lambda file, s=sample, t=target: file.update({s: np.ones((3, 2)), t: [4, 5, 6]}))
        iterator = HDF5DatasetIterator(stored(memory, data))
        assert [int(label) for _, label, _ in iterator] == [4, 5, 6]


def test_the_only_dataset_is_the_samples(memory):
    iterator = HDF5DatasetIterator(stored(memory, content(lambda file: file.update({"things": [1, 2]}))))
    assert [(int(sample), target) for sample, target, _ in iterator] == [(1, None), (2, None)]
    assert iterator.targets().tolist() == [None, None]


def test_a_sample_named_alone_has_no_targets(memory):
    iterator = HDF5DatasetIterator(stored(memory, content(birds)), sample="images")
    assert iterator[0][1] is None


def test_what_cannot_be_guessed_is_asked_for(memory):
    data = content(lambda file: file.update({"left": [1], "right": [2]}))
    with pytest.raises(DatasetNotFoundError, match=r"sample=…, one of: 'left', 'right'"):
        HDF5DatasetIterator(stored(memory, data))


def test_a_missing_name_lists_what_there_is(memory):
    data = content(lambda file: file.update({"deep/images": np.zeros((3, 8), "u1"), "labels": [1, 2, 3]}))
    with pytest.raises(
        DatasetNotFoundError, match=r"no dataset 'imgs' in birds.h5.*deep/images \(3, 8\) uint8, labels"
    ):
        HDF5DatasetIterator(stored(memory, data), sample="imgs")
    with pytest.raises(DatasetNotFoundError, match="no dataset 'deep/labels'"):
        HDF5DatasetIterator(stored(memory, data), sample="deep/labels")
    with pytest.raises(DatasetNotFoundError, match="no dataset 'labels/x'"):
        HDF5DatasetIterator(stored(memory, data), sample="deep/images", target="labels/x")
    assert len(HDF5DatasetIterator(stored(memory, data), sample="/deep//images")) == 3


def test_columns_of_different_lengths_are_refused(memory):
    data = content(lambda file: file.update({"x": [1, 2, 3], "y": [1, 2]}))
    with pytest.raises(DatasetFileCorruptError, match="'x' has 3, 'y' has 2"):
        HDF5DatasetIterator(stored(memory, data))


def test_soft_links_within_the_file_are_followed(memory):
    def build(file):
        file["deep/images"] = [1, 2]
        file["short"] = h5py.SoftLink("/deep/images")
        file["deep/near"] = h5py.SoftLink("images")
        file["alias"] = h5py.SoftLink("deep")
        file["ring"] = h5py.SoftLink("ring")
        file["nowhere"] = h5py.SoftLink("/gone")

    data = content(build)
    for name in ("short", "deep/near", "alias/images", "alias/near"):
        assert len(HDF5DatasetIterator(stored(memory, data), sample=name)) == 2
    with pytest.raises(DatasetNotFoundError):
        HDF5DatasetIterator(stored(memory, data), sample="nowhere")
    with pytest.raises(DatastackError):
        HDF5DatasetIterator(stored(memory, data), sample="ring")


def test_class_names_come_from_the_targets(memory):
    def build(file):
        birds(file)
        file["labels"].attrs["class_names"] = ["owl", "wren", "finch", "jay"]

    assert HDF5DatasetIterator(stored(memory, content(build))).meta.class_names == ("owl", "wren", "finch", "jay")


# Broken and hostile files.


@pytest.mark.parametrize("kind", ["link", "path through a link", "soft link to a link", "virtual", "storage"])
def test_nothing_outside_the_file_is_read(local_store, tmp_path, kind):
    other = tmp_path / "secret.h5"
    other.write_bytes(content(birds))
    raw = tmp_path / "secret.bin"
    raw.write_bytes(bytes(24))

    def build(file):
        if kind == "virtual":
            layout = h5py.VirtualLayout((LENGTH, 6, 5), "u1")
            layout[:] = h5py.VirtualSource(str(other), "images", (LENGTH, 6, 5))
            file.create_virtual_dataset("images", layout)
        elif kind == "storage":
            file.create_dataset("images", (3, 8), "u1", external=[(str(raw), 0, 24)])
        else:
            target = "/images" if kind == "link" else "/"
            file["images" if kind == "link" else "other"] = h5py.ExternalLink(str(other), target)
            file["soft"] = h5py.SoftLink("/other/images")

    name = {"path through a link": "other/images", "soft link to a link": "soft"}.get(kind, "images")
    with pytest.raises(MaliciousFilePathError, match="leads to another file"):
        HDF5DatasetIterator(stored(local_store, content(build)), sample=name)


def test_other_datasets_may_lead_out(memory):
    data = content(lambda file: (birds(file), file.update({"away": h5py.ExternalLink("/etc/x.h5", "/")})))
    assert len(HDF5DatasetIterator(stored(memory, data))) == LENGTH


@pytest.mark.parametrize("data", [b"", b"not HDF5 at all" * 100, b"\x89HDF\r\n\x1a\n" + bytes(500)], ids=len)
def test_what_is_no_hdf5_is_refused_by_name(local_store, data):
    with pytest.raises(DatasetFileCorruptError, match=r"birds.h5 in .* can't be read as HDF5"):
        HDF5DatasetIterator(stored(local_store, data))


def test_a_truncated_file_never_gives_samples(local_store):
    data = content(lambda file: birds(file, chunks=(4, 6, 5)))
    for size in [*range(0, 300, 7), *range(300, len(data), 211), len(data) - 1]:
        with pytest.raises(DatasetFileCorruptError, match=r"birds\.h5"):
            list(HDF5DatasetIterator(stored(local_store, data[:size])))


def test_a_damaged_chunk_is_noticed_when_it_has_a_checksum(local_store):
    data = bytearray(content(lambda file: birds(file, chunks=(4, 6, 5), fletcher32=True)))
    with h5py.File(io.BytesIO(data), "r") as file:
        data[file["images"].id.get_chunk_info(2).byte_offset] ^= 1
    iterator = HDF5DatasetIterator(stored(local_store, bytes(data)))
    assert_same(iterator[0][0], expected_birds()[0][0])
    with pytest.raises(DatasetFileCorruptError, match=r"birds\.h5"):
        iterator[9]
    assert_same(iterator[0][0], expected_birds()[0][0])


def test_datasets_without_rows_are_refused(memory):
    def build(file):
        file["single"] = 5
        file["null"] = h5py.Empty("f4")
        file["pointers"] = np.array([file.ref], dtype=h5py.ref_dtype)

    for name, reason in (("single", "single value"), ("null", "holds no value"), ("pointers", "references")):
        with pytest.raises(DatasetFileCorruptError, match=reason):
            HDF5DatasetIterator(stored(memory, content(build)), sample=name)


def test_a_missing_filter_is_named(memory):
    data = content(lambda file: file.create_dataset("x", data=[1] * 99, chunks=(9,), compression="lzf"))
    assert data.count(b"lzf\0") == 1
    place = data.index(b"lzf\0") - 8
    assert data[place : place + 2] == (32000).to_bytes(2, "little")
    unknown = data[:place] + (32999).to_bytes(2, "little") + data[place + 2 :]
    with pytest.raises(MissingDependencyError, match=r"filter 32999 \(lzf\).*pip install hdf5plugin"):
        HDF5DatasetIterator(stored(memory, unknown))


# One version.


def test_a_replaced_file_gives_old_samples_or_an_error(local_store):
    def build(file):
        file.create_dataset("x", data=np.full((4000, 64), file.attrs.get("value", 1), "u1"), chunks=(100, 64))

    old = content(build)
    iterator = HDF5DatasetIterator(stored(local_store, old, "a.h5"))
    iterator[0]
    changed = content(lambda file: (file.attrs.update(value=2), build(file)))
    local_store.set_resource("a.h5", changed)
    with suppress(ResourceChangedError):
        assert all((sample == 1).all() for sample, _, _ in iterator)


def test_a_file_changed_in_place_is_noticed(tmp_path):
    resource = stored(FileStorageConnector(tmp_path), content(birds))
    iterator = HDF5DatasetIterator(resource)
    with open(tmp_path / "birds.h5", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    os.utime(tmp_path / "birds.h5", (1, 1))
    with pytest.raises(ResourceChangedError, match=r"birds\.h5"):
        iterator[0]


# How it is read.


def test_a_batch_is_one_fetch(request):
    store = CountingStore(request.node.nodeid)
    pixels = np.random.default_rng(3).integers(0, 255, (2000, 128, 128), "u1")
    data = content(
        lambda file: (
            file.create_dataset("x", data=pixels, chunks=(4, 128, 128), shuffle=True),
            file.create_dataset("y", data=np.arange(2000), chunks=(50,)),
        ),
        libver="latest",
    )
    iterator = HDF5DatasetIterator(stored(store, data))
    iterator[0]  # finds out where the chunks are
    for batch in np.split(np.random.default_rng(4).permutation(2000)[:320], 10):
        store.requests.clear()
        found = iterator.__getitems__(batch)
        assert [int(label) for _, label, _ in found] == batch.tolist()
        assert len(store.requests) == 1, "all ranges of the batch in one call, and none from within HDF5"
    store.requests.clear()
    iterator.__getitems__(batch)
    assert store.requests == [], "the same batch again is in the cache"


@pytest.mark.parametrize("chunks", [None, (100, 50)], ids=["contiguous", "chunked"])
def test_targets_read_no_samples(request, chunks):
    store = CountingStore(request.node.nodeid)
    data = content(
        lambda file: (
            file.create_dataset("images", data=np.ones((20_000, 50), "u4"), chunks=chunks),
            file.create_dataset("labels", data=np.arange(20_000), chunks=(1000,)),
        ),
        libver="latest",
    )
    iterator = HDF5DatasetIterator(stored(store, data))
    store.requests.clear()
    assert (iterator.targets() == np.arange(20_000)).all()
    assert store.fetched < 20_000 * 8 * 3
    assert len(store.requests) == 1


@pytest.mark.parametrize(
    ("chunks", "packed"),
    [
        (None, {}),
        ((16, 64, 64), {}),
        ((64, 32, 32), {}),
        ((16, 64, 64), {"compression": "gzip", "shuffle": True}),
        ((64, 32, 32), {"compression": "gzip"}),
    ],
    ids=str,
)
def test_a_batch_fetches_what_it_needs_and_little_more(request, chunks, packed):
    """In one call, each byte once; a block of the reader's cache is 64 KiB, so that much may come with each chunk."""
    store = CountingStore(request.node.nodeid)
    images = np.random.default_rng(5).integers(0, 255, (1024, 64, 64), "u1")

    def build(file):
        file.create_dataset("images", data=images, chunks=chunks, **packed)
        file["labels"] = np.arange(1024)

    data = content(build, libver="latest")
    iterator = HDF5DatasetIterator(stored(store, data))
    iterator[0]
    batch = np.random.default_rng(6).permutation(1024)[:20]
    store.requests.clear()
    found, labels, _ = iterator.take(batch)
    assert (found == images[batch]).all()
    assert labels.tolist() == batch.tolist()
    assert len(store.requests) == 1
    with h5py.File(io.BytesIO(data), "r") as file:
        dataset = file["images"]
        rows = np.unique(batch // chunks[0]) * chunks[0] if chunks else batch
        if chunks:
            corners = [(row, y, x) for row in rows for y in range(0, 64, chunks[1]) for x in range(0, 64, chunks[2])]
            places = [dataset.id.get_chunk_info_by_coord(corner) for corner in corners]
            needed = [(place.byte_offset, place.byte_offset + place.size) for place in places]
        else:
            needed = [
                (dataset.id.get_offset() + row * 4096, dataset.id.get_offset() + (row + 1) * 4096) for row in rows
            ]
        needed.append((file["labels"].id.get_offset(), file["labels"].id.get_offset() + 8 * 1024))
    blocks = {block for start, stop in needed for block in range(start >> 16, ((stop - 1) >> 16) + 1)}
    assert store.fetched <= 1.25 * (len(blocks) << 16), "requests with a small gap between them are joined"


def test_rows_far_apart_come_in_few_calls(request):
    """Each in a block of its own, more of them than the reader's cache holds."""
    store = CountingStore(request.node.nodeid)
    data = content(lambda file: file.create_dataset("x", data=np.arange(5 << 20).reshape(-1, 2)))
    iterator = HDF5DatasetIterator(stored(store, data))
    store.requests.clear()
    chosen = np.random.default_rng(7).permutation(np.arange(0, len(iterator), 4096))
    assert (iterator.take(chosen)[0][:, 0] == chosen * 2).all()
    assert len(store.requests) <= 8


def test_batches_larger_than_the_cache_come_in_parts(request, monkeypatch):
    monkeypatch.setattr(hdf5_reader, "FETCH_BYTES", 1000)
    store = CountingStore(request.node.nodeid)
    data = content(lambda file: birds(file, chunks=(4, 6, 5)))
    iterator = HDF5DatasetIterator(stored(store, data), sample="images", target="labels", tag="sites")
    chosen = shuffled(range(LENGTH)) * 2
    assert_all_same(iterator.__getitems__(chosen), [expected_birds()[index] for index in chosen])


def test_the_resource_may_be_closed(local_store):
    with stored(local_store, content(birds)) as resource:
        iterator = HDF5DatasetIterator(resource)
    assert_same(iterator[3][0], expected_birds()[3][0])


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_nothing_stays_open(local_store):
    resource = stored(local_store, content(birds))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert HDF5DatasetIterator(local_store.get_resource("birds.h5"))[5][1] == 1
        with pytest.raises(DatasetNotFoundError):
            HDF5DatasetIterator(local_store.get_resource("birds.h5"), sample="none")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
    resource.close()


def test_children_forked_while_threads_read_are_right(local_store):
    iterator = HDF5DatasetIterator(stored(local_store, content(lambda file: birds(file, chunks=(4, 6, 5)))))
    wanted = [image.tobytes() for image, _, _ in iterator]
    ended = threading.Event()

    def read():
        while not ended.is_set():
            assert images_of(iterator) == wanted

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read) for _ in range(4)]
        try:
            assert all(in_child("fork", images_of, iterator) == wanted for _ in range(10))
        finally:
            ended.set()
        assert [each.result(60) for each in reading] == [None] * 4


def images_of(iterator):
    return [image.tobytes() for image, _, _ in iterator.__getitems__(range(len(iterator)))]


@pytest.mark.parametrize("store", ["MemoryStorageConnector()", "FileStorageConnector(folder)"])
@pytest.mark.parametrize("end", ["pass", "if os.fork() == 0: sys.exit(0)\nassert os.wait()[1] == 0"])
def test_a_process_with_an_open_file_ends_well(end, store, tmp_path):
    """HDF5 calls Python after its end for a file left open over a Python file: without care, it crashes."""
    code = textwrap.dedent("""
        import io, os, sys, h5py
        from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
        from datastack_fs.formats.hdf5 import HDF5DatasetIterator
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            file["x"] = [1, 2, 3]
        store = STORE
        store.set_resource("a.h5", stream.getvalue())
        iterator = HDF5DatasetIterator(store.get_resource("a.h5"))
        assert iterator[2][0] == 3
    """)
    code = f"folder = {str(tmp_path)!r}\n{code.replace('STORE', store)}{end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
