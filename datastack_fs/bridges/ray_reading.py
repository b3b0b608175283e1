"""The datasource that Ray reads an iterator through: runs of samples, each read on the node of its task."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import ray
from ray.data.block import Block, BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from datastack_fs.bridges.cuts import cuts
from datastack_fs.bridges.named_columns import bytes_of_sample, named_columns
from datastack_fs.iterators.base import DatasetIterator

TABLE_BYTES: Final = 32 << 20
"""About so large is a table that a task yields: several fit into a small object store at once."""

_AHEAD_BYTES: Final = 2 * TABLE_BYTES

_last: tuple[str, DatasetIterator[Any]] | None = None


class IteratorDatasource(Datasource):  # type: ignore[misc]
    """An iterator as Ray's datasets are read: it lies in the object store once, and tasks are runs of its samples."""

    def __init__(self, iterator: DatasetIterator[Any]) -> None:
        super().__init__()
        self._iterator = iterator
        self._reference: Any = None
        self._bytes_each = bytes_of_sample(iterator)

    def get_name(self) -> str:
        """What Ray's progress and plans call it."""
        return f"Iterator[{self._iterator.meta.name}]"

    def estimate_inmemory_data_size(self) -> int | None:
        """The bytes of all samples unpacked, where their type is known without reading one."""
        return self._size(len(self._iterator))

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """At most so many tasks, cut where blocks of the store end."""
        if self._reference is None:
            self._reference = ray.put(self._iterator)
        return [
            ReadTask(
                partial(_tables, self._reference, run.start, run.stop, self._bytes_each),
                BlockMetadata(num_rows=len(run), size_bytes=self._size(len(run)), exec_stats=None),
                per_task_row_limit=per_task_row_limit,
            )
            for run in cuts(self._iterator, parallelism)
        ]

    def _size(self, length: int) -> int | None:
        return None if self._bytes_each is None else length * self._bytes_each


def _tables(reference: Any, start: int, stop: int, bytes_each: int | None) -> Iterator[Block]:
    """A run of samples as Arrow tables, read on this node."""
    iterator = _opened(reference)
    if bytes_each is None:
        bytes_each = BlockAccessor.for_block(_table(iterator.take([start]), iterator)).size_bytes()
    rows = max(1, TABLE_BYTES // max(1, bytes_each))
    for columns in iterator.batches(rows, np.arange(start, stop), prefetch=2, max_bytes=_AHEAD_BYTES):
        yield _table(columns, iterator)


def _opened(reference: Any) -> DatasetIterator[Any]:
    """The iterator in this process: tasks of one dataset that run here one after the other open its files once."""
    global _last
    if _last is None or _last[0] != reference.hex():
        _last = reference.hex(), ray.get(reference)
    return _last[1]


def _table(columns: tuple[Any, ...], iterator: DatasetIterator[Any]) -> Block:
    return BlockAccessor.batch_to_arrow_block(named_columns(columns, iterator.meta))
