"""What an epoch is said to cost is what it costs."""

import io

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.formats import hdf5_decoded
from datastack_fs.formats.epoch_cost import epoch_cost
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.iterators import SequenceDatasetIterator
from datastack_fs.metered import MeteredStore
from harness.stores import unique


def stored(kind):
    file, connector = io.BytesIO(), MemoryStorageConnector(unique("cost"))
    noise = np.random.default_rng(1).integers(0, 200, (12_000, 1024), dtype=np.uint8)
    if kind == "npy":
        np.save(file, noise)
    else:
        with h5py.File(file, "w") as written:
            packing = {"compression": "gzip", "compression_opts": 1} if kind == "gzip" else {}
            written.create_dataset("images", data=noise, chunks=(16, 1024), **packing)
    connector.set_resource("a", file.getvalue())
    store = MeteredStore(connector)
    opened = {"npy": NpyDatasetIterator}.get(kind, HDF5DatasetIterator)
    iterator = opened(store.get_resource("a"))
    iterator.byte_ranges([0])
    return store, iterator


@pytest.mark.parametrize("kind", ["npy", "gzip", "raw"])
@pytest.mark.parametrize("max_bytes", [8 << 20, 64 << 20])
@pytest.mark.parametrize("window", [None, 64])
def test_an_epoch_costs_what_was_said(kind, max_bytes, window, monkeypatch):
    monkeypatch.setattr(hdf5_decoded, "_RECENT_BYTES", 0)  # what a small file gains besides
    store, iterator = stored(kind)
    order = iterator.shuffle(seed=1) if window is None else iterator.shuffle_blocks(seed=1, window=window)
    told = epoch_cost(order, 200, store, max_bytes)
    store.requests = store.fetched_bytes = 0
    batches = sum(1 for _ in order.batches(200, max_bytes=max_bytes))
    assert told.batches == batches == 60
    assert told.is_kept == (max_bytes > 8 << 20)
    assert told.requests == pytest.approx(store.requests, rel=0.1)
    assert told.fetched_bytes == pytest.approx(store.fetched_bytes, rel=0.1)
    assert told.used_bytes >= 12_000 * 100


def test_what_fetches_nothing_has_no_cost():
    iterator = SequenceDatasetIterator(range(100))
    assert epoch_cost(iterator, 10, MemoryStorageConnector(unique("cost"))) is None
