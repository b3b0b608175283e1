"""All samples of an iterator, several times over."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.derived import DerivedDatasetIterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.stacking import SampleT_co


class RepeatedDatasetIterator(DerivedDatasetIterator[SampleT_co]):
    """All samples of an iterator, several times over; it keeps no indices.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> twice = RepeatedDatasetIterator(SequenceDatasetIterator(["a", "b"]), 2)
        >>> [letter for letter, _, _ in twice]
        ['a', 'b', 'a', 'b']
    """

    def __init__(self, iterator: DatasetIterator[SampleT_co], times: SupportsIndex) -> None:
        super().__init__(iterator)
        self._times = operator.index(times)
        if self._times < 0:
            raise ValueError(f"times must not be negative: {self._times}")

    def __len__(self) -> int:
        return len(self._source) * self._times

    def _samples(self, indices: IndexArray) -> list[SampleT_co]:
        return self._source._read(indices % len(self._source))

    def _is_columnar(self) -> bool:
        return self._source._is_columnar()

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return self._source._take(indices % len(self._source))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        return self._source._plan(indices % len(self._source))

    def _is_planned(self) -> bool:
        return self._source._is_planned()

    def _below(self, index: int) -> tuple[DatasetIterator[Any], int]:
        return self._source, index % len(self._source)

    def _blocks(self) -> Blocks | None:
        blocks = self._source._blocks()
        return None if blocks is None else Blocks.joined([blocks] * self._times)

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._source._targets(indices % max(1, len(self._source)))

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._source._tags(indices % max(1, len(self._source)))

    def _details(self) -> str:
        return f"{super()._details()}, {self._times} times over"
