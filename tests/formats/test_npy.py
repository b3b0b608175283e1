"""npy files as datasets: the same samples from every store, by exact byte ranges, and never unpickled."""

import io
import os
import struct
from contextlib import suppress

import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, ResourceChangedError
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.iterators import DatasetMeta
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_all_same, shuffled
from harness.counting import CountingStore

IMAGES = np.random.default_rng(1).integers(0, 255, (23, 6, 5), dtype=np.uint8)
LABELS = np.arange(23) % 4


def content(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), **options)
    return stream.getvalue()


def stored(store, data, name="a.npy"):
    store.set_resource(name, data)
    return store.get_resource(name)


class TestWithAFileOfTargets(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, local_store):
        labels = stored(local_store, content(LABELS), "labels.npy")
        return NpyDatasetIterator(stored(local_store, content(IMAGES)), targets=labels)

    @pytest.fixture
    def expected(self):
        return [(image, label, None) for image, label in zip(IMAGES, LABELS, strict=True)]


class TestWithAnArrayOfTargets(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, local_store):
        meta = DatasetMeta("a.npy", "a", tag="all", sample_pos=1, target_pos=2, tag_pos=0)
        return NpyDatasetIterator(stored(local_store, content(IMAGES)), targets=LABELS, meta=meta)

    @pytest.fixture
    def expected(self):
        return [("all", image, label) for image, label in zip(IMAGES, LABELS, strict=True)]


ARRAYS = {
    "one axis": np.arange(30, dtype="f8"),
    "big endian": np.arange(60, dtype=">i2").reshape(30, 2),
    "bool": np.arange(30) % 3 == 1,
    "complex": np.arange(30, dtype="c8"),
    "time": np.arange(30).astype("M8[s]"),
    "text": np.array(["owl", "wren", ""] * 10),
    "bytes": np.array([b"owl", b"wren", b""] * 10),
    "compound": np.array([(1, (2.0, 3.0)), (4, (5.0, 6.0))] * 5, dtype=[("a", "i4"), ("b", "f8", (2,))]),
    "no samples": np.zeros((0, 4)),
    "no width": np.zeros((5, 0, 3)),
    "one sample": np.zeros((1, 1)),
    "Fortran order of one axis": np.asfortranarray(np.arange(9.0)),
}


@pytest.mark.parametrize("version", [(1, 0), (2, 0)], ids=str)
@pytest.mark.parametrize("kind", ARRAYS)
def test_every_array_gives_what_numpy_gives(local_store, kind, version):
    array = ARRAYS[kind]
    iterator = NpyDatasetIterator(stored(local_store, content(array, version=version)))
    assert len(iterator) == len(array)
    assert_all_same([sample for sample, _, _ in iterator], list(array))
    chosen = shuffled(range(-len(array), len(array)))
    assert_all_same([sample for sample, _, _ in iterator.__getitems__(chosen)], [array[index] for index in chosen])


def test_without_targets_they_are_none(local_store):
    iterator = NpyDatasetIterator(stored(local_store, content(IMAGES)))
    assert iterator[0][1:] == (None, None)
    assert iterator.targets().tolist() == [None] * 23


def test_targets_must_be_as_many(local_store):
    for targets in ([1, 2], stored(local_store, content(LABELS[:-1]), "labels.npy")):
        with pytest.raises(ValueError, match="23 rows, but there are 2"):
            NpyDatasetIterator(stored(local_store, content(IMAGES)), targets=targets)
    with pytest.raises(TypeError, match="one label for each row"):
        NpyDatasetIterator(stored(local_store, content(IMAGES)), targets=7)


def test_a_batch_is_one_fetch_of_its_rows_alone(request):
    store = CountingStore(request.node.nodeid)
    array = np.random.default_rng(2).random((2000, 5000))
    iterator = NpyDatasetIterator(stored(store, content(array)))
    for batch in np.split(np.random.default_rng(3).permutation(2000)[:100], 10):
        store.requests.clear()
        found = iterator.__getitems__(batch)
        assert all((sample == array[index]).all() for index, (sample, _, _) in zip(batch, found, strict=True))
        assert len(store.requests) == 1
        assert store.fetched <= 2 * 10 * 40_000


def test_targets_read_no_samples(request):
    store = CountingStore(request.node.nodeid)
    labels = stored(store, content(LABELS), "labels.npy")
    iterator = NpyDatasetIterator(stored(store, content(IMAGES)), targets=labels)
    store.requests.clear()
    assert iterator.targets().tolist() == LABELS.tolist()
    assert store.fetched == LABELS.nbytes


# Broken and hostile files.


class Exploding:
    def __reduce__(self):
        return os.abort, ()


def test_objects_are_never_unpickled(local_store):
    data = content(np.array([Exploding()], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetFileCorruptError, match=r"a\.npy.*Python objects"):
        NpyDatasetIterator(stored(local_store, data))


def test_a_truncated_file_is_refused_when_it_is_opened(local_store):
    data = content(IMAGES)
    for size in [*range(140), len(data) - 1]:
        with pytest.raises(DatasetFileCorruptError, match=r"a\.npy in .*"):
            NpyDatasetIterator(stored(local_store, data[:size]))
    with pytest.raises(DatasetFileCorruptError, match=rf"has {len(data) - 1} bytes, .* promises {len(data)}"):
        NpyDatasetIterator(stored(local_store, data[:-1]))


def test_bytes_after_the_array_are_refused(local_store):
    with pytest.raises(DatasetFileCorruptError, match="promises"):
        NpyDatasetIterator(stored(local_store, content(IMAGES) + b"\0"))


def header(text, version=b"\1\0"):
    padded = text.encode("latin1").ljust(118 - 1) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(padded)) + padded


@pytest.mark.parametrize(
    "data",
    [
        b"not an array",
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (-3,), }"),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (1" + "0" * 30 + ",), }"),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': 'x', }"),
        header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (3,), }"),
        header("{'descr': '<i4', 'fortran_order': False, }"),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (3,)"),
        header("__import__('os').abort()"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (0,), }"),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (0,), }", version=b"\3\0"),
        header("{'descr': '<i4', 'fortran_order': False, 'shape': (0,), }", version=b"\x09\0"),
    ],
)
def test_a_broken_header_is_refused_by_name(local_store, data):
    with pytest.raises(DatasetFileCorruptError, match=r"a\.npy in "):
        NpyDatasetIterator(stored(local_store, data))


def test_single_values_and_scattered_rows_are_refused(local_store):
    with pytest.raises(DatasetFileCorruptError, match="single value"):
        NpyDatasetIterator(stored(local_store, content(np.float64(1))))
    with pytest.raises(DatasetFileCorruptError, match=r"Fortran order.*ascontiguousarray"):
        NpyDatasetIterator(stored(local_store, content(np.asfortranarray(np.ones((3, 4))))))


# One version.


def test_a_replaced_file_gives_old_samples_or_an_error(local_store):
    iterator = NpyDatasetIterator(stored(local_store, content(np.full((3000, 64), 1.0))))
    iterator[0]
    local_store.set_resource("a.npy", content(np.full((3000, 64), 2.0)))
    with suppress(ResourceChangedError):
        assert all((sample == 1.0).all() for sample, _, _ in iterator)


@pytest.mark.parametrize("size", [3 * 64 * 8, 0], ids=["changed", "truncated"])
def test_a_file_changed_in_place_is_noticed(tmp_path, size):
    iterator = NpyDatasetIterator(stored(FileStorageConnector(tmp_path), content(np.ones((3000, 64)))))
    iterator[0]
    os.truncate(tmp_path / "a.npy", size)
    with pytest.raises(ResourceChangedError, match=r"a\.npy"):
        iterator[2999]
