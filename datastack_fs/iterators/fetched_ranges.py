"""Ranges that several batches want: whoever comes first fetches them, and the others wait for that."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from datastack_fs.iterators.planning import Answers, ByteRanges

_Key: TypeAlias = tuple[Any, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """Ranges that somebody has promised to fetch.

    Attributes:
        request: what is to be fetched.
        answers: what came of it; whoever claimed it sets this.
    """

    request: ByteRanges
    answers: Future[Answers]


@dataclass(frozen=True, slots=True)
class Share:
    """What becomes of one request.

    Attributes:
        claim: what is left for the caller to fetch, if anything.
        places: where each range of the request comes, as a claim and a number among its ranges.
    """

    claim: Claim | None
    places: Sequence[tuple[Claim, int]]

    def answers(self) -> list[Any]:
        """The bytes of each range, when all are there."""
        return [claim.answers.result()[place] for claim, place in self.places]


class FetchedRanges:
    """Ranges by the resource that they are of, kept up to a bound; what was claimed first goes first.

    Args:
        max_bytes: the most that is kept; by default, all is.

    Examples:
        >>> request, ranges = ByteRanges(None, "abc", "v1", [(0, 2), (4, 6)]), FetchedRanges()
        >>> first, second = ranges.share(request), ranges.share(request)
        >>> first.claim.answers.set_result([b"ab", b"ef"])
        >>> second.claim, second.answers()
        (None, [b'ab', b'ef'])
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._left = max_bytes
        self._places: dict[_Key, tuple[Claim, int]] = {}
        self._claims: deque[Claim] = deque()
        self._lock = threading.Lock()

    def share(self, request: ByteRanges) -> Share:
        """Claims the ranges of a request that nobody has claimed, and tells where all of them come."""
        resource = request.resource
        with self._lock:
            missing = [wanted for wanted in dict.fromkeys(request.ranges) if (resource, wanted) not in self._places]
            claim = Claim(replace(request, ranges=missing), Future()) if missing else None
            if claim is not None:
                self._places.update(((resource, wanted), (claim, place)) for place, wanted in enumerate(missing))
                self._claims.append(claim)
            places = [self._places[resource, wanted] for wanted in request.ranges]
            if claim is not None and self._left is not None:
                self._left -= claim.request.size
                while self._left < 0:
                    self._forget(self._claims[0])
        return Share(claim, places)

    def give_up(self, claim: Claim, error: BaseException) -> None:
        """Tells those who wait for it; whoever comes later claims anew."""
        with self._lock:
            if claim in self._claims:
                self._forget(claim)
        claim.answers.set_exception(error)

    def _forget(self, claim: Claim) -> None:
        self._claims.remove(claim)
        resource = claim.request.resource
        for wanted in claim.request.ranges:
            del self._places[resource, wanted]
        if self._left is not None:
            self._left += claim.request.size
