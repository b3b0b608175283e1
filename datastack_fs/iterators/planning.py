"""What a batch needs to be fetched, and what it is once that is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from datastack_fs.threads import map_in_threads

T_co = TypeVar("T_co", covariant=True)
OtherT = TypeVar("OtherT")

Answers: TypeAlias = Sequence[Any]
"""The bytes of each range of a request, as ``bytes`` or ``memoryview``, in the order of its ranges."""

_STORES_AT_ONCE: Final = 16


class RangeSource(Protocol):
    """What iterators know of a storage connector: it reads ranges of bytes."""

    @property
    def url(self) -> str:
        """Its address, without secrets."""

    def get_ranges(
        self, identifier: str, ranges: Sequence[tuple[int, int]], *, info: Any = None, copy: bool
    ) -> Sequence[Any]:
        """The bytes of each range of that version; views, where nothing is to be copied."""

    def get_many_ranges(self, wanted: Sequence[tuple[Any, Sequence[tuple[int, int]]]]) -> Sequence[Sequence[Any]]:
        """The same of many resources, by their versions."""


@dataclass(frozen=True, slots=True)
class ByteRanges:
    """Ranges of one version of a resource.

    Attributes:
        source: the connector of its store.
        identifier: its name there.
        info: its version, in the connector's own terms.
        ranges: half-open, in any order; they may overlap.
        touched: the bytes of the chunks in which they lie, where they are parts of chunks: what other batches want of
            these lies near, so it tells how much of the resource will be wanted in all.
    """

    source: RangeSource
    identifier: str
    info: Any
    ranges: Sequence[tuple[int, int]]
    touched: int = 0

    @property
    def resource(self) -> tuple[int, str, Any]:
        """What tells this version of the resource from others in this process."""
        return id(self.source), self.identifier, self.info

    @property
    def size(self) -> int:
        """The bytes that are asked for."""
        return sum(stop - start for start, stop in self.ranges)


@dataclass(frozen=True, slots=True)
class Plan(Generic[T_co]):
    """A batch before it is read: what to fetch for it, and how to make it of the answers.

    Attributes:
        requests: what to fetch; nothing for what is local or in memory.
        decode: makes of the answers to each request what ``finish`` gets. Any thread may call it, and several at once:
            code of the library alone.
        finish: makes the batch of that, in the thread of whoever reads, and batch after batch: also a caller's code.
        is_known: False if more is read than the requests say.

    Examples:
        >>> plan = Plan.unfetched(lambda: [1, 2, 3]).then(sum)
        >>> plan.read(), plan.size
        (6, 0)
    """

    requests: Sequence[ByteRanges]
    decode: Callable[[Sequence[Answers]], Any]
    finish: Callable[[Any], T_co]
    is_known: bool = True

    @classmethod
    def of(cls, requests: Sequence[ByteRanges], decode: Callable[[Sequence[Answers]], OtherT]) -> Plan[OtherT]:
        """A batch that any thread may make of the answers to some requests."""
        return Plan(requests, decode, _itself)

    @classmethod
    def fetching(cls, request: ByteRanges) -> Plan[Answers]:
        """The answers to one request, as they are."""
        return Plan([request], lambda answers: answers[0], _itself)

    @classmethod
    def unfetched(cls, read: Callable[[], OtherT], *, is_known: bool = True) -> Plan[OtherT]:
        """A batch that a function gives, without anything that would be fetched for it beforehand."""
        return Plan((), _itself, lambda _: read(), is_known)

    @property
    def size(self) -> int:
        """The bytes that are to be fetched."""
        return sum(request.size for request in self.requests)

    def read(self) -> T_co:
        """Fetches what is needed, all at once, and makes the batch."""
        return self.finish(self.decode(fetched(self.requests)))

    def decoded_by(self, function: Callable[[T_co], OtherT]) -> Plan[OtherT]:
        """The same, with the batch put through code of the library, which any thread may call; ``finish``, too."""
        decode, finish = self.decode, self.finish
        return Plan(self.requests, lambda answers: function(finish(decode(answers))), _itself, self.is_known)

    def then(self, function: Callable[[T_co], OtherT]) -> Plan[OtherT]:
        """The same, with the batch put through a function at last."""
        finish = self.finish
        return Plan(self.requests, self.decode, lambda decoded: function(finish(decoded)), self.is_known)


def joint(plans: Sequence[Plan[Any]], join: Callable[[list[Any]], OtherT]) -> Plan[OtherT]:
    """Several plans as one, whose batch is made of theirs.

    Examples:
        >>> joint([Plan.unfetched(lambda: 1), Plan.unfetched(lambda: 2)], sum).read()
        3
    """
    ends = [0, *accumulate(len(plan.requests) for plan in plans)]

    def decode(answers: Sequence[Answers]) -> list[Any]:
        parts = zip(plans, ends, ends[1:], strict=False)
        return [plan.decode(answers[start:stop]) for plan, start, stop in parts]

    def finish(decoded: Sequence[Any]) -> OtherT:
        return join([plan.finish(part) for plan, part in zip(plans, decoded, strict=True)])

    requests = [request for plan in plans for request in plan.requests]
    return Plan(requests, decode, finish, all(plan.is_known for plan in plans))


def _itself(value: Any) -> Any:
    return value


def fetched(requests: Sequence[ByteRanges]) -> list[Answers]:
    """The answers to all requests: one call for each store, in which each resource is asked for once."""
    stores: dict[int, dict[tuple[int, str, Any], list[int]]] = {}
    for number, request in enumerate(requests):
        if request.ranges:
            stores.setdefault(id(request.source), {}).setdefault(request.resource, []).append(number)

    def fetch(groups: list[list[int]]) -> Sequence[Answers]:
        wanted = [
            (requests[numbers[0]].info, [each for number in numbers for each in requests[number].ranges])
            for numbers in groups
        ]
        first = requests[groups[0][0]]
        if len(wanted) > 1:
            return first.source.get_many_ranges(wanted)
        ((info, ranges),) = wanted
        return [first.source.get_ranges(first.identifier, ranges, info=info, copy=False)]

    found: list[Answers] = [()] * len(requests)  # what a request without ranges gets
    by_store = [list(resources.values()) for resources in stores.values()]
    for groups, read in zip(by_store, map_in_threads(fetch, by_store, _STORES_AT_ONCE), strict=True):
        for numbers, answers in zip(groups, read, strict=True):
            start = 0
            for number in numbers:
                stop = start + len(requests[number].ranges)
                found[number] = answers[start:stop]
                start = stop
    return found


def merged(requests: Sequence[ByteRanges]) -> list[ByteRanges]:
    """The same bytes with one request for each resource, its ranges sorted, and joined where they meet or overlap.

    Examples:
        >>> both = [ByteRanges(None, "a", 1, [(4, 9)]), ByteRanges(None, "a", 1, [(0, 2), (2, 5)])]
        >>> [(each.identifier, each.ranges) for each in merged(both)]
        [('a', [(0, 9)])]
    """
    together: dict[tuple[int, str, Any], list[ByteRanges]] = {}
    for request in requests:
        if request.ranges:
            together.setdefault(request.resource, []).append(request)
    return [replace(same[0], ranges=_union(same)) for same in together.values()]


def _union(requests: Sequence[ByteRanges]) -> list[tuple[int, int]]:
    union: list[tuple[int, int]] = []
    for start, stop in sorted(wanted for request in requests for wanted in request.ranges if wanted[0] < wanted[1]):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(stop, union[-1][1]))
        else:
            union.append((start, stop))
    return union
