"""IDX and npz files: lazily by exact ranges where they are unpacked, and bounded where they are not."""

import gzip
import io
import warnings
import zipfile

import numpy as np
import pytest

from datastack_fs import open_dataset
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.testing import DatasetIteratorTests
from harness.cases import idx, npz
from harness.counting import CountingStore

IMAGES = np.arange(60, dtype=np.uint8).reshape(10, 3, 2)
LABELS = (np.arange(10) % 3).astype(np.uint8)


def stored(connector=None, **contents):
    connector = connector or MemoryStorageConnector("idx-npz-own")
    for name, content in contents.items():
        connector.set_resource(name, content)
    return connector


class TestIDX(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, local_store):
        connector = stored(local_store, images=idx.saved(IMAGES), labels=idx.saved(LABELS))
        return open_dataset("images", storage=connector, targets="labels")

    @pytest.fixture
    def expected(self):
        return [(image, label, None) for image, label in zip(IMAGES, LABELS, strict=True)]


class TestNpz(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, local_store):
        connector = stored(local_store, a=npz.saved())
        return open_dataset("a", storage=connector, format="npz", target="labels", tag="labels", sample="images")

    @pytest.fixture
    def expected(self):
        return [(image, label, label) for image, label in zip(npz.IMAGES, npz.LABELS, strict=True)]


@pytest.mark.filterwarnings("ignore:.*unpacked into memory")
class TestCompressedNpz(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, tmp_path):
        connector = stored(a=npz.saved(np.savez_compressed))
        return open_dataset("a", storage=connector, format="npz")

    @pytest.fixture
    def expected(self):
        return [(image, label, None) for image, label in zip(npz.IMAGES, npz.LABELS, strict=True)]


def test_a_batch_of_an_npz_is_one_request():
    store = CountingStore("npz-counting")
    iterator = open_dataset("a", storage=stored(store, a=npz.saved()), format="npz")
    store.requests.clear()
    iterator.take([3, 8, 4])
    assert len(store.requests) == 1
    iterator.targets()
    assert sum(stop - start for start, stop in store.requests[1]) == npz.LABELS.nbytes


@pytest.mark.parametrize("kind", ["npz", "idx"])
def test_what_is_packed_is_unpacked_with_a_warning_and_within_bounds(kind):
    content = npz.saved(np.savez_compressed) if kind == "npz" else gzip.compress(idx.saved(IMAGES))
    connector = stored(a=content)
    iterator = open_dataset("a", storage=connector, format=kind)
    with pytest.warns(UserWarning, match=r"unpacked into memory: (np.savez|gunzip)"):
        iterator[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iterator[1]
    with pytest.raises(DatasetFileCorruptError, match="more than max_bytes=50"):
        open_dataset("a", storage=connector, format=kind, max_bytes=50)


def test_objects_are_never_unpickled():
    stream = io.BytesIO()
    np.savez(stream, x=np.array([{}, None], dtype=object))
    with pytest.raises(DatasetFileCorruptError, match="run code from data"):
        open_dataset("a", storage=stored(a=stream.getvalue()), format="npz")


@pytest.mark.filterwarnings("ignore:.*unpacked into memory")
def test_a_member_with_a_wrong_checksum_is_refused():
    content = bytearray(npz.saved(np.savez_compressed))
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        member = archive.getinfo("images.npy")
    content[member.header_offset + 30 + len("images.npy") + member.compress_size - 3] ^= 0xFF
    with pytest.raises(DatasetFileCorruptError, match=r"images\.npy of a"):
        every_sample(bytes(content), "npz")


def every_sample(content, kind):
    return list(open_dataset("a", storage=stored(a=content), format=kind))


@pytest.mark.filterwarnings("ignore:.*unpacked into memory")
def test_an_idx_file_that_goes_on_is_refused():
    for content in (idx.saved(IMAGES) + b"x", gzip.compress(idx.saved(IMAGES) + b"x")):
        with pytest.raises(DatasetFileCorruptError):
            every_sample(content, "idx")


def test_labels_of_several_arrays_read_these_alone():
    store = CountingStore("npz-several-labels")
    stream = io.BytesIO()
    np.savez(stream, images=np.zeros((10, 100_000)), a=LABELS, b=LABELS)
    stored(store, a=stream.getvalue())
    options = {"sample": "images", "target": ["a", "b"], "tag": {"x": "b"}}
    iterator = open_dataset("a", storage=store, format="npz", **options)
    store.requests.clear()
    assert iterator.targets().tolist() == [(label, label) for label in LABELS]
    assert iterator.tags().tolist() == [{"x": label} for label in LABELS]
    assert store.fetched < 10_000
