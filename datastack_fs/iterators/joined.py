"""Columns of several iterators as one, whose rows go from each straight to their places in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.columnar import constant
from datastack_fs.iterators.columns import Column, ColumnsDatasetIterator, ConstantColumn, RowType
from datastack_fs.iterators.gathered import Rows
from datastack_fs.iterators.indices import IndexArray

PartOfBatch: TypeAlias = tuple[int, IndexArray, Rows]
"""The number of a part, indices within it, and which rows of the batch they are."""


class JoinedColumn(Protocol):
    """One position of all parts."""

    def gathered(self, length: int, batch: Sequence[PartOfBatch]) -> npt.NDArray[np.generic]:
        """So many rows, as a new column."""


class JoinedRows:
    """Columns whose rows are of one type and shape.

    Examples:
        >>> from datastack_fs.iterators.columns import ArrayColumn
        >>> joined = JoinedRows([ArrayColumn(np.array([10, 11])), ArrayColumn(np.array([12]))], (np.dtype(int), ()))
        >>> joined.gathered(2, [(0, np.array([1]), np.array([1])), (1, np.array([0]), np.array([0]))])
        array([12, 11])
    """

    def __init__(self, columns: Sequence[Column], row_type: RowType) -> None:
        self._columns = columns
        self._dtype, self._shape = row_type

    def gathered(self, length: int, batch: Sequence[PartOfBatch]) -> npt.NDArray[np.generic]:
        """Each part's rows, put straight to their places."""
        found = np.empty((length, *self._shape), self._dtype)
        for number, indices, rows in batch:
            found[rows] = self._columns[number].column(indices)
        return found


class JoinedConstants:
    """One and the same value for all.

    Examples:
        >>> JoinedConstants("train").gathered(2, [])
        array(['train', 'train'], dtype=object)
    """

    def __init__(self, value: object) -> None:
        self._value = value

    def gathered(self, length: int, batch: Sequence[PartOfBatch]) -> npt.NDArray[np.generic]:
        """An array of the one object."""
        return constant(self._value, length)


def joined_columns(parts: Sequence[DatasetIterator[Any]]) -> Sequence[JoinedColumn] | None:
    """The columns of several iterators, position by position; None unless they are alike in all of them.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> numbers, letters = SequenceDatasetIterator(np.arange(2)), SequenceDatasetIterator(["a", "b"])
        >>> joined_columns([numbers, letters]) is None, len(joined_columns([numbers, numbers]))
        (True, 3)
    """
    by_part = [part.plain_columns() if isinstance(part, ColumnsDatasetIterator) else () for part in parts]
    if len(set(map(len, by_part))) > 1:
        return None
    joined = [column for column in map(_joined, zip(*by_part, strict=True)) if column is not None]
    return joined if joined and len(joined) == len(by_part[0]) else None


def _joined(columns: Sequence[Column]) -> JoinedColumn | None:
    row_type = columns[0].row_type
    if row_type is not None and all(column.row_type == row_type for column in columns):
        return JoinedRows(columns, row_type)
    values = [column.constant for column in columns if isinstance(column, ConstantColumn)]
    if len(values) == len(columns) and all(value is values[0] for value in values):
        return JoinedConstants(values[0])
    return None
