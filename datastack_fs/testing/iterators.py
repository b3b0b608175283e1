"""The contract of iterators as a test class: what every dataset and every stack of them promises."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pytest

from datastack_fs.iterators import (
    CombinedDatasetIterator,
    DatasetIterator,
    DatasetIteratorView,
    DatasetMeta,
    IndexArray,
    ShuffledDatasetIterator,
)
from datastack_fs.iterators.labels import rows_of
from datastack_fs.testing.batches import BatchesAheadTests
from datastack_fs.testing.comparing import Samples, assert_all_same, assert_same, shuffled
from datastack_fs.testing.processes import in_child, read_in_every_way

__all__ = ["DatasetIteratorTests", "Samples", "assert_all_same", "assert_same", "shuffled"]

START_METHODS = multiprocessing.get_all_start_methods()


class DatasetIteratorTests(BatchesAheadTests):
    """Inherit it, give the iterator and the samples that it must hold, and every test here runs on it.

    Keep the dataset small (some ten samples): each is read many times, and sent to child processes. Samples are
    compared exactly, arrays by type, shape and every element.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> class TestLetters(DatasetIteratorTests):
        ...     @pytest.fixture
        ...     def iterator(self):
        ...         return SequenceDatasetIterator(["a", "b"], [0, 1])
        ...     @pytest.fixture
        ...     def expected(self):
        ...         return [("a", 0, None), ("b", 1, None)]
    """

    @pytest.fixture
    def iterator(self) -> DatasetIterator[Any]:
        """The iterator under test: to be overridden."""
        raise NotImplementedError("override the fixture 'iterator'")

    @pytest.fixture
    def expected(self) -> Samples:
        """The samples that it must hold: to be overridden."""
        raise NotImplementedError("override the fixture 'expected'")

    # One index

    def test_length(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """It knows how many samples there are."""
        assert len(iterator) == len(expected)
        assert bool(iterator) == bool(expected)

    def test_every_index_gives_its_sample(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """From the front and from the end, in any order, again and again."""
        for index in shuffled(range(-len(expected), len(expected))) * 2:
            assert_same(iterator[index], expected[index], f"sample {index}")

    def test_anything_with_index_is_an_index(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Integers of numpy, zero-dimensional arrays, and objects that know ``__index__``."""
        kinds: list[Any] = [np.int64, np.int8, np.uint16, np.array, _Indexing]
        for index, kind in product(range(min(len(expected), 100)), kinds):
            assert_same(iterator[kind(index)], expected[index], f"sample {kind(index)!r}")

    def test_anything_else_is_a_type_error(self, iterator: DatasetIterator[Any]) -> None:
        """A bool, too: it is a mask or a mistake."""
        others: list[Any] = [True, np.True_, 0.0, np.float64(0), "0", None, (0,), [0]]
        for given in others:
            with pytest.raises(TypeError):
                pytest.fail(f"iterator[{given!r}] gave {iterator[given]!r:.100}")

    def test_index_out_of_range_names_the_length(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """At both ends, and far beyond: an IndexError, never StopIteration, which would end a caller's loop."""
        length = len(expected)
        for index in (length, length + 1, -length - 1, 2**31, 2**63, 2**70, -(2**63), -(2**70), np.int64(length)):
            with pytest.raises(IndexError, match=rf"\b{length} samples"):
                iterator[index]
            for batch in ([index], [*range(length), index]):
                with pytest.raises(IndexError, match=rf"\b{length} samples"):
                    iterator.__getitems__(batch)
                with pytest.raises(IndexError, match=rf"\b{length} samples"):
                    iterator.view(batch)

    # All of them, and batches

    def test_iteration_equals_indexing(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Each time anew, also when two loops run at once or one is left early."""
        assert_all_same(list(iterator), expected)
        for first, second in zip(iterator, iterator, strict=True):
            assert_same(first, second)
        next(iter(iterator), None)
        assert_all_same(list(iterator), expected)

    def test_iteration_ends_for_good(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """StopIteration comes once all samples were given, and again when asked again."""
        running = iter(iterator)
        assert iter(running) is running
        for _ in expected:
            next(running)
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(running)

    def test_batches_equal_indexing(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Shuffled, with repeats, negative, as a list, a range or an array, and empty."""
        length = len(expected)
        batches = [[], list(range(length)), shuffled(range(length)), shuffled(range(-length, length)) * 2]
        batches += [[0] * 5, [-1, 0, -1], [length // 2]] if length else []
        for batch in batches:
            wanted = [expected[index] for index in batch]
            assert_all_same(iterator.__getitems__(batch), wanted)
            assert_all_same(iterator.__getitems__(tuple(batch)), wanted)
            assert_all_same(iterator.__getitems__(np.array(batch, dtype=np.int32)), wanted)
        assert_all_same(iterator.__getitems__(range(length)[::-1]), expected[::-1])

    def test_columns_equal_samples(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """``take`` gives the same values, column by column, in arrays that are the caller's own."""
        length = len(expected)
        nothing = iterator.take([])
        assert len(nothing) >= 3
        if length and iterator._is_columnar():
            for none, one in zip(nothing, iterator.take([0]), strict=True):
                if isinstance(one, np.ndarray):
                    assert (none.dtype, none.shape) == (one.dtype, (0, *one.shape[1:]))
        batches = [list(range(length)), shuffled(range(length)), shuffled(range(-length, length)) * 2] if length else []
        for batch in batches:
            for _ in range(2):
                columns = iterator.take(batch)
                rows = list(zip(*map(rows_of, columns), strict=True))
                assert_all_same(rows, [tuple(expected[index]) for index in batch])
                for column in columns:
                    if isinstance(column, np.ndarray) and column.flags.writeable:
                        column[...] = column[::-1].copy()
        assert_all_same(list(iterator), expected)

    def test_batches_of_anything_else_are_a_type_error(self, iterator: DatasetIterator[Any]) -> None:
        """What is no row of integers is refused before anything is read."""
        others: list[Any] = [[True, False], [0.0], [[0]], ["0"], [None], 0, {0}]
        for batch in others:
            with pytest.raises(TypeError):
                pytest.fail(f"a batch of {batch!r} gave {iterator.__getitems__(batch)!r:.100}")

    def test_samples_belong_to_the_caller(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Who changes a sample in place (where that can be done) changes nothing that is read later."""
        for index in range(len(expected)):
            for sample in (iterator[index], *iterator.__getitems__([index, index])):
                for value in sample:
                    if isinstance(value, np.ndarray) and value.flags.writeable and not value.dtype.hasobject:
                        nothing = np.zeros_like(value)
                        value[...] = np.ones_like(value) if np.array_equal(value, nothing) else nothing
            assert_same(iterator[index], expected[index], f"sample {index}, changed by a caller before")

    # Targets and meta

    def test_targets_are_those_of_the_samples(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """All labels as one array, which is the caller's own."""
        wanted = [sample[iterator.meta.target_pos] for sample in expected]
        targets = iterator.targets()
        assert isinstance(targets, np.ndarray)
        assert len(targets) == len(wanted)
        assert_all_same(targets, wanted)
        if targets.flags.writeable and len(targets):
            targets[...] = targets[::-1].copy()
            assert_all_same(iterator.targets(), wanted)

    def test_targets_of_a_view(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Labels follow their samples."""
        chosen = shuffled(range(len(expected))) * 2
        wanted = [expected[index][iterator.meta.target_pos] for index in chosen]
        assert_all_same(iterator.view(chosen).targets(), wanted)

    def test_meta_describes_the_samples(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Its positions lie within each sample, and numbers of classes within the names."""
        meta = iterator.meta
        assert isinstance(meta, DatasetMeta)
        for sample in expected:
            assert len(sample) > max(meta.positions)
            target = sample[meta.target_pos]
            if meta.class_names is not None and isinstance(target, (int, np.integer)):
                assert 0 <= target < len(meta.class_names)

    def test_underlying_iterators(self, iterator: DatasetIterator[Any]) -> None:
        """A tuple of iterators."""
        assert isinstance(iterator.underlying_iterators, tuple)
        assert all(isinstance(part, DatasetIterator) for part in iterator.underlying_iterators)

    def test_repr_says_what_it_is(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Class, name and length in the first line, which is the only one of a leaf; what it stands on below."""
        text = repr(iterator)
        first, *below = text.splitlines()
        assert type(iterator).__name__ in first
        assert iterator.meta.name[:40] in first
        assert f"{len(expected):,}" in first
        assert bool(below) == bool(iterator.underlying_iterators)
        assert all(line.isprintable() for line in text.splitlines())
        assert iterator.tree().startswith(type(iterator).__name__)

    # Stacks on it

    def test_slices_are_views(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Any slice that a list takes."""
        length = len(expected)
        ends = [None, 0, 1, length // 2, length, length + 5, -1, -length, -length - 5]
        for start, stop, step in product(ends, ends, (None, 2, -1, -3)):
            view = iterator[start:stop:step]
            assert isinstance(view, DatasetIteratorView)
            assert len(view) == len(expected[start:stop:step]), (start, stop, step)
        assert_all_same(list(iterator[length // 3 :]), expected[length // 3 :])
        assert_all_same(list(iterator[::-2]), expected[::-2])

    def test_views(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """By indices and by mask, and a view of a view."""
        length = len(expected)
        chosen = shuffled(range(-length, length))
        wanted = [expected[index] for index in chosen]
        view = iterator.view(chosen)
        assert_all_same(list(view), wanted)
        assert_all_same(list(view.view(range(len(wanted))[::-1])), wanted[::-1])
        mask = np.arange(length) % 3 == 1
        assert_all_same(list(iterator.view(mask)), expected[1::3])
        with pytest.raises(ValueError, match="mask"):
            iterator.view(np.ones(length + 1, dtype=bool))

    def test_shuffles(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Every sample once, the same order each time, another one in another epoch."""
        length = len(expected)
        order = ShuffledDatasetIterator(_Counting(length), seed=7).__getitems__(range(length))
        wanted = [expected[index] for index, _, _ in order]
        assert sorted(index for index, _, _ in order) == list(range(length))
        assert_all_same(list(iterator.shuffle(7)), wanted)
        assert_all_same(iterator.shuffle(7, epoch=3).at_epoch(0).__getitems__(range(length)), wanted)

    def test_joined(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """With itself, and with a view of itself."""
        joined = iterator + iterator[::-1] + iterator
        wanted = [*expected, *expected[::-1], *expected]
        assert isinstance(joined, CombinedDatasetIterator)
        assert_all_same(list(joined), wanted)
        chosen = shuffled(range(len(wanted)))
        assert_all_same(joined.__getitems__(chosen), [wanted[index] for index in chosen])

    def test_in_memory(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """The same samples, read once."""
        kept = iterator.in_memory()
        assert kept.meta == iterator.meta
        assert_all_same(list(kept), expected)
        assert_all_same([kept[index] for index in range(len(expected))], expected)

    # Elsewhere

    def test_pickle(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Fresh, after reading, and once more."""
        fresh = pickle.dumps(iterator)
        list(iterator)
        for pickled in (fresh, pickle.dumps(iterator), pickle.dumps(pickle.loads(fresh))):
            copy = pickle.loads(pickled)
            assert type(copy) is type(iterator)
            assert copy.meta == iterator.meta
            assert_all_same(list(copy), expected)

    @pytest.mark.parametrize("method", START_METHODS)
    def test_child_processes(self, iterator: DatasetIterator[Any], expected: Samples, method: str) -> None:
        """A child (two after each other, where that is cheap) gets what the parent gets, before and after."""
        chosen = shuffled(range(len(expected)))
        wanted = [expected[index] for index in chosen]
        assert_all_same(iterator.__getitems__(chosen), wanted)
        for _ in range(1 if method == "spawn" else 2):
            batch, singly, targets = in_child(method, read_in_every_way, iterator, chosen)
            assert_all_same(batch, wanted)
            assert_all_same(singly, wanted)
            assert_all_same(targets, [sample[iterator.meta.target_pos] for sample in expected])
        assert_all_same(iterator.__getitems__(chosen), wanted)

    def test_threads(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Eight at once, each in its own order, in batches and one by one."""
        barrier = threading.Barrier(8)

        def read(seed: int) -> None:
            chosen = shuffled(range(len(expected)), seed)
            barrier.wait(30)
            for _ in range(3):
                batch, singly, _ = read_in_every_way(iterator, chosen)
                assert_all_same(batch, [expected[index] for index in chosen])
                assert_all_same(singly, [expected[index] for index in chosen])

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(read, seed) for seed in range(8)]:
                done.result(120)


class _Indexing:
    """An integer of somebody else's making."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __index__(self) -> int:
        return self._index


class _Counting(DatasetIterator[tuple[int, None, None]]):
    """Samples that are their own indices: they show an order."""

    def __init__(self, length: int) -> None:
        super().__init__(DatasetMeta("counting", "counting"))
        self._length = length

    def __len__(self) -> int:
        return self._length

    def _samples(self, indices: IndexArray) -> list[tuple[int, None, None]]:
        return [(index, None, None) for index in indices.tolist()]
