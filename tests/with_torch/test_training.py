"""Training with torch: any start method, any number of workers and ranks, and the very next batch after a kill."""

import io
import json
import multiprocessing

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from datastack_fs import PlannedBatches, ResumableBatchSampler, ResumableLoader
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.npy import NpyDatasetIterator
from harness.ports import free_ports
from harness.training import loader_of, train_as_rank

ROWS = np.arange(200 * 4, dtype=np.float64).reshape(200, 4) / 800
METHODS = [None, "fork", "spawn", "forkserver"]


def stored(store, kind):
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, ROWS)
    else:
        with h5py.File(file, "w") as written:
            written.create_dataset("samples", data=ROWS, chunks=(16, 4), compression="gzip")
    store.set_resource(f"rows.{kind}", file.getvalue())
    resource = store.get_resource(f"rows.{kind}")
    return NpyDatasetIterator(resource) if kind == "npy" else HDF5DatasetIterator(resource)


def rows_of(batches):
    return [samples.tolist() for samples, *_ in batches]


@pytest.fixture
def iterator(store):
    return stored(store, "h5")


@pytest.mark.parametrize("method", METHODS)
def test_a_job_goes_on_with_other_workers(iterator, method):
    unbroken = loader_of(iterator, 16)
    expected = [rows_of(unbroken), rows_of(unbroken)]
    loader, seen = loader_of(iterator, 16, method=method), []
    for samples, *_ in loader:
        seen.append(samples.tolist())
        if loader.step == 5:
            break
    assert seen == expected[0][:5]
    state = json.loads(json.dumps(loader.state_dict()))
    for other in ("fork", None):
        again = loader_of(iterator, 16, state=state, method=other)
        assert [rows_of(again), rows_of(again)] == [expected[0][5:], expected[1]]


def test_a_state_of_one_store_goes_on_in_another(store, tmp_path):
    from datastack_fs import FileStorageConnector

    here, there = stored(FileStorageConnector(tmp_path), "npy"), stored(store, "npy")
    first = loader_of(here, 16)
    passing = iter(first)
    seen = [next(passing)[0].tolist() for _ in range(3)]
    again = loader_of(there, 16, state=first.state_dict())
    assert [*seen, *rows_of(again)] == rows_of(loader_of(here, 16))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_collated_as_well(iterator, workers):
    """The plain form: a batch sampler, samples as tuples, the default collate."""
    sampler = ResumableBatchSampler(iterator, 16, seed=7)
    loader = ResumableLoader(
        DataLoader(
            iterator,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=lambda samples: np.stack([s for s, *_ in samples]),
        )
    )
    assert [batch.tolist() for batch in loader] == rows_of(loader_of(iterator, 16))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_data_loader_keeps_the_place(iterator, workers):
    def made():
        sampler = ResumableBatchSampler(iterator, 16, seed=7)
        return StatefulDataLoader(PlannedBatches(sampler), batch_size=None, sampler=sampler, num_workers=workers)

    unbroken = made()
    expected = [rows_of(unbroken), rows_of(unbroken)]
    loader = made()
    passing = iter(loader)
    seen = [next(passing)[0].tolist() for _ in range(5)]
    again = made()
    again.load_state_dict(loader.state_dict())
    assert [[*seen, *rows_of(again)], rows_of(again)] == expected


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_train_as_one_process_would(tmp_path, world_size):
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    run_ranks(1, path, 12, None)
    run_ranks(world_size, path, 5, None)
    shares = [np.load(f"{path}.{world_size}.{rank}.npz")["seen"] for rank in range(world_size)]
    whole = np.load(f"{path}.1.0.npz")
    assert np.array_equal(np.concatenate(shares, axis=1), whole["seen"][:5])
    state = (tmp_path / f"rows.npy.{world_size}.json").read_text()
    run_ranks(1, path, 7, state)
    assert np.array_equal(np.load(f"{path}.1.0.npz")["seen"], whole["seen"][5:])


def test_ranks_learn_the_same(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    for world_size in (1, 2):
        run_ranks(world_size, path, 12, None)
    weights = [np.load(f"{path}.{name}.npz")["weight"] for name in ("1.0", "2.0", "2.1")]
    assert np.allclose(weights[0], weights[1], atol=1e-12)
    assert np.array_equal(weights[1], weights[2])
    assert np.all(weights[0] > 0)


def run_ranks(world_size, path, steps, state):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "datastack_fs.formats.npy"])
    (port,) = free_ports(1)
    ranks = [
        context.Process(target=train_as_rank, args=(rank, world_size, port, str(path), steps, state))
        for rank in range(world_size)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0] * world_size
