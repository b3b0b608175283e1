"""Batches in order with the next ones under way: right bytes, bounded memory, errors in their place, nothing left."""

import io
import multiprocessing
import os
import signal
import threading

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.connectors import GridFSStorageConnector, S3StorageConnector
from datastack_fs.errors import ResourceChangedError, StorageUnavailableError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.iterators import SequenceDatasetIterator
from datastack_fs.iterators.kept_resources import BLOCK_BYTES
from harness.counting import CountingStore
from harness.proxy import FaultProxy, ranged_get
from harness.stores import BUCKET, filled_store, unique

ROWS = np.arange(4000, dtype=np.uint32).reshape(1000, 4)


def stored(connector, name, rows):
    file = io.BytesIO()
    np.save(file, rows)
    connector.set_resource(name, file.getvalue())
    return NpyDatasetIterator(connector.get_resource(name))


def samples_of(batches):
    return [columns[0].tolist() for columns in batches]


def ahead_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("datastack-ahead")]


@pytest.fixture
def store():
    return CountingStore(unique("ahead"))


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(), size=st.integers(9, 400), prefetch=st.integers(0, 6), max_bytes=st.sampled_from([0, 5000, 1 << 28])
)
def test_batches_are_what_take_gives(data, size, prefetch, max_bytes):
    store = CountingStore(unique("ahead"))
    joined = stored(store, "a.npy", ROWS) + SequenceDatasetIterator(ROWS) + stored(store, "b.npy", ROWS + 7)
    iterator = joined.shuffle(seed=data.draw(st.integers(0, 99))).map(lambda row: row + 1, columns=True)[100:]
    indices = data.draw(st.none() | st.lists(st.integers(-len(iterator), len(iterator) - 1), max_size=300))
    drop_last = data.draw(st.booleans())
    wanted = np.arange(len(iterator)) if indices is None else np.array(indices, dtype=np.int64)
    parts = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    parts = [part for part in parts if len(part) == size or not drop_last]
    found = list(iterator.batches(size, indices, prefetch=prefetch, max_bytes=max_bytes, drop_last=drop_last))
    assert samples_of(found) == samples_of(iterator.take(part) for part in parts)
    assert ahead_threads() == []


def test_the_next_batches_are_under_way_while_one_is_used(store):
    iterator = stored(store, "a.npy", ROWS)
    store.requests.clear()
    begun = threading.Semaphore(0)
    store._read_ranges = lambda info, ranges, read=store._read_ranges: (begun.release(), read(info, ranges))[1]
    batches = iterator.batches(10, range(0, 1000, 20), prefetch=3)
    next(batches)
    for _ in range(4):
        assert begun.acquire(timeout=10), "the first, and three more"
    batches.close()
    assert len(store.requests) <= 4
    assert ahead_threads() == []


def test_memory_bounds_what_is_under_way(store):
    iterator = stored(store, "a.npy", ROWS)
    store.requests.clear()
    batches = iterator.batches(10, range(0, 1000, 20), prefetch=50, max_bytes=600)  # a batch of ten rows: 160 bytes
    next(batches)
    batches.close()
    assert len(store.requests) <= 4


def test_an_epoch_of_a_file_that_fits_fetches_each_byte_once(store):
    rows = np.arange(3 * BLOCK_BYTES // 1024).astype(np.uint8).repeat(1024).reshape(-1, 1024)
    iterator = stored(store, "a.npy", rows).shuffle(seed=1)
    store.requests.clear()
    for samples, _, _ in iterator.batches(256):
        assert len(samples) == 256
    assert len(store.requests) <= 4
    assert store.fetched <= rows.nbytes + 1024


def test_a_few_batches_of_a_large_file_fetch_their_own_bytes(store):
    iterator = stored(store, "a.npy", np.zeros((1000, 100_000), dtype=np.uint8))
    store.requests.clear()
    assert len(list(iterator.batches(2, [0, 300, 600, 900]))) == 2
    assert store.fetched == 4 * 100_000


def test_an_error_comes_at_its_batch_and_ends_the_threads(store):
    iterator = stored(store, "a.npy", ROWS)

    def fragile(rows):
        if 55 * 4 in rows:
            raise ZeroDivisionError("row 55")
        return rows

    batches = iterator.map(fragile, columns=True).batches(10)
    assert sum(1 for _ in zip(range(5), batches, strict=False)) == 5
    with pytest.raises(ZeroDivisionError):
        next(batches)
    assert list(batches) == []
    assert ahead_threads() == []


def test_functions_of_the_caller_run_in_their_thread_and_in_order(store):
    seen = []
    mapped = stored(store, "a.npy", ROWS).map(
        lambda rows: (seen.append((threading.current_thread(), int(rows[0, 0]))), rows)[1], columns=True
    )
    list(mapped.batches(100, prefetch=4))
    assert seen == [(threading.main_thread(), start * 4) for start in range(0, 1000, 100)]


def test_what_makes_no_sense_is_refused(store):
    iterator = stored(store, "a.npy", ROWS)
    for wrong in ({"size": 0}, {"size": 1, "prefetch": -1}):
        with pytest.raises(ValueError, match="at least"):
            iterator.batches(**wrong)
    with pytest.raises(IndexError):
        iterator.batches(1, [1000])


def test_a_forked_child_is_told_to_begin_anew(store):
    iterator = stored(store, "a.npy", ROWS)
    batches = iterator.batches(10, prefetch=2)
    next(batches)
    reader, writer = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        try:
            next(batches)
        except RuntimeError as error:
            writer.send((str(error), samples_of(iterator.batches(500, prefetch=2))))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    message, samples = reader.recv()
    assert "Call batches() anew" in message
    assert samples == [ROWS[:500].tolist(), ROWS[500:].tolist()]
    assert samples_of(batches)[-1] == ROWS[-10:].tolist()


# Faults in the middle, at a real server.


@pytest.fixture
def s3(seaweed):
    folder, options = unique("ahead"), seaweed.options()
    seaweed.make_bucket(BUCKET)
    with (
        S3StorageConnector(BUCKET, folder, **options) as connector,
        FaultProxy.before(seaweed.endpoint_url) as proxy,
        S3StorageConnector(BUCKET, folder, deadline=3, **{**options, "endpoint_url": proxy.url}) as shaky,
    ):
        yield connector, shaky, proxy


def test_a_cut_connection_is_mended_within_the_batch(s3):
    connector, shaky, proxy = s3
    stored(connector, "a.npy", ROWS)
    iterator = NpyDatasetIterator(shaky.get_resource("a.npy")).shuffle(seed=1)
    proxy.arm("rst", at=50, times=3, when=ranged_get)
    indices = range(0, 1000, 7)
    assert samples_of(iterator.batches(20, indices)) == [
        iterator.take(indices[start : start + 20])[0].tolist() for start in range(0, len(indices), 20)
    ]
    assert proxy.fired["rst"] == 3


@pytest.mark.parametrize(("chunk", "most"), [(None, 1.25), (4, 1.1)], ids=["npy", "hdf5"])
def test_shuffled_batches_fetch_little_but_what_they_need(s3, chunk, most):
    """Counted on the wire; of HDF5 whole chunks, each once, though several batches want it."""
    connector, shaky, proxy = s3
    rows = np.random.default_rng(1).integers(0, 256, (800, 16 << 10), dtype=np.uint8)
    if chunk is None:
        stored(connector, "a.npy", rows)
        iterator = NpyDatasetIterator(shaky.get_resource("a.npy"))
    else:
        file = io.BytesIO()
        with h5py.File(file, "w") as written:
            written.create_dataset("rows", data=rows, chunks=(chunk, rows.shape[1]))
        connector.set_resource("a.h5", file.getvalue())
        iterator = HDF5DatasetIterator(shaky.get_resource("a.h5"), sample="rows")
    iterator.take([0])  # what opening reads is not counted
    indices = np.random.default_rng(2).permutation(len(rows))[:80]
    before = proxy.bytes_down
    found = [samples for samples, _, _ in iterator.batches(20, indices)]
    np.testing.assert_array_equal(np.concatenate(found), rows[indices])
    needed = len(np.unique(indices // (chunk or 1))) * (chunk or 1) * rows.shape[1]
    assert needed < rows.nbytes / 2
    assert proxy.bytes_down - before <= most * needed


def test_a_dead_server_ends_the_loop_within_the_deadline(s3):
    connector, shaky, proxy = s3
    stored(connector, "a.npy", ROWS)
    batches = NpyDatasetIterator(shaky.get_resource("a.npy")).batches(5, range(0, 1000, 50), prefetch=1, max_bytes=0)
    next(batches)
    proxy.refusing = True
    proxy.arm("drop", times=None)
    with pytest.raises(StorageUnavailableError):
        list(batches)
    assert ahead_threads() == []


def test_an_overwritten_resource_is_never_mixed(s3):
    connector, shaky, _ = s3
    stored(connector, "a.npy", ROWS)
    batches = NpyDatasetIterator(shaky.get_resource("a.npy")).batches(5, range(0, 1000, 50), prefetch=1, max_bytes=0)
    first = next(batches)[0]
    stored(connector, "a.npy", ROWS[::-1].copy())
    found = [first]
    with pytest.raises(ResourceChangedError):
        found += [columns[0] for columns in batches]
    assert np.concatenate(found).tolist() == ROWS[::50][: 5 * len(found)].tolist()


@pytest.mark.parametrize("kind", ["file", "gcs", "gridfs", "http"])
def test_an_overwritten_resource_is_never_mixed_on_any_store(kind, request):
    """Of a local file the open one is read on; other stores say that it has changed."""
    file = io.BytesIO()
    np.save(file, ROWS)
    store = filled_store(kind, {"a.npy": file.getvalue()}, request)
    batches = NpyDatasetIterator(store.get_resource("a.npy")).batches(5, range(0, 1000, 50), prefetch=1, max_bytes=0)
    found = [next(batches)[0]]
    other = io.BytesIO()
    np.save(other, ROWS[::-1])
    if kind == "http":
        request.getfixturevalue("web_server")["data/a.npy"] = other.getvalue()
    else:
        store.set_resource("a.npy", other.getvalue())
    try:
        found += [columns[0] for columns in batches]
    except ResourceChangedError:
        assert len(found) < 4
    assert np.concatenate(found).tolist() == ROWS[::50][: 5 * len(found)].tolist()
    assert (len(found) == 4) == (kind == "file")


def test_a_server_that_is_cut_off_by_gridfs_is_asked_again(mongod):
    with FaultProxy("127.0.0.1", mongod.port, mode="raw") as proxy:
        store = GridFSStorageConnector.from_url(f"mongodb://127.0.0.1:{proxy.port}/{BUCKET}", bucket=unique("ahead"))
        with store:
            iterator = stored(store, "a.npy", ROWS).shuffle(seed=1)
            expected = iterator.take(range(0, 1000, 7))[0].tolist()
            batches = iterator.batches(20, range(0, 1000, 7))
            first = next(batches)[0].tolist()
            proxy.disconnect()
            assert first + [row for columns in batches for row in columns[0].tolist()] == expected


def test_ctrl_c_does_not_wait_for_a_stalled_server(s3):
    connector, shaky, proxy = s3
    stored(connector, "a.npy", ROWS)
    batches = NpyDatasetIterator(shaky.get_resource("a.npy")).batches(5, range(0, 1000, 50), prefetch=1, max_bytes=0)
    next(batches)
    main = threading.main_thread().ident
    proxy.arm(
        "stall", times=None, when=lambda request: ranged_get(request) and not signal.pthread_kill(main, signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        list(batches)
    proxy.disarm()
    for thread in ahead_threads():
        thread.join(20)
    assert ahead_threads() == []
