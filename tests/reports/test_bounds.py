"""How much a report reads: never all of a remote store unless asked, and not for longer than it may."""

import io

import h5py
import numpy as np
import pytest

from datastack_fs import open_dataset, report
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector, S3StorageConnector
from datastack_fs.errors import DatasetFileCorruptError, StorageUnavailableError
from datastack_fs.iterators import DatasetIterator, DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.report.looking import has_labels_apart, is_remote
from datastack_fs.iterators.report.speed import measure
from datastack_fs.iterators.tabular import TabularDatasetIterator
from harness.counting import CountingStore
from harness.leaves import OneByOneLeaf, RecordingLeaf
from harness.proxy import FaultProxy
from harness.stores import BUCKET, unique

IMAGES = 20_000


@pytest.fixture
def store(request):
    return CountingStore(request.node.nodeid)


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def images(store):
    """20,000 images of 1 KiB as an npy file, with labels in a file beside it."""
    store.set_resource("images.npy", saved(np.zeros((IMAGES, 32, 32), dtype=np.uint8)))
    store.set_resource("labels.npy", saved(np.arange(IMAGES) % 10))
    iterator = open_dataset("images.npy", storage=store, targets="labels.npy")
    store.requests.clear()
    return iterator


def test_of_a_remote_file_a_few_samples_are_read(store, images):
    found = report(images.shuffle(1).map(np.mean), seconds=30)
    assert found.is_remote
    assert found.targets.looked_at == IMAGES
    assert found.looked_at == 200
    assert [each.samples for each in found.speed] == [128, 128]
    assert [part.looked_at for part in (found.parts[0], found.parts[0].parts[0])] == [64, 64]
    # 584 samples. In a file as small as this, scattered ones are near one another: what lies between comes with them.
    assert 0 < store.fetched < 0.3 * IMAGES * 1024


def test_of_a_chunked_hdf5_file_too(store):
    file = io.BytesIO()
    with h5py.File(file, "w", libver=("v110", "v110")) as opened:
        opened.create_dataset("images", data=np.ones((IMAGES, 32, 32), dtype=np.uint8), chunks=(64, 32, 32))
        opened["labels"] = np.arange(IMAGES) % 3
    store.set_resource("images.h5", file.getvalue())
    iterator = open_dataset("images.h5", storage=store)
    found = report(iterator, seconds=0)
    assert (found.looked_at, found.targets.looked_at) == (200, IMAGES)
    assert store.fetched < 0.12 * IMAGES * 1024


def test_all_of_it_when_asked(store, images):
    found = report(images, seconds=0, full=True)
    assert (found.looked_at, found.targets.looked_at) == (IMAGES, IMAGES)
    assert store.fetched >= IMAGES * 1024


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_of_a_small_remote_file_never_all(store, length):
    row_bytes = 128 << 10
    store.set_resource("small.npy", saved(np.zeros((length, row_bytes), dtype=np.uint8)))
    iterator = open_dataset("small.npy", storage=store)
    store.requests.clear()
    found = report(iterator, seconds=30)
    assert found.looked_at == max(1, length // 4)
    assert store.fetched <= 3 * found.looked_at * row_bytes


def test_of_a_file_on_s3_a_twentieth_goes_over_the_wire(seaweed):
    """Counted at a proxy before the server: all that went to the client, headers and all."""
    content = saved(np.zeros((60_000, 32, 32), dtype=np.uint8))
    prefix = unique("report")
    S3StorageConnector(seaweed.make_bucket(BUCKET), prefix, **seaweed.options()).set_resource("images.npy", content)
    with FaultProxy.before(seaweed.endpoint_url) as proxy:
        connector = S3StorageConnector(BUCKET, prefix, **{**seaweed.options(), "endpoint_url": proxy.url})
        images = open_dataset("images.npy", storage=connector, targets=np.arange(60_000) % 10)
        found = report(images.shuffle(1), seconds=30)
        connector.close()
    assert (found.looked_at, found.targets.looked_at, found.problems) == (256, 60_000, ())
    assert 0 < proxy.bytes_down < len(content) / 20


class Table(TabularDatasetIterator):
    """Rows that hold their label."""

    def __init__(self, resource, length):
        super().__init__(["x", "label"], DatasetMeta("table", "table"), sample="x", target="label")
        self.read = 0
        self._length = length

    def __len__(self):
        return self._length

    def _read_columns(self, names, indices):
        self.read += len(indices)
        return {name: indices % 7 for name in names}  # noqa: C420 (each its own array)


class Columns(Table):
    """A table that keeps its columns apart."""

    labels_apart = True


def test_labels_that_need_samples_are_counted_of_those_that_were_looked_at(store):
    store.set_resource("table", b"x")
    for kind, counted in ((Table, 256), (Columns, 50_000)):
        table = kind(store.get_resource("table"), 50_000)
        found = report(table.shuffle(1), seconds=0)
        assert (found.targets.looked_at, found.targets.of) == (counted, 50_000)
    table = Table(store.get_resource("table"), 50_000)
    report(table, seconds=30)
    assert table.read < 2000
    assert report(table, seconds=0, full=True).targets.looked_at == 50_000


def test_which_labels_stand_apart():
    assert has_labels_apart(SequenceDatasetIterator([1]).shuffle(1).map(str))
    assert has_labels_apart(RecordingLeaf(3) + RecordingLeaf(2))
    assert not has_labels_apart(OneByOneLeaf(3).view([0]))
    assert not is_remote(RecordingLeaf(3))


def test_labels_of_local_data_are_read_with_samples_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("datastack_fs.iterators.report.making.MOST_LABELS_OF_SAMPLES", 50)
    assert report(OneByOneLeaf(50), samples=10, seconds=0).targets.looked_at == 50
    assert report(OneByOneLeaf(51), samples=10, seconds=0).targets.looked_at == 10


def test_of_very_many_labels_some_are_counted(monkeypatch):
    monkeypatch.setattr("datastack_fs.iterators.report.making.MOST_LABELS", 1000)
    leaf = RecordingLeaf(5000)
    found = report(leaf, samples=10, seconds=0)
    assert (found.targets.looked_at, found.targets.of) == (1000, 5000)
    assert sum(map(len, leaf.target_batches)) == 1000
    assert report(leaf, samples=10, seconds=0, full=True).targets.looked_at == 5000


def test_looking_ends_after_its_bytes(monkeypatch):
    monkeypatch.setattr("datastack_fs.iterators.report.reading.LOOKING_BYTES", 50_000)
    iterator = SequenceDatasetIterator(np.zeros((100, 1000)))
    found = report(iterator, seconds=0)
    assert found.looked_at < 25
    assert report(iterator, seconds=0, full=True).looked_at == 100


def test_looking_ends_after_its_time(monkeypatch):
    monkeypatch.setattr("datastack_fs.iterators.report.reading.LOOKING_SECONDS", 0)
    assert report(RecordingLeaf(100), seconds=0).looked_at == 1


def test_timing_ends_after_its_samples_or_its_seconds():
    leaf = RecordingLeaf(1000)
    in_order, at_random = measure(leaf, seconds=60, most=70)
    assert (in_order.order, at_random.order) == ("in order", "at random")
    assert (in_order.samples, at_random.samples) == (70, 70)
    assert in_order.samples_per_second == pytest.approx(70 / in_order.seconds)
    slow = measure(leaf, seconds=1e-9, sample_seconds=10)
    assert [(each.samples, each.batch_size) for each in slow] == [(1, 1), (1, 1)]
    again, _ = measure(RecordingLeaf(3), seconds=60)
    assert again.samples > 3
    assert again.seconds < 1


def test_timing_counts_decoded_bytes():
    in_order, _ = measure(SequenceDatasetIterator(np.zeros((50, 100), dtype=np.uint8)), seconds=60, most=50)
    assert in_order.bytes_per_second * in_order.seconds == pytest.approx(50 * 100 + 50 * 16)


def test_samples_of_different_kinds_are_timed():
    mixed = SequenceDatasetIterator([{"a": 1}, {"a": 2}]) + SequenceDatasetIterator(["b", "c"])
    assert all(each.samples for each in report(mixed, seconds=0.01).speed)


class Failing(DatasetIterator):
    """Some samples can't be read, and no labels."""

    def __init__(self, broken, error):
        super().__init__(DatasetMeta("failing", "failing"))
        self._broken = broken
        self._error = error
        self.tried = []

    def __len__(self):
        return 40

    def _sample(self, index):
        self.tried.append(index)
        if index in self._broken:
            raise self._error
        return index, 0, None


def test_unreadable_samples_are_named_and_the_others_looked_at():
    found = report(Failing({3, 17}, DatasetFileCorruptError("bad\nbyte 7")), seconds=0)
    assert found.looked_at == 38
    assert found.problems == (
        "sample 3: DatasetFileCorruptError: bad\\nbyte 7",
        "sample 17: DatasetFileCorruptError: bad\\nbyte 7",
        "targets: DatasetFileCorruptError: bad\\nbyte 7",
    )
    assert found.targets is None


def test_after_five_unreadable_samples_no_more_are_tried():
    found = report(Failing(set(range(40)), ValueError("bad")), seconds=1)
    assert found.looked_at == 0
    assert [problem.partition(":")[0] for problem in found.problems] == [
        *(f"sample {number}" for number in range(5)),
        "targets",
    ]


def test_a_store_that_is_gone_is_asked_once():
    leaf = Failing(set(range(40)), StorageUnavailableError("gone"))
    found = report(leaf, seconds=1)
    assert found.problems == ("samples: StorageUnavailableError: gone",)
    assert leaf.tried == [0]


def test_each_iterator_below_has_one_report():
    leaf, other = RecordingLeaf(30, name="leaf"), RecordingLeaf(5, name="other")
    found = report((leaf.shuffle(1) + leaf.map(str) + other).repeat(2), seconds=0.01)
    (combined,) = found.parts
    assert [part.kind for part in combined.parts] == [
        "ShuffledDatasetIterator",
        "MappedDatasetIterator",
        "RecordingLeaf",
    ]
    assert [[below.name for below in part.parts] for part in combined.parts] == [["leaf"], [], []]
    assert combined.parts[0].parts[0].looked_at == 30
    assert combined.speed == ()
    assert len(found.speed) == 2


def test_of_many_iterators_the_first_have_a_report():
    many = sum([RecordingLeaf(2, name=f"part-{number}") for number in range(99)], start=RecordingLeaf(1))
    found = report(many, seconds=0)
    assert (len(found.parts), found.parts_left_out) == (20, 80)
    assert found.tree[-1] == "└─ … 97 more"


def test_a_folder_of_this_machine_is_local(tmp_path):
    class Folder(RecordingLeaf):
        def __init__(self, connector, length):
            super().__init__(length)

    assert not is_remote(Folder(FileStorageConnector(tmp_path), 3))
    assert is_remote(Folder(MemoryStorageConnector("report-folder"), 3))
