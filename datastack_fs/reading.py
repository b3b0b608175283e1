"""Reading ranges of a remote resource: which requests to make, and the raw reader under a ``StreamedResource``."""

from __future__ import annotations

import gc
import io
import os
import sys
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from datastack_fs.read_ahead import PART_BYTES, RangeSource, ReadAhead
from datastack_fs.resource import Content, Range, ResourceInfo

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES: Final = 64 << 10
"""Unit of the cache. HDF5 metadata is read in pieces of some hundred bytes to some KiB, scattered."""

CACHE_BYTES: Final = 32 << 20
"""Upper bound of the cache of one reader."""

WINDOW_BYTES: Final = 8 << 20
"""Most that one read fetches ahead, and most that one call of ``readinto`` returns."""

_STREAM_BYTES: Final = 1 << 20
"""A run of reads that has come to fetch so much at once is a stream: what follows is fetched as well."""

_SMALL_GAP: Final = 4 << 10
"""Bytes that are fetched along for less than a request: 60 µs at 64 MiB/s, where one takes 400 µs or more."""

_MOST_UNWANTED: Final = 8
"""One byte may be fetched along for so many that are wanted: in all small gaps together, and within one request."""

_FEW_MORE: Final = 1.25
"""Times the bytes that are wanted, or the requests that small gaps would leave, that are no matter."""

LONGEST_PAUSE: Final = 5.0
"""Seconds without the garbage collector, while reads overlap, after which one is made up for."""


class RangePlan:
    """The requests that serve a list of ranges: neighbours joined, long ones cut, nothing asked twice.

    Examples:
        >>> plan = RangePlan([(0, 4), (6, 8), (90, 99)], gap=10, part=50)
        >>> plan.requests
        [(0, 8), (90, 99)]
        >>> plan.cut([b"abcdefgh", b"123456789"])
        [b'abcd', b'gh', b'123456789']
    """

    def __init__(self, ranges: Sequence[Range], *, gap: int, part: int) -> None:
        self._ranges = ranges
        self.requests = list(_cut_long(_joined(ranges, gap, part), part))
        self._starts = [start for start, _ in self.requests]

    def cut(self, answers: Sequence[Content]) -> list[bytes]:
        """The ranges as they were asked for, from the answers to ``requests``."""
        return [bytes(self._cut_one(start, stop, answers)) for start, stop in self._ranges]

    def views(self, answers: Sequence[Content]) -> list[Content]:
        """The same without copies where a range lies in one answer: each keeps all of that answer in memory."""
        views = [memoryview(answer) for answer in answers]
        return [self._cut_one(start, stop, views) for start, stop in self._ranges]

    def _cut_one(self, start: int, stop: int, answers: Sequence[Content]) -> Content:
        if start == stop:
            return b""
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, stop - 1) - 1
        offset = self._starts[first]
        if first == last:
            return answers[first][start - offset : stop - offset]
        pieces = [memoryview(answer) for answer in answers[first : last + 1]]
        pieces[0] = pieces[0][start - offset :]
        pieces[-1] = pieces[-1][: stop - self._starts[last]]
        return b"".join(pieces)


def _joined(ranges: Sequence[Range], gap: int, most: int) -> list[Range]:
    """Ranges joined over all small gaps if that fetches few bytes more, or saves many requests; else over the smallest.

    What is fetched of rows that lie far apart, some of them close by chance, so stays below 1.25 times what is wanted.
    """
    runs = list(_join_near(sorted({(start, stop) for start, stop in ranges if start < stop}), 0, most))
    fewest = list(_join_near(runs, gap, most)) if gap else runs
    wanted = _size(runs)
    if _size(fewest) <= wanted * _FEW_MORE:
        return fewest
    gaps = sorted(after[0] - before[1] for before, after in pairwise(runs))
    sums = zip(gaps, accumulate(gaps), strict=True)
    too_large = next(size for size, all_up_to in sums if all_up_to * _MOST_UNWANTED > wanted)
    narrow = list(_join_near(runs, gap, most, too_large - 1))
    return narrow if len(narrow) <= len(fewest) * _FEW_MORE else fewest


def _size(ranges: Sequence[Range]) -> int:
    return sum(stop - start for start, stop in ranges)


def _join_near(ranges: Sequence[Range], gap: int, most: int, small: int = _SMALL_GAP) -> Iterator[Range]:
    """Sorted ranges, joined where they touch, over gaps up to ``small``, and up to ``gap`` where that is little."""
    current: Range | None = None
    unwanted = 0  # bytes between the ranges that were joined
    for start, stop in ranges:
        if current is None:
            current = start, stop
            continue
        more = max(0, start - current[1])
        wanted = current[1] - current[0] - unwanted
        is_near = more <= min(gap, small) or (more <= gap and (unwanted + more) * _MOST_UNWANTED <= wanted)
        if not more or (is_near and stop - current[0] <= most):
            current = current[0], max(current[1], stop)
            unwanted += more
        else:
            yield current
            current, unwanted = (start, stop), 0
    if current is not None:
        yield current


def _cut_long(ranges: Iterable[Range], most: int) -> Iterator[Range]:
    for start, stop in ranges:
        for offset in range(start, stop, most):
            yield offset, min(offset + most, stop)


class RemoteReader(io.RawIOBase):
    """The raw file under a remote ``StreamedResource``: one version, a bounded cache of blocks, read-ahead.

    It seeks without I/O, fetches the aligned blocks around a random read, and widens to windows of parallel requests
    while it is read from front to back. Retries, the pin to the version and the length check are its source's.
    """

    def __init__(self, source: RangeSource, info: ResourceInfo) -> None:
        self._source = source
        self._info = info
        self._position = 0
        self._next = -1  # where the last read ended: a read that begins there is sequential
        self._width = 0
        self._waited = 0.0  # seconds, for what was fetched last
        self._ahead = ReadAhead(source, info)
        self._blocks: OrderedDict[int, memoryview] = OrderedDict()

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        self._check_open()
        self._position = resolve_seek(offset, whence, self._position, self._info.size)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:  # noqa: D102
        self._check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        stop = min(start + len(view), start + WINDOW_BYTES, self._info.size)
        if stop <= start:
            return 0
        is_sequential = start == self._next
        if not is_sequential:
            self._ahead.stop()
        elif copied := self._ahead.read(start, view[: stop - start]):
            self._position = self._next = start + copied
            return copied
        stop = min(stop, self._ahead.first) if start < self._ahead.first else stop  # what is on its way is not fetched
        self._load(start, stop, is_sequential)
        copied = 0
        for number in range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1):
            block = self._blocks[number]
            offset = number * BLOCK_BYTES
            piece = block[max(start - offset, 0) : stop - offset]
            view[copied : copied + len(piece)] = piece
            copied += len(piece)
        self._position = self._next = stop
        return copied

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Fetches the blocks of all ranges at once, as far as they fit the cache."""
        self._check_open()
        numbers: OrderedDict[int, None] = OrderedDict()
        for start, stop in ranges:
            stop = min(stop, self._info.size)
            if start < stop:
                numbers.update(dict.fromkeys(range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1)))
        self._fetch(list(numbers)[: CACHE_BYTES // BLOCK_BYTES])

    def close(self) -> None:  # noqa: D102
        self._blocks.clear()
        self._ahead.close()
        super().close()

    def _load(self, start: int, stop: int, is_sequential: bool) -> None:
        numbers = range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1)
        if all(number in self._blocks for number in numbers):
            for number in numbers:
                self._blocks.move_to_end(number)
            return
        # The first read of a run fetches what it was asked for; each further one twice as much as before.
        self._width = min(max(2 * self._width, 2 * (stop - start)), WINDOW_BYTES) if is_sequential else 0
        stop = min(max(stop, start + self._width), self._info.size)
        if self._width >= _STREAM_BYTES:  # this is fetched beside what follows it
            self._ahead.begin((stop - 1) // BLOCK_BYTES * BLOCK_BYTES + BLOCK_BYTES, self._waited)
        self._fetch(list(range(numbers.start, (stop - 1) // BLOCK_BYTES + 1)))

    def _fetch(self, numbers: list[int]) -> None:
        for number in numbers:
            if number in self._blocks:
                self._blocks.move_to_end(number)
        missing = sorted(number for number in numbers if number not in self._blocks)
        if not missing:
            return
        ranges = list(_cut_long(_join_near([self._range(n) for n in missing], 0, PART_BYTES), PART_BYTES))
        began = time.monotonic()
        answers = self._source.get_ranges(self._info.identifier, ranges, info=self._info, copy=False)
        self._waited = time.monotonic() - began
        for (start, stop), answer in zip(ranges, answers, strict=True):
            whole = memoryview(answer)
            for offset in range(start, stop, BLOCK_BYTES):
                self._blocks[offset // BLOCK_BYTES] = whole[offset - start : offset - start + BLOCK_BYTES]
        while len(self._blocks) > CACHE_BYTES // BLOCK_BYTES:
            self._blocks.popitem(last=False)

    def _range(self, number: int) -> Range:
        return number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, self._info.size)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"I/O operation on a closed resource: {self._info.identifier}")


def resolve_seek(offset: int, whence: int, position: int, size: int) -> int:
    """The absolute position that a seek asks for; past the end is allowed, before the beginning a ValueError."""
    base = {io.SEEK_SET: 0, io.SEEK_CUR: position, io.SEEK_END: size}.get(whence)
    if base is None:
        raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
    if base + offset < 0:
        # An OSError, as a real file raises it and zipfile expects it, and a ValueError, as BytesIO raises it.
        raise io.UnsupportedOperation(f"negative seek position {base + offset}")
    return base + offset


class _Pauses:
    """How many reads keep the collector off just now, and since when it has been off."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.since = 0.0
        self.was_enabled = False


_pauses = _Pauses()


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keeps the garbage collector off on all threads while a backend is asked for bytes; nests.

    h5py calls a file's methods with its global lock held. If the collector then ran on the backend's I/O thread, or on
    any that holds a lock of the backend, and freed an h5py object there, that thread would wait for h5py's lock, and
    the reader for that thread, for ever (h5py issue 2019). Reads of several threads that overlap without a gap collect
    now and then on a reader's own thread, which nobody waits for. Nothing is paused as long as h5py is not loaded.
    """
    if "h5py" not in sys.modules:
        yield
        return
    pauses = _pauses
    with pauses.lock:
        now = time.monotonic()
        if pauses.count == 0:
            pauses.was_enabled = gc.isenabled()
            pauses.since = now
            gc.disable()
        pauses.count += 1
        overdue = pauses.was_enabled and now - pauses.since > LONGEST_PAUSE
        if overdue:
            pauses.since = now
    try:
        if overdue:
            gc.collect()
        yield
    finally:
        with pauses.lock:
            pauses.count -= 1
            if pauses.count == 0 and pauses.was_enabled:
                gc.enable()


def _forget_pauses() -> None:
    """In a forked child, where the reads of the parent's other threads, and their hold on the lock, never end."""
    global _pauses
    if _pauses.count and _pauses.was_enabled:
        gc.enable()
    _pauses = _Pauses()


os.register_at_fork(after_in_child=_forget_pauses)
