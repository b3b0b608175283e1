"""All samples of an iterator, read once and kept in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.chunks import columns_in_chunks
from datastack_fs.iterators.columns import ColumnsDatasetIterator
from datastack_fs.iterators.combined import CombinedDatasetIterator
from datastack_fs.iterators.loading import Budget, LoadingColumn
from datastack_fs.iterators.progress import progress_bar
from datastack_fs.iterators.stacking import SampleT_co


class InMemoryDatasetIterator(ColumnsDatasetIterator[SampleT_co]):
    """All samples of an iterator, read in batches when it is made, and never read again.

    What is alike is kept as one array (images of one shape and type, columns of a table), the rest as objects. Arrays
    are handed out as copies, so nothing that a caller does to a sample changes it here.

    Args:
        iterator: what to read; where samples are rows of columns, it is read by columns.
        max_bytes: refuse to take more memory than this; where shapes are alike, that is known after the first samples.
        progress: show a bar; by default on a terminal only.

    Raises:
        ValueError: the samples need more than ``max_bytes``.

    Examples:
        >>> import numpy as np
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> images = SequenceDatasetIterator(np.zeros((100, 8, 8), dtype=np.uint8)).in_memory(max_bytes=10_000)
        >>> images[99][0].shape
        (8, 8)
    """

    def __init__(
        self, iterator: DatasetIterator[SampleT_co], max_bytes: int | None = None, progress: bool | None = None
    ) -> None:
        check_iterator(iterator)
        length, meta = len(iterator), iterator.meta
        budget = Budget(max_bytes, meta.name, length)
        columns = [LoadingColumn(length, budget) for _ in range(max(meta.positions) + 1)]
        make_sample: Callable[[Iterable[Any]], SampleT_co] | None = None
        with progress_bar(length, f"reading {meta.name}", progress) as move_on:
            for rows, by_columns, batch in _batches(iterator):
                if not budget.loaded:
                    make_sample = None if by_columns else _maker(batch[0])
                    columns = [LoadingColumn(length, budget) for _ in (batch if by_columns else batch[0])]
                budget.loaded += rows
                if by_columns:
                    for column, part in zip(columns, batch, strict=True):
                        column.extend_column(part, rows)
                else:
                    _check_alike(batch, len(columns))
                    for column, values in zip(columns, zip(*batch, strict=True), strict=True):
                        column.extend_values(values)
                move_on(rows)
        super().__init__(meta, [column.finished() for column in columns], length, make_sample)


def _batches(iterator: DatasetIterator[Any]) -> Iterator[tuple[int, bool, Sequence[Any]]]:
    """Batches, each with its number of rows, and whether it is columns or samples."""
    # Parts one by one: together, columns of different types would become one.
    parts = iterator.underlying_iterators if type(iterator) is CombinedDatasetIterator else (iterator,)
    if all(part._is_columnar() for part in parts):
        chunks = chain.from_iterable(columns_in_chunks(part._columns_at, range(len(part))) for part in parts)
        return ((rows, True, columns) for rows, columns in chunks)
    return ((len(samples), False, samples) for samples in iterator._chunks())


def _maker(sample: Any) -> Callable[[Iterable[Any]], Any] | None:
    """How to make samples of that type again: plain tuples as such, named tuples by their ``_make``."""
    return getattr(sample, "_make", None)


def _check_alike(samples: Sequence[Any], width: int) -> None:
    for sample in samples:
        plain = type(sample) is tuple or hasattr(sample, "_make")
        if not plain or len(sample) != width:
            raise TypeError(f"samples must be tuples of {width} values all through, not {sample!r:.100}")
