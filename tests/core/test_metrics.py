"""What reading costs is counted: in the store, for each resource, for the leaves of an iterator, and for loggers."""

import io
import pickle

import numpy as np
import pytest

from datastack_fs import ResumableBatchSampler, ResumableLoader, SequenceDatasetIterator
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.metrics import Meter, Metrics
from harness.counting import CountingStore
from harness.stores import empty_store, unique

ROWS = np.arange(4000, dtype=np.uint32).reshape(1000, 4)


def stored(connector, name="a.npy", rows=ROWS):
    file = io.BytesIO()
    np.save(file, rows)
    connector.set_resource(name, file.getvalue())
    return NpyDatasetIterator(connector.get_resource(name))


def test_a_store_counts_what_it_is_asked_for():
    store = CountingStore(unique("metrics"))
    iterator = stored(store)
    before = store.metrics
    store.requests.clear()
    iterator.take([5, 6, 500, 900])
    found = store.metrics - before
    assert found.requests == sum(map(len, store.requests))
    assert found.fetched_bytes == store.fetched
    assert found.used_bytes == 4 * 16
    assert found.amplification == store.fetched / 64
    assert found.retries == 0


def test_an_iterator_counts_for_its_leaves_alone():
    store, other = MemoryStorageConnector(unique("metrics")), MemoryStorageConnector(unique("metrics"))
    one, two, elsewhere = stored(store), stored(store, "b.npy"), stored(other)
    before = one.metrics
    two.take([1])
    elsewhere.take([1])
    assert one.metrics == before
    stack = (one + two.shuffle(seed=1) + elsewhere + one[3:] + SequenceDatasetIterator(ROWS)).map(lambda row: row)
    assert stack.metrics == one.metrics + two.metrics + elsewhere.metrics
    assert SequenceDatasetIterator(ROWS).metrics == Metrics()
    assert pickle.loads(pickle.dumps(one[3:])).metrics.used_bytes == 0, "another connector, which has read nothing"


@pytest.mark.parametrize("kind", ["s3", "gcs", "gridfs"])
def test_every_way_to_read_counts(kind, request):
    store = empty_store(kind, request)
    infos = [store.set_resource(f"{number}.bin", bytes(300_000)) for number in range(6)]
    used = [store.metrics.used_bytes]

    def more():
        used.append(store.metrics.used_bytes)
        return used[-1] - used[-2]

    with store.get_resource("0.bin") as resource:
        assert len(resource.read()) == more() == 300_000
    assert len(store.read_resources(infos)) == 6
    assert more() == 6 * 300_000
    store.get_many_ranges([(info, [(0, 10), (200_000, 200_010)]) for info in infos])
    assert more() == 6 * 20
    assert store.metrics.fetched_bytes >= store.metrics.used_bytes
    assert store.metrics.requests > 0
    assert store.metrics.seconds > 0


def test_what_is_asked_for_again_counts_as_a_retry():
    store = CountingStore(unique("metrics"))
    info = store.set_resource("a", bytes(1000))
    read = store._read_ranges
    failing = iter([[ConnectionResetError("once")]])
    store._read_ranges = lambda info, ranges: next(failing, None) or read(info, ranges)
    assert store.get_ranges("a", [(0, 900)], info=info) == [bytes(900)]
    assert (store.metrics.requests, store.metrics.retries, store.metrics.fetched_bytes) == (2, 1, 900)


def test_counts_of_resources_are_bounded():
    meter = Meter()
    for number in range(5000):
        meter.note(str(number), requests=1)
    assert meter.total.requests == 5000
    assert meter.of("10").requests == 1
    assert meter.of("4999") == Metrics()


def test_a_logger_hears_of_each_so_many_batches():
    iterator = stored(CountingStore(unique("metrics")))
    told = []

    class Loader:
        batch_sampler = ResumableBatchSampler(iterator, 50, seed=1)

        def __iter__(self):
            return map(iterator.take, self.batch_sampler)

    for _ in ResumableLoader(Loader(), log=told.append, log_every=5):
        pass
    assert [(each["epoch"], each["step"]) for each in told] == [(0, 5), (0, 10), (0, 15), (0, 20)]
    assert [each["used_bytes"] for each in told[1:]] == [5 * 50 * 16] * 3
    assert all(each["waited_seconds"] >= 0 <= each["used_seconds"] for each in told)
