"""The contract of iterators, on each element of a stack, on leaves of either kind, and on deep stacks."""

import numpy as np
import pytest

from datastack_fs.iterators import (
    CombinedDatasetIterator,
    DatasetIteratorView,
    DatasetMeta,
    InMemoryDatasetIterator,
    SequenceDatasetIterator,
    ShuffledDatasetIterator,
)
from datastack_fs.testing.iterators import DatasetIteratorTests
from harness.leaves import OneByOneLeaf, Pair, RecordingLeaf

META = DatasetMeta("birds/train.h5", "birds", tag="train", class_names=("owl", "wren", "kite"))
IMAGES = np.random.default_rng(0).integers(0, 255, (11, 4, 5), dtype=np.uint8)
CLASSES = np.arange(11) % 3


def images():
    return SequenceDatasetIterator(IMAGES, CLASSES, meta=META)


def expected_images():
    return [(image.copy(), label, "train") for image, label in zip(IMAGES, CLASSES, strict=True)]


class PairLeaf(RecordingLeaf):
    def _samples(self, indices):
        return [Pair(str(index), index, None) for index in indices.tolist()]

    def _targets(self, indices):
        return indices.copy()


def deep_stack():
    first = RecordingLeaf(7).view([6, 5, 4, 0, 0]).shuffle(seed=3)[1:]
    second = CombinedDatasetIterator([RecordingLeaf(0, 7), RecordingLeaf(5, 7)[::-2], RecordingLeaf(1, 20)])
    return ((first + second).in_memory(10_000) + second.view([-1, 0])).view(range(9, -1, -1), "few")[2:].view([0, 3, 1])


CASES = {
    "leaf of batches": lambda: (RecordingLeaf(9, 4), RecordingLeaf(9, 4).expected()),
    "leaf one by one": lambda: (OneByOneLeaf(6), OneByOneLeaf(6).expected()),
    "empty leaf": lambda: (OneByOneLeaf(0), []),
    "arrays": lambda: (images(), expected_images()),
    "lists": lambda: (
        SequenceDatasetIterator(["a", "b", "c"], ["x", None, 3], [1, (2,), "t"]),
        [("a", "x", 1), ("b", None, (2,)), ("c", 3, "t")],
    ),
    "ragged arrays": lambda: (
        SequenceDatasetIterator([np.zeros(n, np.int16) for n in range(4)], [np.arange(2), np.arange(3)] * 2),
        [(np.zeros(n, np.int16), np.arange(2 + n % 2), None) for n in range(4)],
    ),
    "arrays of labels": lambda: (
        SequenceDatasetIterator(range(4), np.eye(4)),
        [(n, np.eye(4)[n], None) for n in range(4)],
    ),
    "structured rows": lambda: (
        SequenceDatasetIterator(np.array([(1, 2.5), (3, np.nan)], dtype="i4,f8")[:1], [True]),
        [(np.array((1, 2.5), dtype="i4,f8")[()], True, None)],
    ),
    "dates and objects": lambda: (
        SequenceDatasetIterator(
            np.array(["2024-01-01", "NaT"], "M8[D]")[:1], np.array([[1, "a"]], object), meta=DatasetMeta("d", "d")
        ),
        [(np.datetime64("2024-01-01"), np.array([1, "a"], object), None)],
    ),
    "other positions": lambda: (
        SequenceDatasetIterator(["p", "q"], [0, 1], meta=META.replace(sample_pos=2, tag_pos=0)),
        [("train", 0, "p"), ("train", 1, "q")],
    ),
    "view": lambda: (
        DatasetIteratorView(images(), [3, -1, 3, 0], {"fold": 1}),
        [expected_images()[index] for index in (3, 10, 3, 0)],
    ),
    "empty view": lambda: (images().view([]), []),
    "view of a view of a view": lambda: (
        images()[::-1][2:9].view([1, 1, 0]),
        [expected_images()[i] for i in (7, 7, 8)],
    ),
    "combined": lambda: (
        CombinedDatasetIterator([images(), images()[4:6], images()[:0], images().view([2])]),
        [*expected_images(), *expected_images()[4:6], expected_images()[2]],
    ),
    "combined of different labels": lambda: (
        SequenceDatasetIterator([1, 2], [0, 1]) + SequenceDatasetIterator([3], ["x"]) + SequenceDatasetIterator([4]),
        [(1, 0, None), (2, 1, None), (3, "x", None), (4, None, None)],
    ),
    "combined of nothing": lambda: (CombinedDatasetIterator([images()[:0], RecordingLeaf(0)]), []),
    "shuffled": lambda: (
        ShuffledDatasetIterator(SequenceDatasetIterator(range(8)), seed=1, epoch=0),
        [(number, None, None) for number in (2, 4, 7, 5, 0, 6, 3, 1)],
    ),
    "shuffled view": lambda: (
        SequenceDatasetIterator(range(80))[8::-1][1:].shuffle(1),
        [(7 - number, None, None) for number in (2, 4, 7, 5, 0, 6, 3, 1)],
    ),
    "view of a shuffle": lambda: (
        SequenceDatasetIterator(range(8)).shuffle(1)[::3],
        [(number, None, None) for number in (2, 5, 3)],
    ),
    "in memory": lambda: (InMemoryDatasetIterator(images()), expected_images()),
    "in memory, one by one": lambda: (OneByOneLeaf(6).in_memory(), OneByOneLeaf(6).expected()),
    "in memory, named tuples": lambda: (PairLeaf(5).in_memory(), [Pair(str(n), n, None) for n in range(5)]),
    "in memory, records": lambda: (
        SequenceDatasetIterator(np.ones((9, 2), "i4,i4"), range(9)).in_memory(),
        [(np.ones(2, "i4,i4"), n, None) for n in range(9)],
    ),
    "in memory, nothing": lambda: (images()[:0].in_memory(), []),
    "in memory, ragged": lambda: (
        SequenceDatasetIterator([np.zeros(2)] * 9 + [np.ones(3)], range(10)).in_memory(),
        [*((np.zeros(2), n, None) for n in range(9)), (np.ones(3), 9, None)],
    ),
    "deep stack": lambda: (deep_stack(), deep_stack_by_lists()),
}


def deep_stack_by_lists():
    leaf = RecordingLeaf(7).expected()
    first = [leaf[index] for index in (6, 5, 4, 0, 0)]
    first = [first[index] for index, _, _ in SequenceDatasetIterator(range(5)).shuffle(3)][1:]
    second = [*RecordingLeaf(5, 7).expected()[::-2], *RecordingLeaf(1, 20).expected()]
    both = [*first, *second, second[-1], second[0]]
    few = [both[index] for index in range(9, -1, -1)][2:]
    return [few[index] for index in (0, 3, 1)]


class TestContract(DatasetIteratorTests):
    @pytest.fixture(params=CASES.values(), ids=CASES.keys())
    def case(self, request):
        return request.param()

    @pytest.fixture
    def iterator(self, case):
        return case[0]

    @pytest.fixture
    def expected(self, case):
        return case[1]
