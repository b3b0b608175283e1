"""A batch reaches each leaf as one batch, and labels never cost samples."""

import random
import tracemalloc

import numpy as np
import pytest

from datastack_fs.iterators import CombinedDatasetIterator, DatasetIterator, DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.columnar import rows_of
from datastack_fs.testing.iterators import assert_all_same
from harness.leaves import RecordingLeaf


def three_views_over_ten():
    leaves = [RecordingLeaf(100, start=100 * number) for number in range(10)]
    whole = CombinedDatasetIterator(leaves)
    first = whole.view(random.Random(1).sample(range(1000), 900))
    stack = first.shuffle(seed=5)[::-1].view(np.arange(900) % 2 == 0)
    return leaves, stack


def test_a_batch_reaches_each_leaf_as_one_call():
    leaves, stack = three_views_over_ten()
    chosen = random.Random(2).choices(range(len(stack)), k=256)
    numbers = [sample[0] for sample in stack.__getitems__(chosen)]
    for leaf in leaves:
        (batch,) = leaf.sample_batches
        assert [100 * leaves.index(leaf) + index for index in batch] == [
            number for number in numbers if number // 100 == leaves.index(leaf)
        ]


def test_leaves_outside_the_batch_are_left_alone():
    leaves, _ = three_views_over_ten()
    CombinedDatasetIterator(leaves).__getitems__([950, 10, 951])
    assert [leaf.sample_batches for leaf in leaves] == [[[10]], *[[]] * 8, [[50, 51]]]


def test_an_empty_batch_reads_nothing():
    leaves, stack = three_views_over_ten()
    assert stack.__getitems__([]) == []
    assert stack[5:5].__getitems__([]) == list(stack[5:5]) == []
    assert not any(leaf.sample_batches for leaf in leaves)


def test_targets_read_no_sample_through_a_whole_stack():
    leaves, stack = three_views_over_ten()
    targets = stack.targets()
    assert not any(leaf.sample_batches for leaf in leaves)
    assert all(len(leaf.target_batches) == 1 for leaf in leaves)
    assert targets.dtype == np.int64
    assert targets.tolist() == [target for _, target, _ in stack]


def test_slices_shuffles_and_sums_read_nothing():
    leaves, stack = three_views_over_ten()
    assert len((stack[10:] + stack).shuffle(1).at_epoch(2).view([3])) == 1
    assert repr(stack)
    assert not any(leaf.sample_batches or leaf.target_batches for leaf in leaves)


def test_iteration_reads_in_growing_batches_of_bounded_size():
    leaf = RecordingLeaf(3000)
    assert list(leaf[::-1]) == leaf.expected()[::-1]
    assert [len(batch) for batch in leaf.sample_batches] == [1, 4, 16, 64, 256, 1024, 1024, 611]


def test_the_first_sample_of_a_loop_reads_one_sample():
    leaf = RecordingLeaf(3000)
    next(iter(leaf.shuffle(1)))
    assert [len(batch) for batch in leaf.sample_batches] == [1]


class LargeSamples(DatasetIterator):
    """Samples of 4 MiB each."""

    def __init__(self):
        super().__init__(DatasetMeta("large", "large"))
        self.largest_batch = 0

    def __len__(self):
        return 40

    def _samples(self, indices):
        self.largest_batch = max(self.largest_batch, len(indices))
        return [(np.full(1 << 22, index, dtype=np.uint8), 0, None) for index in indices]


def test_iteration_of_large_samples_stays_within_its_memory():
    leaf = LargeSamples()
    tracemalloc.start()
    try:
        assert [int(image[-1]) for image, _, _ in leaf] == list(range(40))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2 <= leaf.largest_batch <= 4
    assert peak < 6 * (1 << 22)  # one list of four, and the sample that the loop holds


@pytest.mark.parametrize("depth", [1, 6])
def test_indices_are_arrays_however_deep_the_stack(depth):
    length = 1_000_000
    leaf = RecordingLeaf(length)
    tracemalloc.start()
    try:
        stack = leaf.shuffle(seed=1)
        for _ in range(depth):
            stack = stack.view(range(length - 1, -1, -1))[:]
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stack.underlying_iterators == (leaf,)
    assert kept < 1.2 * 4 * length  # a list of ints would be 36 bytes each
    assert peak < 10 * 4 * length


def test_iterating_a_long_stack_makes_no_second_index():
    numbers = SequenceDatasetIterator(range(1_000_000)).shuffle(seed=1)
    running = iter(numbers)
    tracemalloc.start()
    try:
        next(running)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def columns_of(values, tags="raw"):
    return SequenceDatasetIterator(values, np.arange(len(values)), tags)


@pytest.mark.parametrize(
    "parts",
    [
        [np.arange(5), np.arange(5, 9), np.arange(9, 12)],
        [np.arange(5), np.arange(5.0, 9.5)],
        [np.arange(5), np.arange(5), np.array(["a", "b"], dtype=object), np.arange(3)],
        [np.zeros((3, 2)), np.ones((2, 2)), np.zeros((2, 3))],
        [[{"x": 1, "y": "a"}] * 3, [{"y": "b", "x": 2}] * 2, [{"x": 2.5, "y": "c"}]],
        [[(1, np.zeros(2))] * 3, [(2, np.ones(2))] * 2],
        [np.ones(2, "i4,f8"), np.zeros(2, "i4,f8")],
    ],
    ids=str,
)
@pytest.mark.parametrize("ordered", [True, False])
def test_columns_of_parts_are_those_of_their_samples(parts, ordered):
    joined = CombinedDatasetIterator(map(columns_of, parts))
    chosen = [index for index in range(len(joined)) for _ in range(2)]
    if not ordered:
        random.Random(3).shuffle(chosen)
    rows = list(zip(*map(rows_of, joined.take(chosen)), strict=True))
    assert_all_same(rows, joined.__getitems__(chosen))


def test_parts_with_nothing_in_common_have_no_columns():
    joined = columns_of([{"x": 1}]) + columns_of([{"y": 1}])
    with pytest.raises(ValueError, match="no common columns"):
        joined.take([0, 1])
    assert joined.take([1])[0]["y"].tolist() == [1]
