"""Leaves for tests, in a module of their own so that child processes find them."""

from typing import NamedTuple

import numpy as np

from datastack_fs.iterators import DatasetIterator, DatasetMeta


class RecordingLeaf(DatasetIterator):
    """Samples (number, class, tag); it notes each batch of samples and of targets that it is asked for."""

    def __init__(self, length, start=0, name="recording"):
        super().__init__(DatasetMeta(name, name, tag="raw"))
        self._length = length
        self._start = start
        self.sample_batches = []
        self.target_batches = []

    def __len__(self):
        return self._length

    def _samples(self, indices):
        assert_checked(indices, self._length)
        assert len(indices)
        self.sample_batches.append(indices.tolist())
        return [(self._start + index, (self._start + index) % 3, "raw") for index in indices.tolist()]

    def _targets(self, indices):
        assert_checked(indices, self._length)
        self.target_batches.append(indices.tolist())
        return (self._start + indices) % 3

    def expected(self):
        return [(number, number % 3, "raw") for number in range(self._start, self._start + self._length)]


class OneByOneLeaf(DatasetIterator):
    """A leaf that reads one sample at a time, has no labels apart, and puts the target first."""

    def __init__(self, length):
        super().__init__(DatasetMeta("one-by-one", "one by one", sample_pos=1, target_pos=0))
        self._length = length

    def __len__(self):
        return self._length

    def _sample(self, index):
        assert type(index) is int
        assert 0 <= index < self._length
        return f"class {index % 2}", np.full((2, 3), index, dtype=np.float32), {"row": index}

    def expected(self):
        return [
            (f"class {index % 2}", np.full((2, 3), index, dtype=np.float32), {"row": index})
            for index in range(self._length)
        ]


def assert_checked(indices, length):
    assert type(indices) is np.ndarray
    assert indices.dtype == np.int64
    assert indices.ndim == 1
    assert all(0 <= index < length for index in indices.tolist())


class Pair(NamedTuple):
    """A sample with names."""

    sample: str
    target: int
    tag: None
