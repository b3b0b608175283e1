"""Samples read for a report: in batches, past those that can't be read, and for no longer than it may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.chunks import MAX_BYTES, approximate_bytes
from datastack_fs.iterators.indices import IndexArray

LOOKING_SECONDS: Final = 30.0
LOOKING_BYTES: Final = 256 << 20
MOST_UNREADABLE: Final = 5
"""After so many unreadable samples no more are tried."""

_GROWTH: Final = 4

Numbered = tuple[int, tuple[Any, ...]]
"""A sample and its index."""


def read_samples(
    iterator: DatasetIterator[Any],
    indices: IndexArray,
    note: Callable[[str, Exception], None],
    *,
    batch: int,
    is_bounded: bool = True,
) -> Iterator[list[Numbered]]:
    """Yields the samples that can be read, in batches that grow.

    Args:
        iterator: what to read.
        indices: which samples.
        note: is told which sample can't be read, and why.
        batch: the most in a batch.
        is_bounded: end after ``LOOKING_SECONDS`` or ``LOOKING_BYTES``.

    Raises:
        ConnectionError: the store is gone; others would not fare better.
    """
    until = time.monotonic() + LOOKING_SECONDS
    start, size, read_bytes, unreadable = 0, 1, 0, 0
    while start < len(indices) and unreadable < MOST_UNREADABLE:
        wanted = indices[start : start + size]
        samples, failures = _readable(iterator, wanted, MOST_UNREADABLE - unreadable)
        for index, error in failures:
            note(f"sample {index:,}", error)
        if samples:
            yield samples
        start += size
        unreadable += len(failures)
        batch_bytes = sum(approximate_bytes(sample) for _, sample in samples)
        read_bytes += batch_bytes
        size = max(1, min(size * _GROWTH, batch, MAX_BYTES * len(wanted) // max(1, batch_bytes)))
        if is_bounded and (time.monotonic() > until or read_bytes > LOOKING_BYTES):
            return


def _readable(
    iterator: DatasetIterator[Any], indices: IndexArray, most_failures: int
) -> tuple[list[Numbered], list[tuple[int, Exception]]]:
    """The samples of a batch that can be read, and why others can't: where the batch fails, each is tried alone."""
    try:
        return list(zip(indices.tolist(), iterator.__getitems__(indices), strict=True)), []
    except ConnectionError:
        raise
    except Exception:  # noqa: BLE001 (tried alone, it comes again, and is handed on)
        pass
    found: list[Numbered] = []
    failures: list[tuple[int, Exception]] = []
    for index in indices.tolist():
        try:
            found.append((index, iterator[index]))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 (the report says what is wrong with the data, or with its functions)
            failures.append((index, error))
            if len(failures) >= most_failures:
                break
    return found, failures
