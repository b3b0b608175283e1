"""Iterators with a known fault each must fail the contract: it proves that its tests can fail."""

import threading
import time
from itertools import count

import numpy as np
import pytest

from datastack_fs.iterators import DatasetIteratorView
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.testing.iterators import DatasetIteratorTests, assert_same
from harness.leaves import OneByOneLeaf, RecordingLeaf

CONTRACT = DatasetIteratorTests()


class EndsByStopIteration(RecordingLeaf):
    def __getitem__(self, index):
        if isinstance(index, int) and index >= len(self):
            raise StopIteration
        return super().__getitem__(index)


class NoNegativeIndices(RecordingLeaf):
    def __getitem__(self, index):
        return super().__getitem__(index if isinstance(index, slice) else max(index, 0))


class SortsBatches(RecordingLeaf):
    def _samples(self, indices):
        return super()._samples(np.sort(indices))


class ForgetsRepeats(RecordingLeaf):
    def _samples(self, indices):
        return super()._samples(np.unique(indices))


class OtherTargets(RecordingLeaf):
    def _targets(self, indices):
        return super()._targets(indices)[::-1]


class SharesItsTargets(RecordingLeaf):
    def __init__(self, length):
        super().__init__(length)
        self.labels = np.arange(length) % 3

    def _targets(self, indices):
        return self.labels if len(indices) == len(self) else self.labels[indices]


class SharesItsArrays(OneByOneLeaf):
    def __init__(self, length):
        super().__init__(length)
        self.rows = [super(SharesItsArrays, self)._sample(index) for index in range(length)]

    def _sample(self, index):
        return self.rows[index]


class HoldsALock(RecordingLeaf):
    def __init__(self, length):
        super().__init__(length)
        self.lock = threading.Lock()


class OneCursorForAllThreads(RecordingLeaf):
    cursor = 0

    def _samples(self, indices):
        samples = []
        for index in indices.tolist():
            self.cursor = index
            time.sleep(0.0001)
            samples += super()._samples(np.array([self.cursor]))
        return samples


class LosesItsPlaceInAPickle(RecordingLeaf):
    def __setstate__(self, state):
        self.__dict__.update(state, _start=1)


class IteratesOnce(RecordingLeaf):
    spent = False

    def _chunks(self):
        if not self.spent:
            self.spent = True
            yield from super()._chunks()


class WritesOtherTypes(OneByOneLeaf):
    def _sample(self, index):
        label, image, tag = super()._sample(index)
        return label, image.astype(np.float64), tag


class AlwaysNew(RecordingLeaf):
    numbers = count()

    def shuffle(self, seed, epoch=0):
        return super().shuffle(next(self.numbers), epoch)


class LongerSlices(RecordingLeaf):
    def view(self, indices, tag=None):
        return DatasetIteratorView(self, np.append(np.asarray(indices), 0).astype(int), tag)


class SwapsBatchesAhead(RecordingLeaf):
    def batches(self, size, indices=None, **options):
        yield from sorted(super().batches(size, indices, **options), key=lambda columns: -int(columns[0][0]))


class LosesASampleOfABlock(RecordingLeaf):
    def _blocks(self):
        return Blocks.of_rows(len(self) - 1, 4)


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (SwapsBatchesAhead, CONTRACT.test_batches_ahead_equal_indexing),
        (LosesASampleOfABlock, CONTRACT.test_blocks_hold_every_sample_once),
        (EndsByStopIteration, CONTRACT.test_index_out_of_range_names_the_length),
        (NoNegativeIndices, CONTRACT.test_every_index_gives_its_sample),
        (SortsBatches, CONTRACT.test_batches_equal_indexing),
        (ForgetsRepeats, CONTRACT.test_batches_equal_indexing),
        (OtherTargets, CONTRACT.test_targets_are_those_of_the_samples),
        (OtherTargets, CONTRACT.test_targets_of_a_view),
        (SharesItsTargets, CONTRACT.test_targets_are_those_of_the_samples),
        (SharesItsArrays, CONTRACT.test_samples_belong_to_the_caller),
        (HoldsALock, CONTRACT.test_pickle),
        (LosesItsPlaceInAPickle, CONTRACT.test_pickle),
        (OneCursorForAllThreads, CONTRACT.test_threads),
        (IteratesOnce, CONTRACT.test_iteration_equals_indexing),
        (WritesOtherTypes, CONTRACT.test_every_index_gives_its_sample),
        (AlwaysNew, CONTRACT.test_shuffles),
        (LongerSlices, CONTRACT.test_slices_are_views),
    ],
)
def test_a_fault_fails_the_contract(kind, test):
    iterator = kind(10)
    base = OneByOneLeaf(10) if issubclass(kind, OneByOneLeaf) else RecordingLeaf(10)
    with pytest.raises((AssertionError, RuntimeError, StopIteration, TypeError)):
        test(iterator, base.expected())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_leaf_that_breaks_in_a_child_fails_the_contract(method):
    with pytest.raises((AssertionError, TypeError)):
        CONTRACT.test_child_processes(HoldsALock(10), RecordingLeaf(10).expected(), method)
    with pytest.raises(AssertionError):
        CONTRACT.test_child_processes(LosesItsPlaceInAPickle(10), RecordingLeaf(10).expected(), method)


class HangsAfterFork(RecordingLeaf):
    """What a lock held by another thread of the parent does; here it raises instead of hanging."""

    def __init__(self, length):
        super().__init__(length)
        self.thread = threading.get_native_id()

    def _samples(self, indices):
        assert self.thread == threading.get_native_id(), "made in another process"
        return super()._samples(indices)


def test_a_leaf_that_breaks_in_a_forked_child_fails_the_contract():
    with pytest.raises(AssertionError, match="made in another process"):
        CONTRACT.test_child_processes(HangsAfterFork(10), RecordingLeaf(10).expected(), "fork")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1, 2),
        ((1, 2), (1, 2, 3)),
        ((1, 2), [1, 2]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 2}),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, np.float32)),
        ([0.0, 0.0], np.zeros(2)),
        (np.zeros(2), 0.0),
        (np.array([1, "a"], object), np.array([1, "b"], object)),
        (float("nan"), 1.0),
        (None, 0),
    ],
)
def test_differences_are_seen(actual, expected):
    with pytest.raises(AssertionError):
        assert_same(actual, expected)
