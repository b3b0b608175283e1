"""Batches of an iterator as columns, for loaders that ask a dataset for what stands at an index."""

from __future__ import annotations

from typing import Any, Generic

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.indices import Indices
from datastack_fs.iterators.stacking import SampleT_co
from datastack_fs.iterators.unshared import note_batch


class ColumnBatches(Generic[SampleT_co]):
    """An iterator whose index is a batch of indices, and gives its columns.

    A torch DataLoader reads it without a tuple for each sample, and without collating them, many times faster:
    ``DataLoader(ColumnBatches(iterator), batch_size=None, sampler=BatchSampler(sampler, 256, drop_last=False))``, or
    any other sampler that yields lists of indices; or ``DataLoader(ColumnBatches(iterator), batch_sampler=sampler,
    collate_fn=collate_columns)``. Columns of numbers come out of it as tensors.

    Examples:
        >>> import numpy as np
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> batches = ColumnBatches(SequenceDatasetIterator(np.zeros((9, 8, 8)), range(9)))
        >>> images, labels, tags = batches[[3, 1]]
        >>> len(batches), images.shape, labels.tolist()
        (9, (2, 8, 8), [3, 1])
    """

    def __init__(self, iterator: DatasetIterator[SampleT_co]) -> None:
        check_iterator(iterator)
        self._iterator = iterator

    def __len__(self) -> int:
        """How many samples there are: samplers draw from so many."""
        return len(self._iterator)

    def __getitem__(self, indices: Indices) -> tuple[Any, ...]:
        """The columns at many indices, as ``take`` gives them."""
        note_batch(self._iterator)
        return self._iterator.take(indices)

    def __getitems__(self, indices: Indices) -> tuple[Any, ...]:
        """The same: what a DataLoader with a ``batch_sampler`` calls, and whose ``collate_fn`` gets the columns."""
        note_batch(self._iterator)
        return self[indices]
