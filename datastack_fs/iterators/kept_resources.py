"""What batch after batch wants of a resource: fetched once, in large blocks where most of it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.fetched_ranges import FetchedRanges, Share
from datastack_fs.iterators.indices import IndexArray
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
        cuts = [self._cut(request) for request in requests]
        shares = [self._share(request, cut) for request, cut in zip(requests, cuts, strict=True)]
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
            next(direct) if share is None else _answers(share[1], cut) for cut, share in zip(cuts, shares, strict=True)
        ]

    def keeps(self, request: ByteRanges) -> bool:
        """Whether the resource of a request is fetched as a whole, and kept."""
        return request.resource in self._kept

    def missing(self, requests: Sequence[ByteRanges]) -> list[ByteRanges]:
        """What ``answers`` would fetch for these requests, which counts as fetched from now on."""
        missing = []
        for request in requests:
            found = self._share(request, self._cut(request))
            if found is None:
                missing.append(request)
            elif found[1].claim is not None:
                missing.append(found[1].claim.request)
        return missing

    def _cut(self, request: ByteRanges) -> _Cut | None:
        return _Cut.of(request) if self.keeps(request) else None

    def _share(self, request: ByteRanges, cut: _Cut | None) -> tuple[FetchedRanges, Share] | None:
        if cut is not None:
            return self._blocks, self._blocks.share(replace(request, ranges=cut.blocks(request.info.size)))
        if _is_shared(request):
            return self._shared, self._shared.share(request)
        return None


def _answers(share: Share, cut: _Cut | None) -> Answers:
    return share.answers() if cut is None else cut.answers(share.answers())


def _is_shared(request: ByteRanges) -> bool:
    return request.size >= _WORTH_SHARING * len(request.ranges) > 0


@dataclass(frozen=True)
class _Cut:
    """The ranges of a request as parts of blocks.

    Attributes:
        numbers: of the blocks that the ranges touch, in order.
        starts, stops: of each range.
    """

    numbers: list[int]
    starts: IndexArray
    stops: IndexArray

    @classmethod
    def of(cls, request: ByteRanges) -> _Cut:
        both = np.fromiter(chain.from_iterable(request.ranges), np.int64, 2 * len(request.ranges)).reshape(-1, 2)
        starts, stops = both[:, 0], both[:, 1]
        is_any = starts < stops
        first, last = starts[is_any] // BLOCK_BYTES, (stops[is_any] - 1) // BLOCK_BYTES
        numbers = np.unique(np.concatenate([first, last]))
        wide = np.flatnonzero(last - first > 1)  # blocks within them are touched, too
        inner = [np.arange(first[each], last[each]) for each in wide.tolist()]
        return cls(np.unique(np.concatenate([numbers, *inner])).tolist(), starts, stops)

    def blocks(self, size: int) -> list[tuple[int, int]]:
        """The ranges of these blocks in a resource of so many bytes."""
        return [(number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, size)) for number in self.numbers]

    def answers(self, blocks: Sequence[Any]) -> Answers:
        """The bytes of each range out of the blocks."""
        contents = {number: memoryview(block) for number, block in zip(self.numbers, blocks, strict=True)}
        first = self.starts // BLOCK_BYTES
        begins = first * BLOCK_BYTES
        parts = zip(first.tolist(), (self.starts - begins).tolist(), (self.stops - begins).tolist(), strict=True)
        return [
            contents[number][start:stop] if start < stop <= BLOCK_BYTES else _joined(contents, number, start, stop)
            for number, start, stop in parts
        ]


def _joined(contents: dict[int, memoryview], number: int, start: int, stop: int) -> bytes:
    """Bytes of several blocks, from a place in one of them on; there may be none."""
    if start >= stop:
        return b""
    following = range(number + 1, number + -(-stop // BLOCK_BYTES))
    end = stop - len(following) * BLOCK_BYTES
    pieces = [contents[each] for each in following]
    return b"".join([contents[number][start:], *pieces[:-1], pieces[-1][:end]])
