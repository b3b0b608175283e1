"""What iterators share that change samples or targets of another one, each at its place."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.stacking import SampleT_co


class DerivedDatasetIterator(DatasetIterator[SampleT_co]):
    """As many samples as another iterator has, with its targets and tags where a subclass says nothing else.

    A subclass writes ``_changed``, which makes its columns of those of the other.
    """

    def __init__(self, iterator: DatasetIterator[Any], meta: DatasetMeta | None = None) -> None:
        check_iterator(iterator)
        super().__init__(meta or iterator.meta)
        self._source = iterator

    @property
    def underlying_iterators(self) -> tuple[DatasetIterator[Any]]:
        """The iterator that it is made of."""
        return (self._source,)

    def __len__(self) -> int:
        return len(self._source)

    def _changed(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        """The columns of a batch made of those of the other iterator."""
        return columns

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return self._changed(self._source._take(indices))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        return self._source._plan(indices).then(self._changed)

    def _is_planned(self) -> bool:
        return self._source._is_planned()

    def _below(self, index: int) -> tuple[DatasetIterator[Any], int]:
        return self._source, index

    def _blocks(self) -> Blocks | None:
        return self._source._blocks()

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._source._targets(indices)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._source._tags(indices)
