"""A large file fetched by several connections at once, and handed out in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

import urllib3

from datastack_fs.errors import RetrievalError
from datastack_fs.retrieval.download import BeginAnew, Blocks, Download, Version, body
from datastack_fs.retrieval.progress import StoppedError
from datastack_fs.retrieval.web import TransientError

if TYPE_CHECKING:
    import requests

SMALLEST_BYTES: Final = 32 << 20
"""Smaller files come by one connection."""

PART_BYTES: Final = 8 << 20
"""What one request fetches; as many of them as there are connections are held in memory."""


class Parts:
    """The parts of one version of a file; each is tried again, and goes on where it broke off, by itself.

    Args:
        download: asks for ranges.
        version: what all of them must be of.
        connections: how many parts are fetched or held at the same time.
    """

    def __init__(self, download: Download, version: Version, connections: int) -> None:
        self._download = download
        self._version = version
        self._connections = connections
        self._left = threading.Event()

    @staticmethod
    def suit(version: Version, start: int, connections: int) -> bool:
        """Whether the rest of a file is worth it, and its server able."""
        large = version.size is not None and version.size - start >= SMALLEST_BYTES
        return connections > 1 and large and version.ranges and version.etag is not None

    def blocks(self, first: requests.Response, begin: int) -> Blocks:
        """Yields the file from some place on.

        Args:
            first: an answer that has all of that, and of which the first part is used.
            begin: the place.

        Raises:
            RetrievalError: a part can't be had now.
            BeginAnew: the file changed, or the server refuses parts after all.
        """
        size = self._version.size or 0
        pool = ThreadPoolExecutor(self._connections, thread_name_prefix="retrieve-part")
        waiting: deque[Future[list[bytes]]] = deque()
        try:
            for start in range(begin, size, PART_BYTES):
                answer = first if start == begin else None
                waiting.append(pool.submit(self._part, start, min(start + PART_BYTES, size), answer))
                if len(waiting) == self._connections:
                    yield from self._handed_out(waiting)
            while waiting:
                yield from self._handed_out(waiting)
        finally:
            self._left.set()
            if waiting:
                self._download.web.cut()
            pool.shutdown(cancel_futures=True)

    def _handed_out(self, waiting: deque[Future[list[bytes]]]) -> Iterator[bytes]:
        blocks = waiting.popleft().result()
        for position, block in enumerate(blocks):
            blocks[position] = b""  # let go of it as soon as it is stored
            yield block
        self._download.deadline.progress()

    def _part(self, start: int, stop: int, answer: requests.Response | None) -> list[bytes]:
        blocks: list[bytes] = []
        came = start
        while True:
            after = 0.0
            failure = self._download.web.failure(f"a part broke off after {came:,} bytes")
            try:
                with self._answered(answer, came, stop) as response:
                    for block in body(response):
                        self._go_on()
                        blocks.append(block[: stop - came])
                        came += len(blocks[-1])
                        self._download.deadline.progress()
                        if came == stop:
                            return blocks
            except urllib3.exceptions.HTTPError as error:
                failure = self._download.web.failure(f"a part broke off after {came:,} bytes", error)
            except TransientError as error:
                failure, after = error.failure, error.after
            except RetrievalError as error:  # so many at once may be too many for it: one connection will tell
                raise BeginAnew from error
            answer = None
            self._go_on()
            self._download.deadline.wait(failure, after)

    def _answered(
        self, answer: requests.Response | None, start: int, stop: int
    ) -> AbstractContextManager[requests.Response]:
        return self._download.answer(self._version, start, stop) if answer is None else answer

    def _go_on(self) -> None:
        if self._left.is_set():
            raise StoppedError
