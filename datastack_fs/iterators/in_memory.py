"""All samples of an iterator, read once and kept in memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, SampleT_co, check_iterator
from datastack_fs.iterators.chunks import approximate_bytes
from datastack_fs.iterators.columns import ArrayColumn, Column, ColumnsDatasetIterator, SequenceColumn, own

_SCALAR_KINDS = frozenset("biufcmM")


class InMemoryDatasetIterator(ColumnsDatasetIterator[SampleT_co]):
    """All samples of an iterator, read in batches when it is made, and never read again.

    What is alike is kept as one array (images of one shape and type), the rest as objects. Arrays are handed out as
    copies, so nothing that a caller does to a sample changes it here.

    Args:
        iterator: what to read.
        max_bytes: refuse to take more memory than this.

    Raises:
        ValueError: the samples need more than ``max_bytes``.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> images = SequenceDatasetIterator(np.zeros((100, 8, 8), dtype=np.uint8)).in_memory(max_bytes=10_000)
        >>> images[99][0].shape
        (8, 8)
    """

    def __init__(self, iterator: DatasetIterator[SampleT_co], max_bytes: int | None = None) -> None:
        check_iterator(iterator)
        length, meta = len(iterator), iterator.meta
        columns = [_LoadingColumn(length) for _ in range(max(meta.positions) + 1)]
        make_sample: Callable[[Iterable[Any]], SampleT_co] | None = None
        loaded = 0
        for samples in iterator._chunks():
            if not loaded:
                make_sample = _maker(samples[0])
                columns = [_LoadingColumn(length) for _ in samples[0]]
            _check_alike(samples, len(columns))
            for column, values in zip(columns, zip(*samples, strict=True), strict=True):
                column.extend(values)
            loaded += len(samples)
            if max_bytes is not None and sum(column.nbytes for column in columns) > max_bytes:
                raise ValueError(
                    f"{meta.name!r} needs more than max_bytes={max_bytes:,}: it was full at {loaded:,} of {length:,} "
                    "samples; allow more, or take fewer with .view(range(...)).in_memory()"
                )
        super().__init__(meta, [column.finished() for column in columns], length, make_sample)


class _LoadingColumn:
    """A column while it grows: one array as long as all values are alike, else a list."""

    def __init__(self, length: int) -> None:
        self.nbytes = 0
        self._length = length
        self._filled = 0
        self._array: npt.NDArray[Any] | None = None
        self._list: list[Any] = []

    def extend(self, values: Sequence[Any]) -> None:
        first = values[0]
        if self._filled == 0 and _stacks(first):
            self._array = np.empty((self._length, *first.shape), dtype=first.dtype)
        if self._array is not None and all(_is_row(value, self._array) for value in values):
            for row, value in enumerate(values, self._filled):  # as a tuple, numpy would take records for fields
                self._array[row] = value
            self.nbytes += self._array[0].nbytes * len(values)
        else:
            if self._array is not None:
                self._list = list(map(own, self._array[: self._filled]))
                self._array = None
            self._list.extend(map(own, values))
            self.nbytes += sum(map(approximate_bytes, values))
        self._filled += len(values)

    def finished(self) -> Column:
        return SequenceColumn(self._list) if self._array is None else ArrayColumn(self._array)


def _stacks(value: Any) -> bool:
    """Whether values like this one come back from the row of an array just as they were."""
    if type(value) in (np.ndarray, np.memmap):
        return value.ndim > 0 and not value.dtype.hasobject
    return isinstance(value, np.generic) and value.dtype.kind in _SCALAR_KINDS


def _is_row(value: Any, array: npt.NDArray[Any]) -> bool:
    return _stacks(value) and value.dtype == array.dtype and value.shape == array.shape[1:]


def _maker(sample: Any) -> Callable[[Iterable[Any]], Any] | None:
    """How to make samples of that type again: plain tuples as such, named tuples by their ``_make``."""
    return getattr(sample, "_make", None)


def _check_alike(samples: Sequence[Any], width: int) -> None:
    for sample in samples:
        plain = type(sample) is tuple or hasattr(sample, "_make")
        if not plain or len(sample) != width:
            raise TypeError(f"samples must be tuples of {width} values all through, not {sample!r:.100}")
