"""What comes next of a resource that is read from front to back: fetched in parallel while the rest is used."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from datastack_fs.resource import Content, Range, ResourceInfo

PART_BYTES: Final = 2 << 20
"""Size of one request."""

_FIRST: Final = 4
_MOST: Final = 16
"""Requests in flight: 8 MiB at first, 32 MiB for whoever has to wait. The allocator may hold twice as much again."""

_LONG_WAIT: Final = 0.005
"""Seconds: who waits less is not held up by a network."""


class RangeSource(Protocol):
    """Whoever can fetch many ranges of one version at once: a storage connector."""

    def get_ranges(  # noqa: D102
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: bool
    ) -> Sequence[Content]: ...


class _Part(NamedTuple):
    start: int
    stop: int
    content: Future[memoryview]


class ReadAhead:
    """The parts that follow a position, in order; some are being fetched, some wait to be read.

    They are many as soon as whoever reads has to wait. What a part meets (a replaced resource, a lost server) is raised
    when it is that part's turn. Its threads end once what they fetch is there; a forked child begins anew.
    """

    def __init__(self, source: RangeSource, info: ResourceInfo) -> None:
        self._source, self._info = source, info
        self._parts: deque[_Part] = deque()
        self._end = 0
        self._depth = _FIRST
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    @property
    def first(self) -> int:
        """Where the first part begins; -1 without any."""
        return self._parts[0].start if self._parts else -1

    def begin(self, position: int, waited: float) -> None:
        """Starts to fetch what follows a position, as far as the seconds that the read before took make it worth it."""
        self.stop()
        self._end = position
        self._depth = _MOST if waited > _LONG_WAIT else _FIRST
        self._fill()

    def read(self, position: int, view: memoryview) -> int:
        """Copies what lies at a position, as far as one part reaches; 0 for what is not on its way."""
        if os.getpid() != self._process:
            self._forget()
        while self._parts and self._parts[0].stop <= position:
            self._parts.popleft()
        if not self._parts or position < self._parts[0].start:
            return 0
        part = self._parts[0]
        self._fill()
        began = time.monotonic()
        try:
            content = part.content.result()
        except BaseException:
            self.stop()
            raise
        if self._depth < _MOST and time.monotonic() - began > _LONG_WAIT:
            self._depth = _MOST
            self._fill()
        offset = position - part.start
        piece = content[offset : offset + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def stop(self) -> None:
        """Lets go of what is on its way; nothing more is begun."""
        for part in self._parts:
            part.content.cancel()
        self._parts.clear()

    def close(self) -> None:
        """Ends the threads. Nobody waits for them: the garbage collector may call this on a thread that they need."""
        if os.getpid() != self._process:
            self._forget()
        self.stop()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _fill(self) -> None:
        while len(self._parts) < self._depth and self._end < self._info.size:
            start, stop = self._end, min(self._end + PART_BYTES, self._info.size)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MOST, "datastack-read-ahead")
            self._parts.append(_Part(start, stop, self._pool.submit(_fetch, self._source, self._info, start, stop)))
            self._end = stop

    def _forget(self) -> None:
        """In a forked child, which has none of the threads."""
        self._parts, self._pool, self._process = deque(), None, os.getpid()


def _fetch(source: RangeSource, info: ResourceInfo, start: int, stop: int) -> memoryview:
    (content,) = source.get_ranges(info.identifier, [(start, stop)], info=info, copy=False)
    return memoryview(content)
