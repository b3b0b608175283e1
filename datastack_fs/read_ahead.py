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

_PARTS: Final = 2  # of a window, which is fetched by one call
_FIRST: Final = 2
_MOST: Final = 8
"""Windows in flight: so many at first, and at most 32 MiB in 16 requests, if whoever reads has to wait."""


_LONG_WAIT: Final = 0.005
"""Seconds: who waits less is not held up by a network."""


class RangeSource(Protocol):
    """Whoever can fetch many ranges of one version at once: a storage connector."""

    def get_ranges(  # noqa: D102
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: bool
    ) -> Sequence[Content]: ...


class _Window(NamedTuple):
    start: int
    stop: int
    parts: Future[list[memoryview]]


class ReadAhead:
    """The windows that follow a position, in order; some are being fetched, some wait to be read.

    It widens while whoever reads has to wait for it. What a window meets (a replaced resource, a lost server) is raised
    when it is that window's turn. Its threads end once what they fetch is there; a forked child begins anew.
    """

    def __init__(self, source: RangeSource, info: ResourceInfo) -> None:
        self._source, self._info = source, info
        self._windows: deque[_Window] = deque()
        self._end = 0
        self._depth = _FIRST
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    @property
    def first(self) -> int:
        """Where the first window begins; -1 without any."""
        return self._windows[0].start if self._windows else -1

    def begin(self, position: int) -> None:
        """Starts to fetch what follows a position."""
        self.stop()
        self._end = position
        self._depth = _FIRST
        self._fill()

    def read(self, position: int, view: memoryview) -> int:
        """Copies what lies at a position, as far as one part of it reaches; 0 for what is not on its way."""
        if os.getpid() != self._process:
            self._forget()
        while self._windows and self._windows[0].stop <= position:
            self._windows.popleft()
        if not self._windows or position < self._windows[0].start:
            return 0
        window = self._windows[0]
        self._fill()
        began = time.monotonic()
        try:
            parts = window.parts.result()
        except BaseException:
            self.stop()
            raise
        if time.monotonic() - began > _LONG_WAIT and self._depth < _MOST:
            self._depth *= 2
            self._fill()
        number, offset = divmod(position - window.start, PART_BYTES)
        piece = parts[number][offset : offset + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def stop(self) -> None:
        """Lets go of what is on its way; nothing more is begun."""
        for window in self._windows:
            window.parts.cancel()
        self._windows.clear()

    def close(self) -> None:
        """Ends the threads. Nobody waits for them: the garbage collector may call this on a thread that they need."""
        if os.getpid() != self._process:
            self._forget()
        self.stop()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _fill(self) -> None:
        while len(self._windows) < self._depth and self._end < self._info.size:
            start, stop = self._end, min(self._end + _PARTS * PART_BYTES, self._info.size)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MOST, "datastack-read-ahead")
            self._windows.append(_Window(start, stop, self._pool.submit(_fetch, self._source, self._info, start, stop)))
            self._end = stop

    def _forget(self) -> None:
        """In a forked child, which has none of the threads."""
        self._windows, self._pool, self._process = deque(), None, os.getpid()


def _fetch(source: RangeSource, info: ResourceInfo, start: int, stop: int) -> list[memoryview]:
    ranges = [(at, min(at + PART_BYTES, stop)) for at in range(start, stop, PART_BYTES)]
    return [memoryview(part) for part in source.get_ranges(info.identifier, ranges, info=info, copy=False)]
