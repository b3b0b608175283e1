"""Which datasets of an HDF5 file are samples, targets and tags: several, by mapping, whole groups, single values."""

import io
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError, MaliciousFilePathError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_checks import ALWAYS_ALLOWED
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_all_same, assert_same
from harness.counting import CountingStore

LENGTH = 12
IMAGES = np.arange(LENGTH * 6, dtype=np.uint8).reshape(LENGTH, 2, 3)
BOXES = np.linspace(0, 1, LENGTH * 4).reshape(LENGTH, 4)
SITES = [f"Höhe {number}" for number in range(LENGTH)]


def birds(file):
    file["train/images"], file["train/boxes"], file["train/sites"] = IMAGES, BOXES, SITES
    file["train/more/labels"] = np.arange(LENGTH)
    file["train/year"] = 2024
    file["train/alias"] = h5py.SoftLink("/train/more")


@pytest.fixture(params=["file", "memory"])
def opened(request, tmp_path):
    """Opens an HDF5 file that a function fills: from a folder, and from memory."""
    store = FileStorageConnector(tmp_path) if request.param == "file" else MemoryStorageConnector(request.node.nodeid)

    def open_built(build=birds, **options):
        return HDF5DatasetIterator(stored(store, build), **options)

    return open_built


def stored(store, build, **options):
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        build(file)
    store.set_resource("birds.h5", stream.getvalue())
    return store.get_resource("birds.h5")


class TestSeveralNames(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, opened):
        sample = {"image": "train/images", "label": "train/more/labels"}
        return opened(sample=sample, target=["train/boxes", "train/sites"], tag="train/year")

    @pytest.fixture
    def expected(self):
        labels = np.arange(LENGTH)
        return [({"image": IMAGES[n], "label": labels[n]}, (BOXES[n], SITES[n]), np.int64(2024)) for n in range(LENGTH)]


def test_a_group_stands_for_the_datasets_directly_in_it(opened):
    iterator = opened(sample="train", target="train/more")
    assert_same(
        iterator[3],
        (
            {"boxes": BOXES[3], "images": IMAGES[3], "sites": SITES[3], "year": np.int64(2024)},
            {"labels": np.int64(3)},
            None,
        ),
    )
    assert iterator.take([3, 1])[0]["images"].shape == (2, 2, 3)
    assert_all_same(iterator.targets(), [{"labels": np.int64(number)} for number in range(LENGTH)])


def test_what_is_named_itself_is_not_in_its_group(opened):
    def build(file):
        birds(file)
        file["linked"] = h5py.SoftLink("/train/sites")

    iterator = opened(build, sample=["train", "train/images"], target="/train//boxes", tag="linked")
    assert_same(iterator[3], (({"year": np.int64(2024)}, IMAGES[3]), BOXES[3], SITES[3]))


def test_the_top_of_the_file_is_a_group(opened):
    iterator = opened(lambda file: file.update({"a": [1, 2], "b": [3, 4]}), sample="/", target="b")
    assert_same(list(iterator), [({"a": np.int64(1)}, np.int64(3), None), ({"a": np.int64(2)}, np.int64(4), None)])


def test_a_group_without_datasets_is_refused(opened):
    with pytest.raises(DatasetNotFoundError, match=r"no dataset in the group 'train' .*; the file has train/more/x"):
        opened(lambda file: file.update({"train/more/x": [1]}), sample="train")


def test_a_group_that_leads_out_is_refused(opened):
    def build(file):
        birds(file)
        file["train/away"] = h5py.ExternalLink("/etc/x.h5", "/")

    with pytest.raises(MaliciousFilePathError, match="'train/away'"):
        opened(build, sample="train")
    assert len(opened(build, sample="train/images")) == LENGTH


def test_single_values_are_those_of_every_sample(opened):
    def build(file):
        file["x"] = [1, 2]
        file["text"] = "owl"
        file["record"] = np.array((1, b"x"), dtype=[("a", "i2"), ("b", "S2")])
        file["words"] = np.array(("ä", 2), dtype=[("a", h5py.string_dtype()), ("b", "i2")])
        file.create_dataset("ragged", (), h5py.vlen_dtype("i4"))[()] = np.array([1, 2, 3], "i4")

    names = ["text", "record", "words", "ragged"]
    iterator = opened(build, sample="x", target=names, tag="text")
    record = np.array((1, b"x"), dtype=[("a", "i2"), ("b", "S2")])[()]
    for number in (0, 1):
        sample, (text, found, words, ragged), tag = iterator[number]
        assert (sample, text, tag, words.tolist()) == (number + 1, "owl", "owl", ("ä", 2))
        assert found == record
        assert_same(ragged, np.array([1, 2, 3], "i4"))
    ragged = iterator.take([0, 1])[1][3]
    ragged[0][:] = 0
    assert ragged[1].tolist() == [1, 2, 3]
    assert iterator.tags().tolist() == ["owl", "owl"]
    with pytest.raises(DatasetFileCorruptError, match=r"'text', 'record' in .* is a single value"):
        opened(build, sample=["text", "record"])


def test_lengths_that_differ_are_listed(opened):
    with pytest.raises(DatasetFileCorruptError, match="'t/a' has 2, 't/b' has 3, 'c' has 2"):
        opened(lambda file: file.update({"t/a": [1, 2], "t/b": [1, 2, 3], "c": [1, 2]}), sample="t", target="c")


def test_a_name_that_is_none_is_refused(opened):
    for wrong in ([], [3], {"a": None}):
        with pytest.raises(TypeError, match="a list of names"):
            opened(sample=wrong)


def test_text_in_records_and_in_ragged_rows_is_text(opened):
    def build(file):
        text = h5py.string_dtype()
        records = file.create_dataset("records", (2,), [("name", text), ("inner", [("two", text, (2,))]), ("n", "i4")])
        records[0] = np.array(("ä", (["b", "c"],), 1), dtype=records.dtype)
        file.create_dataset("rows", (2,), h5py.vlen_dtype(text))[0] = np.array(["x", "ü"], dtype=object)

    iterator = opened(build, sample="records", target="rows")
    (record, rows, _), (_, none, _) = iterator
    assert record["name"] == "ä"
    assert record["inner"]["two"].tolist() == ["b", "c"]
    assert rows.tolist() == ["x", "ü"]
    assert none.tolist() == []


def test_repeats_of_ragged_rows_are_the_callers_own(opened):
    def build(file):
        file.create_dataset("x", (2,), h5py.vlen_dtype("i4"))[0] = np.array([1, 2], "i4")

    one, other = opened(build).take([0, 0])[0]
    one[:] = 9
    assert other.tolist() == [1, 2]


def test_references_anywhere_in_a_type_are_refused(opened):
    for dtype in (
        [("r", h5py.ref_dtype)],
        [("r", [("s", h5py.regionref_dtype, (2,))])],
        h5py.vlen_dtype(h5py.ref_dtype),
    ):
        with pytest.raises(DatasetFileCorruptError, match="holds references"):
            opened(lambda file, dtype=dtype: file.create_dataset("x", (2,), dtype))


def test_a_shape_that_cannot_be_true_is_refused(opened):
    rows = ALWAYS_ALLOWED // 8
    assert len(opened(lambda file: file.create_dataset("x", (rows,), "f8"))) == rows
    for options in ({}, {"chunks": (1024,)}):
        with pytest.raises(DatasetFileCorruptError, match="damaged, or was never written"):
            opened(lambda file, options=options: file.create_dataset("x", (1 << 40,), "f8", **options))


def test_much_that_packs_well_is_read(opened):
    def build(file):
        file.create_dataset("x", data=np.ones((4096, 4096), "i4"), chunks=(1024, 4096), scaleoffset=0, shuffle=True)

    assert opened(build)[4000][0].sum() == 4096


def test_labels_alone_are_read_for_labels(request):
    store = CountingStore(request.node.nodeid)

    def build(file):
        file.create_dataset("images", data=np.ones((2000, 1000), "u1"), chunks=(100, 1000))
        for name in ("a", "b", "site"):
            file[f"labels/{name}"] = np.arange(2000)

    iterator = HDF5DatasetIterator(stored(store, build), sample="images", target=["labels/a", "labels/b"], tag="labels")
    store.requests.clear()
    assert iterator.targets()[7] == (7, 7)
    assert iterator.tags()[7] == {"site": 7}
    assert store.fetched < 2000 * 8 * 3 * 2


def test_one_of_two_readers_may_be_closed():
    """HDF5 keeps what text in records belongs to by file, and crashes when that is closed: h5py issue 2920."""
    code = textwrap.dedent("""
        import gc, io, tempfile, h5py
        from datastack_fs.connectors import FileStorageConnector
        from datastack_fs.formats.hdf5 import HDF5DatasetIterator
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            file.create_dataset("x", (1,), [("n", "i4"), ("s", h5py.string_dtype())])[0] = (0, "owl")
        with tempfile.TemporaryDirectory() as folder:
            store = FileStorageConnector(folder)
            store.set_resource("a.h5", stream.getvalue())
            first, second = (HDF5DatasetIterator(store.get_resource("a.h5")) for _ in range(2))
            first[0], second[0]
            del first
            gc.collect()
            for _ in range(5):
                assert second[0][0]["s"] == "owl"
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
