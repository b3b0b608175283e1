"""How fast an iterator is read: batches in order and at random, within a time and a number of samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.report.model import SpeedReport

BATCH: Final = 64
BATCH_BYTES: Final = 4 << 20
SHORTEST: Final = 0.05
"""Seconds below which passes over a small iterator are repeated: one is over too soon to be timed."""


def measure(
    iterator: DatasetIterator[Any], seconds: float, most: int | None = None, sample_seconds: float = 0.0
) -> tuple[SpeedReport, ...]:
    """Times ``take``, half of the seconds in order and half at random.

    Args:
        iterator: one with samples.
        seconds: about how long it may take; a batch that is under way isn't stopped.
        most: so many samples are read in each order, at most; by default as many as there are, or in passes of less
            than 0.05 s again and again.
        sample_seconds: about how long a sample takes, so that the first batch isn't too large.
    """
    length = len(iterator)
    random = np.random.Generator(np.random.PCG64(0))
    first = length // 3  # what stands at the beginning has just been looked at, and may be kept in memory
    orders: dict[str, Callable[[int, int], IndexArray]] = {
        "in order": lambda start, count: np.arange(first + start, first + start + count, dtype=np.int64) % length,
        "at random": lambda start, count: random.integers(0, length, count, dtype=np.int64),
    }
    return tuple(
        _timed(
            order,
            lambda batch: _take(iterator, batch),
            indices,
            seconds / 2,
            most or length,
            most is None,
            sample_seconds,
        )
        for order, indices in orders.items()
    )


def _timed(
    order: str,
    take: Callable[[IndexArray], Any],
    indices: Callable[[int, int], IndexArray],
    seconds: float,
    most: int,
    again: bool,
    sample_seconds: float,
) -> SpeedReport:
    done, spent, largest, decoded = 0, 0.0, 0, 0
    size = _affordable(seconds / 4, sample_seconds)
    while spent < seconds and (done < most or (again and spent < SHORTEST)):
        batch = indices(done, size if again else min(size, most - done))
        start = time.perf_counter()
        values = take(batch)
        spent += time.perf_counter() - start
        done += len(batch)
        largest = max(largest, len(batch))
        decoded += content_bytes(values)
        size = min(_affordable(seconds - spent, spent / done), max(1, BATCH_BYTES * done // max(1, decoded)))
    spent = max(spent, 1e-9)
    return SpeedReport(order, largest, done, spent, done / spent, decoded / spent)


def _affordable(seconds: float, sample_seconds: float) -> int:
    """The largest batch that takes no longer."""
    return max(1, min(BATCH, int(seconds / max(sample_seconds, 1e-9))))


def _take(iterator: DatasetIterator[Any], batch: IndexArray) -> Any:
    try:
        return iterator.take(batch)
    except ValueError:  # samples of different kinds have no common columns
        return iterator.__getitems__(batch)


def content_bytes(value: Any) -> int:
    """The bytes of what is in a value, without Python's own around it; what has no size counts as eight.

    Examples:
        >>> content_bytes((np.zeros(10, dtype=np.uint8), {"name": "owl"}, np.array(["ab", None], dtype=object)))
        23
    """
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return sum(map(content_bytes, value.flat))
    if isinstance(value, dict):
        return sum(map(content_bytes, value.values()))
    if isinstance(value, (tuple, list)):
        return sum(map(content_bytes, value))
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    nbytes = getattr(value, "nbytes", 8)
    return nbytes if isinstance(nbytes, int) else 8
