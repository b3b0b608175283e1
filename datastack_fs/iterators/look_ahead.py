"""Batches in their order, of which the next are fetched while one is used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.chunks import approximate_bytes
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.kept_resources import KeptResources
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.selections import Selection, looked_up


class BatchIndices(Protocol):
    """The indices of each batch, in order."""

    def __len__(self) -> int:
        """How many batches there are."""

    def __iter__(self) -> Iterator[IndexArray]:
        """The indices of one after the other."""


@dataclass(frozen=True)
class Batches:
    """The indices of each batch: so many of a selection, one after the other."""

    selection: Selection
    size: int

    def __len__(self) -> int:
        return -(-len(self.selection) // self.size)

    def __iter__(self) -> Iterator[IndexArray]:
        for start in range(0, len(self.selection), self.size):
            part = self.selection[start : start + self.size]
            yield looked_up(part, np.arange(len(part)))


def batches_ahead(
    iterator: DatasetIterator[Any], batches: BatchIndices, prefetch: int, max_bytes: int
) -> Generator[tuple[Any, ...], None, None]:
    """Yields the columns of each batch; ``DatasetIterator.batches`` says what holds for it."""
    if not prefetch or not iterator._is_planned():
        for indices in batches:
            yield iterator._columns_at(indices)
        return
    ahead = _LookAhead(iterator, batches, prefetch, max_bytes)
    patient = True
    try:
        yield from ahead
    except KeyboardInterrupt:  # whoever presses Ctrl-C doesn't wait for a network that hangs
        patient = False
        raise
    finally:
        ahead.close(wait=patient)


class _LookAhead:
    """The batches under way: some are being fetched, some wait for their turn."""

    def __init__(self, iterator: DatasetIterator[Any], batches: BatchIndices, prefetch: int, max_bytes: int) -> None:
        self._iterator = iterator
        self._batches = iter(batches)
        self._count = len(batches)
        self._prefetch, self._left = prefetch, max_bytes - max_bytes // 2
        self._process = os.getpid()
        self._pool = ThreadPoolExecutor(prefetch + 1, "datastack-ahead")
        self._under_way: deque[tuple[Plan[tuple[Any, ...]], int, Future[Any]]] = deque()
        self._kept = KeptResources(max_bytes // 2)
        self._next: Plan[tuple[Any, ...]] | None = None
        self._largest = 0  # of the batches so far, in memory

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        self._plan_next()
        if self._next is not None:
            self._kept.choose(self._next.requests, self._count)
        self._fill()
        while self._under_way:
            plan, size, future = self._under_way.popleft()
            self._fill()  # the one that is waited for is the one in use
            decoded = future.result()
            del future  # else it keeps the batch while the caller uses it
            self._left += size
            self._fill()
            columns = plan.finish(decoded)
            self._largest = max(self._largest, approximate_bytes(columns))
            del plan, decoded
            yield columns
            del columns
            if os.getpid() != self._process:
                raise RuntimeError("batches of another process: a fork has none of its threads. Call batches() anew")

    def close(self, *, wait: bool) -> None:
        """Ends the threads; what has not begun never does."""
        if os.getpid() == self._process:
            self._pool.shutdown(wait=wait, cancel_futures=True)

    def _plan_next(self) -> None:
        indices = next(self._batches, None)
        self._next = None if indices is None else self._iterator._plan(indices)

    def _fill(self) -> None:
        """Sets batches under way, as many as memory allows, but always one."""
        while self._next is not None and len(self._under_way) < self._prefetch:
            size = max(self._next.size, self._largest)
            if self._under_way and size > self._left:
                return
            self._left -= size
            self._under_way.append((self._next, size, self._pool.submit(self._read, self._next)))
            self._plan_next()

    def _read(self, plan: Plan[tuple[Any, ...]]) -> Any:
        return plan.decode(self._kept.answers(plan.requests))
