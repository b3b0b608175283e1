"""A job of several ranks is told once that each of them reads everything, and only then."""

import gc
import warnings

import numpy as np
import pytest
from torch.utils.data import DataLoader, DistributedSampler

from datastack_fs import ColumnBatches, SequenceDatasetIterator, collate_columns, to_torch
from datastack_fs.iterators import unshared

NUMBERS = SequenceDatasetIterator(np.arange(40).reshape(20, 2), range(20), tags=[""] * 20)


@pytest.fixture(autouse=True)
def two_ranks(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(unshared, "_is_settled", False)
    monkeypatch.setattr(unshared, "_loops", 0)


def told(*loops):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for loop in loops:
            for _ in loop() if callable(loop) else loop:
                pass
    return [str(each.message) for each in caught if "ranks" in str(each.message)]


def columns(**options):
    return DataLoader(ColumnBatches(NUMBERS), 4, collate_fn=collate_columns, **options)


@pytest.mark.parametrize(
    "loop",
    [
        lambda: DataLoader(NUMBERS, 4, shuffle=True),
        columns,
        lambda: NUMBERS,
        lambda: NUMBERS[:15].shuffle(seed=1).batches(4),
    ],
)
def test_a_forgotten_share_is_told_once(loop):
    gc.collect()  # samplers of other tests
    (message,) = told(loop, loop, loop)
    assert "each of 2 ranks reads all" in message
    assert "ResumableBatchSampler" in message
    assert "DistributedSampler" in message


@pytest.mark.parametrize(
    "loop",
    [
        lambda: DataLoader(NUMBERS, 4, sampler=DistributedSampler(NUMBERS, 2, 1)),
        lambda: columns(sampler=DistributedSampler(NUMBERS, 2, 1)),
        lambda: to_torch(NUMBERS, 4, seed=1),
        lambda: DataLoader(NUMBERS[1::2], 4),
        lambda: NUMBERS[1::2].shuffle(seed=1).batches(4),
    ],
)
def test_shares_are_no_alarm(loop):
    assert told(loop, loop, loop) == []


def test_one_loop_may_be_for_statistics():
    assert told(NUMBERS, lambda: to_torch(NUMBERS, 4, seed=1)) == []


def test_a_forked_worker_tells():
    gc.collect()
    loader = columns(num_workers=2, multiprocessing_context="fork")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="each of 2 ranks")
        with pytest.raises(UserWarning, match="each of 2 ranks"):
            list(loader)
        list(columns(sampler=DistributedSampler(NUMBERS, 2, 1), num_workers=2, multiprocessing_context="fork"))


def test_a_spawned_worker_that_cannot_know_is_silent(capfd):
    list(columns(sampler=DistributedSampler(NUMBERS, 2, 1), num_workers=1, multiprocessing_context="spawn"))
    assert "ranks" not in capfd.readouterr().err
