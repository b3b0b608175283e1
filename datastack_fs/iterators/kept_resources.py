"""What batch after batch wants of a resource: fetched once, in large blocks where most of it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.fetched_ranges import FetchedRanges, Share
from datastack_fs.iterators.planning import Answers, ByteRanges, fetched

BLOCK_BYTES: Final = 8 << 20
_WORTH_IT: Final = 0.5  # of the bytes of a resource, wanted in all
_WORTH_SHARING: Final = 2 << 10  # bytes of a range: smaller ones are rows, which no other batch wants


class KeptResources:
    """Answers requests, some of them from what earlier requests brought; threads may share it.

    A few large requests are far quicker than thousands of small ones, so where all batches together want most of a
    resource that fits into memory, its blocks are fetched as they are wanted, and then serve every later batch. Of
    others, the same ranges (chunks, groups of rows) that near batches want are fetched once.

    Args:
        max_bytes: most memory for both.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("kept-example")
        >>> info = connector.set_resource("abc", b"abcdef")
        >>> request = ByteRanges(connector, "abc", info, [(0, 2), (4, 6)])
        >>> kept = KeptResources(max_bytes=1000)
        >>> kept.choose([request], times=10)
        >>> [[bytes(answer) for answer in answers] for answers in kept.answers([request])]
        [[b'ab', b'ef']]
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._kept: set[Any] = set()
        self._blocks = FetchedRanges()
        self._shared = FetchedRanges(max_bytes)

    def choose(self, requests: Sequence[ByteRanges], times: int) -> None:
        """Decides which resources are kept, when so many batches want about as much as these requests do."""
        wanted: dict[Any, int] = {}
        sizes: dict[Any, int] = {}
        for request in requests:
            wanted[request.resource] = wanted.get(request.resource, 0) + max(request.size, request.touched)
            sizes[request.resource] = request.info.size
        for resource, size in sizes.items():
            if times > 1 and wanted[resource] * times >= size * _WORTH_IT and size <= self._left:
                self._kept.add(resource)
                self._left -= size
        self._shared = FetchedRanges(self._left)

    def answers(self, requests: Sequence[ByteRanges]) -> list[Answers]:
        """The answers to all requests; what is missing for them is fetched at once."""
        shares = [self._share(request) for request in requests]
        claims = [(ranges, share.claim) for ranges, share in filter(None, shares) if share.claim is not None]
        others = [request for request, share in zip(requests, shares, strict=True) if share is None]
        try:
            found = fetched([*others, *(claim.request for _, claim in claims)])
        except BaseException as error:
            for ranges, claim in claims:
                ranges.give_up(claim, error)
            raise
        for (_, claim), contents in zip(claims, found[len(others) :], strict=True):
            claim.answers.set_result(contents)
        direct = iter(found)
        return [
            next(direct) if share is None else self._answers(request, *share)
            for request, share in zip(requests, shares, strict=True)
        ]

    def keeps(self, request: ByteRanges) -> bool:
        """Whether the resource of a request is fetched as a whole, and kept."""
        return request.resource in self._kept

    def missing(self, requests: Sequence[ByteRanges]) -> list[ByteRanges]:
        """What ``answers`` would fetch for these requests, which counts as fetched from now on."""
        missing = []
        for request in requests:
            found = self._share(request)
            if found is None:
                missing.append(request)
            elif found[1].claim is not None:
                missing.append(found[1].claim.request)
        return missing

    def _share(self, request: ByteRanges) -> tuple[FetchedRanges, Share] | None:
        if request.resource in self._kept:
            ranges = [_range_of(number, request) for number in _blocks_of(request)]
            return self._blocks, self._blocks.share(replace(request, ranges=ranges))
        if _is_shared(request):
            return self._shared, self._shared.share(request)
        return None

    def _answers(self, request: ByteRanges, ranges: FetchedRanges, share: Share) -> Answers:
        found = share.answers()
        if ranges is not self._blocks:
            return found
        contents = {number: memoryview(block) for number, block in zip(_blocks_of(request), found, strict=True)}
        return _cut(request, contents)


def _is_shared(request: ByteRanges) -> bool:
    return request.size >= _WORTH_SHARING * len(request.ranges) > 0


def _range_of(number: int, request: ByteRanges) -> tuple[int, int]:
    start = number * BLOCK_BYTES
    return start, min(start + BLOCK_BYTES, request.info.size)


def _cut(request: ByteRanges, contents: dict[int, memoryview]) -> Answers:
    """The bytes of each range out of the blocks."""
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
