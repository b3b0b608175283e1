"""Resources of which batch after batch wants a part: fetched in large blocks, each once, and kept while they last."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.planning import Answers, ByteRanges, fetched

BLOCK_BYTES: Final = 8 << 20
_WORTH_IT: Final = 0.5  # of the bytes of a resource, wanted in all


class KeptResources:
    """Answers requests, some of them from resources that are kept in memory; threads may share it.

    A few large requests are far quicker than thousands of small ones, so where all batches together want most of a
    resource that fits into memory, its blocks are fetched as they are wanted, and then serve every later batch.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("kept-example")
        >>> info = connector.set_resource("abc", b"abcdef")
        >>> request = ByteRanges(connector, "abc", info, [(0, 2), (4, 6)])
        >>> kept = KeptResources()
        >>> kept.choose([request], times=10, most_bytes=1000)
        6
        >>> [[bytes(answer) for answer in answers] for answers in kept.answers([request])]
        [[b'ab', b'ef']]
    """

    def __init__(self) -> None:
        self._blocks: dict[Any, dict[int, Future[Any]]] = {}
        self._lock = threading.Lock()

    def choose(self, requests: Sequence[ByteRanges], times: int, most_bytes: int) -> int:
        """Decides which resources are kept, when so many batches want about as much as these requests do.

        Returns:
            the bytes that they take, at most ``most_bytes``.
        """
        wanted: dict[Any, int] = {}
        sizes: dict[Any, int] = {}
        for request in requests:
            wanted[request.resource] = wanted.get(request.resource, 0) + request.size
            sizes[request.resource] = request.info.size
        taken = 0
        for resource, size in sizes.items():
            if times > 1 and wanted[resource] * times >= size * _WORTH_IT and taken + size <= most_bytes:
                self._blocks[resource] = {}
                taken += size
        return taken

    def answers(self, requests: Sequence[ByteRanges]) -> list[Answers]:
        """The answers to all requests; what is missing for them is fetched at once."""
        claims = [claim for request in requests if (claim := self._claim(request)) is not None]
        others = [request for request in requests if request.resource not in self._blocks]
        try:
            found = fetched([*others, *(blocks for blocks, _ in claims)])
        except BaseException as error:
            for blocks, futures in claims:
                self._give_up(blocks, futures, error)
            raise
        for (_, futures), contents in zip(claims, found[len(others) :], strict=True):
            for future, content in zip(futures, contents, strict=True):
                future.set_result(memoryview(content))
        direct = iter(found)
        return [self._cut(request) if request.resource in self._blocks else next(direct) for request in requests]

    def _claim(self, request: ByteRanges) -> tuple[ByteRanges, list[Future[Any]]] | None:
        """The blocks that this request is the first to need, and the promises that they come."""
        blocks = self._blocks.get(request.resource)
        if blocks is None:
            return None
        needed = _blocks_of(request)
        with self._lock:
            missing = [number for number in needed if number not in blocks]
            futures: list[Future[Any]] = [Future() for _ in missing]
            blocks.update(zip(missing, futures, strict=True))
        starts = [number * BLOCK_BYTES for number in missing]
        ranges = [(start, min(start + BLOCK_BYTES, request.info.size)) for start in starts]
        return (replace(request, ranges=ranges), futures) if missing else None

    def _give_up(self, request: ByteRanges, futures: Sequence[Future[Any]], error: BaseException) -> None:
        """Tells those who wait for the blocks; who comes later tries anew."""
        with self._lock:
            for start, _ in request.ranges:
                del self._blocks[request.resource][start // BLOCK_BYTES]
        for future in futures:
            future.set_exception(error)

    def _cut(self, request: ByteRanges) -> Answers:
        """The bytes of each range out of the blocks, when all of them are there."""
        with self._lock:
            promised = self._blocks[request.resource]
            futures = {number: promised[number] for number in _blocks_of(request)}
        contents: dict[int, memoryview] = {number: future.result() for number, future in futures.items()}
        found: list[Any] = []
        for start, stop in request.ranges:
            number = start // BLOCK_BYTES
            offset = number * BLOCK_BYTES
            if stop <= offset + BLOCK_BYTES:
                found.append(contents[number][start - offset : stop - offset] if start < stop else b"")
            else:
                inner = range(number + 1, (stop - 1) // BLOCK_BYTES)
                last = (stop - 1) // BLOCK_BYTES
                parts = [contents[number][start - offset :], *(contents[each] for each in inner)]
                found.append(b"".join([*parts, contents[last][: stop - last * BLOCK_BYTES]]))
        return found


def _blocks_of(request: ByteRanges) -> list[int]:
    """The numbers of the blocks that the ranges touch, in order."""
    ranges = np.array(request.ranges, np.int64).reshape(-1, 2)
    ranges = ranges[ranges[:, 0] < ranges[:, 1]]
    first, last = ranges[:, 0] // BLOCK_BYTES, (ranges[:, 1] - 1) // BLOCK_BYTES
    numbers = np.unique(np.concatenate([first, last]))
    wide = np.flatnonzero(last - first > 1)  # blocks within them are touched, too
    inner = [np.arange(first[each], last[each]) for each in wide.tolist()]
    found: list[int] = np.unique(np.concatenate([numbers, *inner])).tolist()
    return found
