"""What one process reads a web server with: connections, threads, and copies of what is sent only whole."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from datastack_fs.connectors.http_client import CONCURRENCY, Client
from datastack_fs.credentials import expand
from datastack_fs.resource import Range, ResourceInfo

Read: TypeAlias = "bytes | Exception | None"

MOST_COPIES: Final = 4
"""So many whole bodies, of servers that send no ranges, are kept in temporary files at once."""


class Worker(Client):
    """What one process reads with: connections, threads, and copies of what can't be read in ranges."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None,
        auth: Sequence[str] | None,
        query: str | Mapping[str, str] | None,
        deadline: float,
    ) -> None:
        super().__init__(expand(url), expand(headers), expand(auth), expand(query), deadline)
        self._threads = ThreadPoolExecutor(CONCURRENCY, "datastack-http")  # it starts no thread before it has work
        self.copying = threading.Lock()
        self.copies: OrderedDict[tuple[str, str], Copy] = OrderedDict()

    def map(self, read: Callable[[Range], Read], ranges: Sequence[Range]) -> list[Read]:
        """Reads the ranges, some at once. After one failed no other is begun: they answer with that failure."""
        failed: list[Exception | None] = []

        def read_unless_failed(wanted: Range) -> Read:
            if failed:
                return failed[0]
            answer = read(wanted)
            if not isinstance(answer, bytes):
                failed.append(answer)
            return answer

        if len(ranges) == 1:
            return [read(ranges[0])]
        return list(self._threads.map(read_unless_failed, ranges))

    def keep(self, info: ResourceInfo, copy: Copy) -> None:
        """Keeps a copy, and lets go of the oldest."""
        self.copies[info.identifier, info.version] = copy
        while len(self.copies) > MOST_COPIES:
            self.copies.popitem(last=False)

    def close(self) -> None:
        """Ends what nobody uses; the threads end when the last of them lets go of this object."""
        self.copies.clear()
        super().close()


class Copy:
    """A whole body in an unnamed temporary file, which goes with the last reference to this object."""

    def __init__(self, blocks: Iterator[bytes], most: int) -> None:
        self.size = 0
        self._descriptor = -1
        with tempfile.TemporaryFile(prefix="datastack-") as file:
            for block in blocks:
                self.size += len(block)
                if self.size > most:
                    return
                file.write(block)
            file.flush()
            self._descriptor = os.dup(file.fileno())

    def read(self, wanted: Range) -> bytes:
        """A range of it."""
        return os.pread(self._descriptor, wanted[1] - wanted[0], wanted[0])

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
