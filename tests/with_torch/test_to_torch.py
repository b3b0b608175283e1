"""Tensors of an iterator, in the order of training: what comes, and what is under way meanwhile."""

import doctest
import io
import os
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

import datastack_fs.bridges.torch_
from datastack_fs import (
    ColumnBatches,
    HTTPStorageConnector,
    PlannedBatches,
    ResumableBatchSampler,
    ResumableLoader,
    SequenceDatasetIterator,
    collate_columns,
    to_torch,
)
from datastack_fs.formats.npy import NpyDatasetIterator
from harness.proxy import FaultProxy, ranged_get

ROWS = np.arange(64 * 8192, dtype=np.float64).reshape(64, 8192)  # 64 KiB each
NUMBERS = SequenceDatasetIterator(np.arange(40).reshape(20, 2), range(20), tags=[f"n{n}" for n in range(20)])


@pytest.fixture
def proxy(web_server):
    stream = io.BytesIO()
    np.save(stream, ROWS)
    web_server["data/rows.npy"] = stream.getvalue()
    with FaultProxy.before(web_server.url) as proxy:
        yield proxy


@pytest.fixture
def rows(proxy):
    return NpyDatasetIterator(HTTPStorageConnector(f"{proxy.url}/data").get_resource("rows.npy"))


@pytest.mark.parametrize(("workers", "under_way"), [(0, 4), (2, 8)])
def test_the_next_batches_are_under_way_in_each_process(proxy, rows, workers, under_way):
    """No request is answered before so many batches, of one request each, have been asked for."""
    came, all_came, done = [], threading.Event(), threading.Event()

    def is_held_up(request):
        if ranged_get(request):
            came.append(request.range)
        if len(came) == under_way:
            all_came.set()
        return ranged_get(request) and not all_came.is_set()

    def release():
        all_came.wait()
        while not done.wait(0.02):
            proxy.release()

    releasing = threading.Thread(target=release)
    releasing.start()
    loader = to_torch(rows, 4, shuffle=False, workers=workers, max_bytes=4 << 20, start_method="fork")
    loader.set_epoch(3)
    proxy.arm("stall", times=None, when=is_held_up)
    found = [samples for samples, *_ in loader]
    done.set()
    all_came.set()
    releasing.join()
    assert torch.equal(torch.cat(found), torch.from_numpy(ROWS))
    assert len(came) == len(set(came)) == 16


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_right_wherever_a_pass_begins_or_ends(rows, workers):
    loader = to_torch(rows, 4, seed=3, workers=workers, max_bytes=4 << 20, start_method="fork")
    plan = loader.sampler.plan

    def passed(epoch, first, count):
        for step, (samples, _, tags) in zip(range(first, first + count), loader, strict=False):
            assert (loader.epoch, loader.step) == (epoch, step + 1)
            assert np.array_equal(samples.numpy(), ROWS[plan.batch(epoch, step)])
            assert tags == [None] * 4

    passed(0, 0, 5)
    state = loader.state_dict()
    loader.load_state_dict(state)
    passed(0, 5, 11)
    passed(1, 0, 3)
    loader.set_epoch(7)
    passed(7, 0, 3)
    loader.load_state_dict(state)
    passed(0, 5, 2)


def test_a_fork_reads_for_itself(rows):
    sampler = ResumableBatchSampler(rows, 4, seed=3)
    batches, drawn = PlannedBatches(sampler, max_bytes=4 << 20), list(sampler)
    first = batches[drawn[0]]
    child = os.fork()
    if not child:
        os._exit(not np.array_equal(batches[drawn[1]][0], ROWS[drawn[1]]))
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(first[0], ROWS[drawn[0]])
    assert np.array_equal(batches[drawn[1]][0], ROWS[drawn[1]])
    batches.close()


def test_after_a_batch_that_fails_the_others_come(rows):
    def checked(samples):
        if (samples == ROWS[20]).all(axis=1).any():
            raise RuntimeError("twenty")
        return samples

    sampler = ResumableBatchSampler(rows.map(checked, columns=True), 4, seed=3)
    batches, failed = PlannedBatches(sampler, max_bytes=4 << 20), 0
    for drawn in sampler:
        if 20 in drawn:
            failed += 1
            with pytest.raises(RuntimeError, match="twenty"):
                batches[drawn]
        else:
            assert np.array_equal(batches[drawn][0], ROWS[drawn])
    assert failed == 1


def test_batches_of_another_sampler_are_refused():
    batches = PlannedBatches(ResumableBatchSampler(NUMBERS, 4, seed=3))
    with pytest.raises(ValueError, match="another sampler"):
        batches[next(iter(ResumableBatchSampler(NUMBERS, 4, seed=4)))]
    with pytest.raises(TypeError, match="ColumnBatches"):
        batches[[1, 2, 3]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")
def test_a_batch_sampler_gives_columns(workers, pinned):
    sampler = ResumableBatchSampler(NUMBERS, 5, seed=7)
    options = {"collate_fn": collate_columns, "num_workers": workers, "pin_memory": pinned}
    expected = [list(batch) for batch in sampler]
    sampler.set_epoch(0)
    loaders = [
        DataLoader(ColumnBatches(NUMBERS), batch_sampler=BatchSampler(SequentialSampler(NUMBERS), 5, False), **options),
        ResumableLoader(DataLoader(PlannedBatches(sampler), batch_sampler=sampler, **options)),
    ]
    for loader, places in zip(loaders, (np.arange(20).reshape(4, 5).tolist(), expected), strict=True):
        batches = list(loader)
        assert [targets.tolist() for _, targets, _ in batches] == places
        assert [tags for _, _, tags in batches] == [[f"n{n}" for n in batch] for batch in places]
        assert all(torch.equal(samples[:, 0], 2 * targets) for samples, targets, _ in batches)


def test_columns_become_tensors():
    kept = np.arange(3.0)
    kept.flags.writeable = False
    found = collate_columns(
        ({"a": np.arange(3, dtype=">i4"), "b": (np.ones(3, bool), kept[::-1])}, np.array(["2026-01-01"], "M8[D]"))
    )
    assert found[0]["a"].tolist() == [0, 1, 2]
    assert found[0]["b"][0].dtype == torch.bool
    found[0]["b"][1][0] = 9.0
    assert (kept[2], found[1][0].year) == (2.0, 2026)


def test_the_examples_run():
    assert doctest.testmod(datastack_fs.bridges.torch_).failed == 0
