"""The part of the iterators' contract that speaks of batches with the next ones under way, and of what they fetch."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np

from datastack_fs.iterators import DatasetIterator
from datastack_fs.iterators.labels import rows_of
from datastack_fs.testing.comparing import Samples, assert_all_same, shuffled


class BatchesAheadTests:
    """``DatasetIteratorTests`` has these tests from here."""

    def test_batches_ahead_equal_indexing(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """Any indices, sizes and bounds: the same rows, in order, and no thread is left."""
        length = len(expected)
        indices = shuffled(range(-length, length))
        for size, prefetch, max_bytes in ((1, 0, 1 << 28), (3, 1, 0), (4, 4, 1 << 28)):
            found = list(iterator.batches(size, indices, prefetch=prefetch, max_bytes=max_bytes))
            rows = [list(zip(*map(rows_of, columns), strict=True)) for columns in found]
            assert [len(batch) for batch in rows] == [len(indices[at : at + size]) for at in range(0, 2 * length, size)]
            assert_all_same([row for batch in rows for row in batch], [tuple(expected[index]) for index in indices])
        full = list(iterator.batches(3, drop_last=True))
        assert len(full) == length // 3
        running = iterator.batches(1, prefetch=2)
        next(running, None)
        running.close()  # type: ignore[attr-defined]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("datastack-ahead")]

    def test_byte_ranges_are_those_of_a_resource(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """None, or ranges within their resources, in order and apart; a pickle tells the same."""
        assert iterator.byte_ranges([]) == []
        for batch in (list(range(len(expected))), shuffled(range(len(expected)))[:2]):
            found = iterator.byte_ranges(batch)
            again = pickle.loads(pickle.dumps(iterator)).byte_ranges(batch)
            assert (found is None) == (again is None)
            for request in found or ():
                edges = [edge for start_and_stop in request.ranges for edge in start_and_stop]
                assert edges == sorted(edges)
                assert not edges or 0 <= edges[0] < edges[-1] <= request.info.size

    def test_blocks_hold_every_sample_once(self, iterator: DatasetIterator[Any], expected: Samples) -> None:
        """And a shuffle by blocks gives them all, in an order of its own."""
        blocks = iterator._blocks()
        if blocks is not None:
            samples = blocks.samples(np.arange(len(blocks)))
            assert sorted(samples.tolist()) == list(range(len(expected)))
        order = _Numbered(iterator).shuffle_blocks(seed=1, window=2)
        assert sorted(number for number, *_ in order) == list(range(len(expected)))


class _Numbered(DatasetIterator[tuple[int, None, None]]):
    """Samples that are their own indices, in the blocks of another iterator."""

    def __init__(self, iterator: DatasetIterator[Any]) -> None:
        super().__init__(iterator.meta)
        self._other = iterator

    def __len__(self) -> int:
        return len(self._other)

    def _sample(self, index: int) -> tuple[int, None, None]:
        return index, None, None

    def _blocks(self) -> Any:
        return self._other._blocks()
