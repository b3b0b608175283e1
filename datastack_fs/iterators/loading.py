"""Columns while they are loaded into memory, within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.chunks import approximate_bytes
from datastack_fs.iterators.columns import ArrayColumn, Column, PartedColumn, SequenceColumn, own
from datastack_fs.iterators.labels import rows_of

_SCALAR_KINDS = frozenset("biufcmM")


class Budget:
    """How much memory may be taken, if there is a bound."""

    def __init__(self, max_bytes: int | None, name: str, length: int) -> None:
        self.loaded = 0
        self._claimed = 0
        self._max_bytes = max_bytes
        self._name = name
        self._length = length

    def claim(self, more: int) -> None:
        """Notes what is about to be taken, or (below 0) is let go.

        Raises:
            ValueError: that is too much; the message says how far loading came.
        """
        self._claimed += more
        if self._max_bytes is not None and self._claimed > self._max_bytes:
            raise ValueError(
                f"{self._name!r} needs more than max_bytes={self._max_bytes:,}: at least {self._claimed:,} bytes, as "
                f"was found at {self.loaded:,} of {self._length:,} samples; allow more, or take fewer with "
                ".view(range(...)).in_memory()"
            )


class LoadingColumn:
    """A column while it grows: one array, or one for each part, as long as all that comes is alike; else a list."""

    def __init__(self, length: int, budget: Budget) -> None:
        self._length = length
        self._budget = budget
        self._filled = 0
        self._array: npt.NDArray[Any] | None = None
        self._parts: dict[Any, LoadingColumn] | None = None
        self._kind: type = list
        self._list: list[Any] = []

    def extend_values(self, values: Sequence[Any]) -> None:
        """Adds the values of some samples."""
        if self._filled == 0 and _stacks(values[0]):
            self._open(values[0].shape, values[0].dtype)
        if self._array is not None and all(_is_row(value, self._array) for value in values):
            for row, value in enumerate(values, self._filled):  # as a tuple, numpy would take records for fields
                self._array[row] = value
            self._filled += len(values)
        else:
            self._extend_list(values)

    def extend_column(self, column: Any, rows: int) -> None:
        """Adds a column that ``take`` gave."""
        if self._filled == 0:
            self._open_like(column)
        if self._array is not None and _same_rows(column, self._array):
            self._array[self._filled : self._filled + rows] = column
            if column.dtype.hasobject:
                objects = {id(value): value for value in column.ravel().tolist()}
                self._budget.claim(sum(map(approximate_bytes, objects.values())))
        elif self._parts is not None and type(column) is self._kind and _parts(column).keys() == self._parts.keys():
            for key, part in _parts(column).items():
                self._parts[key].extend_column(part, rows)
        else:
            self._extend_list(rows_of(column))
            return
        self._filled += rows

    def finished(self) -> Column:
        """The whole column."""
        if self._array is not None:
            return ArrayColumn(self._array)
        if self._parts is not None:
            return PartedColumn(self._kind, {key: part.finished() for key, part in self._parts.items()}, self._length)
        return SequenceColumn(self._list)

    def _open(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._budget.claim(self._length * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        self._array = np.empty((self._length, *shape), dtype=dtype)

    def _open_like(self, column: Any) -> None:
        if isinstance(column, np.ndarray):
            self._open(column.shape[1:], column.dtype)
        else:
            self._kind = type(column)
            self._parts = {key: LoadingColumn(self._length, self._budget) for key in _parts(column)}

    def _extend_list(self, values: Sequence[Any]) -> None:
        if self._array is not None or self._parts is not None:
            self._list = list(map(own, rows_of(self._so_far())))
            self._let_go()
            self._budget.claim(sum(map(approximate_bytes, self._list)))
        self._budget.claim(sum(map(approximate_bytes, values)))
        self._list.extend(map(own, values))
        self._filled += len(values)

    def _so_far(self) -> Any:
        if self._array is not None:
            return self._array[: self._filled]
        if self._parts is None:
            return np.fromiter(self._list, dtype=object, count=len(self._list))
        parts = {key: part._so_far() for key, part in self._parts.items()}
        return parts if self._kind is dict else tuple(parts.values())

    def _let_go(self) -> None:
        if self._array is not None:
            self._budget.claim(-self._array.nbytes)
        for part in (self._parts or {}).values():
            part._let_go()
        self._array = self._parts = None


def _parts(column: Any) -> dict[Any, Any]:
    return column if isinstance(column, dict) else dict(enumerate(column))


def _stacks(value: Any) -> bool:
    """Whether values like this one come back from the row of an array just as they were."""
    if type(value) in (np.ndarray, np.memmap):
        return value.ndim > 0 and not value.dtype.hasobject
    return isinstance(value, np.generic) and value.dtype.kind in _SCALAR_KINDS


def _is_row(value: Any, array: npt.NDArray[Any]) -> bool:
    return _stacks(value) and value.dtype == array.dtype and value.shape == array.shape[1:]


def _same_rows(column: Any, array: npt.NDArray[Any]) -> bool:
    return isinstance(column, np.ndarray) and column.dtype == array.dtype and column.shape[1:] == array.shape[1:]
