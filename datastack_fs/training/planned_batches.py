"""Batches in the order of training, of which each process has its next ones under way."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.look_ahead import batches_ahead
from datastack_fs.iterators.ranks import loader_workers
from datastack_fs.training.batch_plan import BatchPlan
from datastack_fs.training.sampler import DrawnBatch, ResumableBatchSampler


class PlannedBatches:
    """What a ``ResumableBatchSampler`` draws, as columns: ``DataLoader(PlannedBatches(sampler), sampler=sampler, …)``.

    It knows the plan, so the process that reads a batch, the main one or a worker, has the next that it will be asked
    for under way, as ``iterator.batches()`` has them: of two workers, one every second batch. Whenever another batch is
    asked for than the expected one (a new epoch, a resumed job), it begins anew from there.

    Args:
        sampler: whose batches they are; its iterator is read.
        prefetch: most batches under way in a process besides the one in use.
        max_bytes: most memory for them in a process; a batch that needs more comes alone.

    Examples:
        >>> import numpy as np
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> sampler = ResumableBatchSampler(SequenceDatasetIterator(np.arange(8)), 4, seed=1)
        >>> batches = PlannedBatches(sampler)
        >>> [batches[drawn][0].tolist() for drawn in sampler]
        [[2, 4, 7, 5], [0, 6, 3, 1]]
    """

    def __init__(self, sampler: ResumableBatchSampler, *, prefetch: int = 4, max_bytes: int = 256 << 20) -> None:
        self._iterator, self._plan, self._rank = sampler.iterator, sampler.plan, sampler.rank
        self._prefetch, self._max_bytes = prefetch, max_bytes
        self._reading: _Reading | None = None

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._iterator)

    def __getitem__(self, batch: DrawnBatch) -> tuple[Any, ...]:
        """The columns of a batch that the sampler drew, as ``iterator.take`` gives them.

        Raises:
            TypeError: the batch is not drawn by a ``ResumableBatchSampler``.
            ValueError: it is drawn by one that has other batches.
        """
        reading, self._reading = self._reading, None  # after an error, the next one begins anew
        if reading is None or not reading.comes_to(batch):
            if reading is not None:
                reading.close()
            reading = self._from(batch)
        columns = reading.next()
        if reading.steps:
            self._reading = reading
        else:
            reading.close()
        return columns

    def __getitems__(self, batch: DrawnBatch) -> tuple[Any, ...]:
        """The same: what a DataLoader with the sampler as its ``batch_sampler`` calls."""
        return self[batch]

    def close(self) -> None:
        """Ends what is under way; a batch that is asked for later begins anew."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _from(self, batch: DrawnBatch) -> _Reading:
        if not isinstance(batch, DrawnBatch):
            raise TypeError(
                f"the batch is a {type(batch).__name__}, not drawn by a ResumableBatchSampler: ColumnBatches(iterator) "
                "reads those of any sampler"
            )
        if self._plan.batch(batch.epoch, batch.step, self._rank).tolist() != batch:
            raise ValueError("the batch is drawn by another sampler than the one that PlannedBatches was made with")
        steps = range(batch.step, self._plan.steps, loader_workers())
        batches = _StepsOfProcess(self._plan, self._rank, batch.epoch, steps)
        columns = batches_ahead(self._iterator, batches, self._prefetch, self._max_bytes)
        return _Reading(columns, batch.epoch, steps, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": None}


@dataclass(frozen=True)
class _StepsOfProcess:
    """The indices of each step of an epoch that falls to one process."""

    plan: BatchPlan
    rank: int
    epoch: int
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[IndexArray]:
        for step in self.steps:
            yield self.plan.batch(self.epoch, step, self.rank)


@dataclass
class _Reading:
    """Batches under way in a process, and which of them are still to come."""

    columns: Generator[tuple[Any, ...], None, None]
    epoch: int
    steps: range
    process: int

    def comes_to(self, batch: DrawnBatch) -> bool:
        is_ours = isinstance(batch, DrawnBatch) and self.process == os.getpid()
        return is_ours and (batch.epoch, batch.step) == (self.epoch, self.steps[0])

    def next(self) -> tuple[Any, ...]:
        columns = next(self.columns)
        self.steps = self.steps[1:]
        return columns

    def close(self) -> None:
        self.columns.close()
