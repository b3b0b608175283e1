"""Reading many samples in pieces: large enough for a remote store, bounded in memory."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.selections import Selection, looked_up

MAX_SAMPLES: Final = 1024
MAX_BYTES: Final = 16 << 20
MAX_ROWS: Final = 1 << 16
MAX_LABELS: Final = 1 << 22
_GROWTH: Final = 4

SampleT = TypeVar("SampleT", bound=tuple[Any, ...])


def read_in_chunks(read: Callable[[IndexArray], list[SampleT]], indices: Selection) -> Iterator[list[SampleT]]:
    """Yields the samples in lists: first one alone, so that it comes at once, then more and more.

    A list holds at most ``MAX_SAMPLES``, and about ``MAX_BYTES`` judged by the list before it.

    Examples:
        >>> chunks = read_in_chunks(lambda indices: [(int(i),) for i in indices], range(30))
        >>> [len(chunk) for chunk in chunks]
        [1, 4, 16, 9]
    """
    start, size = 0, 1
    while start < len(indices):
        part = indices[start : start + size]
        samples = read(looked_up(part, np.arange(len(part))))
        start += size
        largest = max(approximate_bytes(samples[0]), approximate_bytes(samples[-1]))
        size = _next_size(size, MAX_SAMPLES, largest)
        yield samples
        del samples  # else two lists are in memory while the next is read


def columns_in_chunks(
    take: Callable[[IndexArray], tuple[Any, ...]], selection: Selection
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yields columns as ``take`` gives them, each time with their number of rows; first one row, then more and more.

    At most ``MAX_ROWS``, and about ``MAX_BYTES`` judged by the columns before.

    Examples:
        >>> [rows for rows, _ in columns_in_chunks(lambda indices: (indices,), range(30))]
        [1, 4, 16, 9]
    """
    start, size = 0, 1
    while start < len(selection):
        part = selection[start : start + size]
        columns = take(looked_up(part, np.arange(len(part))))
        start += size
        size = _next_size(size, MAX_ROWS, approximate_bytes(columns) // len(part))
        yield len(part), columns
        del columns


def labels_in_blocks(
    read: Callable[[IndexArray], npt.NDArray[Any]], length: int, size: int = MAX_LABELS
) -> Iterator[npt.NDArray[Any]]:
    """Yields all labels in order, in blocks that keep the indices for them small.

    Examples:
        >>> [block.tolist() for block in labels_in_blocks(lambda indices: indices * 2, 5, size=3)]
        [[0, 2, 4], [6, 8]]
    """
    for start in range(0, length, size):
        yield read(np.arange(start, min(start + size, length), dtype=np.int64))


def _next_size(size: int, most: int, bytes_each: int) -> int:
    return max(1, min(size * _GROWTH, most, MAX_BYTES // max(1, bytes_each)))


def approximate_bytes(value: Any) -> int:
    """How much memory a value takes: exact for arrays, bytes and text, a guess for other objects.

    Examples:
        >>> approximate_bytes((np.zeros(1000), b"x" * 500)) >= 8500
        True
    """
    if isinstance(value, (tuple, list)):
        return sys.getsizeof(value) + sum(map(approximate_bytes, value))
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(map(approximate_bytes, value.values()))
    nbytes = getattr(value, "nbytes", None)
    return nbytes if isinstance(nbytes, int) else sys.getsizeof(value)
