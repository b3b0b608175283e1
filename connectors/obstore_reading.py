"""What the connectors share that read through obstore where it is installed, and through another library elsewhere."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from datastack_fs.connectors.obstore_ranges import ObstoreRanges, Piece
from datastack_fs.errors import DatastackError
from datastack_fs.reading import RangePlan, collection_paused
from datastack_fs.resource import Content, Range, ResourceInfo
from datastack_fs.storage import StorageConnector
from datastack_fs.storage_cache import Request

logger = logging.getLogger(__name__)


class ObstoreReading(StorageConnector):
    """A store whose ranges are read through obstore first; the other library reads, or judges, what that leaves.

    Subclasses set ``_is_fast`` in their constructor.
    """

    other_engine: ClassVar[str]
    """The library that reads what obstore does not."""

    _is_fast: bool

    @property
    def engine(self) -> str:
        """What many ranges are read through in this process just now: ``"obstore"``, or the other library's name."""
        return "obstore" if self._is_fast and self._fast().is_usable else self.other_engine

    @abstractmethod
    def _fast(self) -> ObstoreRanges:
        """This process's reader through obstore."""

    @abstractmethod
    def _key(self, identifier: str) -> str:
        """The name of the object."""

    @abstractmethod
    def _read_otherwise(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[Content | Exception]:
        """What ``_read_ranges`` is to give, without obstore."""

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[Content | Exception]:
        if not self._is_fast:
            return self._read_otherwise(info, ranges)
        fast, key = self._fast(), self._key(info.identifier)
        pieces = [Piece(key, wanted, info.version) for wanted in ranges]
        if not fast.takes(pieces):
            return self._judged(fast, info, ranges)
        found = fast.read(pieces)
        missing = [wanted for wanted, answer in zip(ranges, found, strict=True) if answer is None]
        if not missing:
            return [answer for answer in found if answer is not None]
        others = self._judged(fast, info, missing)
        if not any(isinstance(answer, Exception) for answer in others):
            fast.note_failure()
            logger.debug("%d ranges of %s were read through %s", len(missing), self.url, self.other_engine)
        rest = iter(others)
        return [next(rest) if answer is None else answer for answer in found]

    def _judged(
        self, fast: ObstoreRanges, info: ResourceInfo, ranges: Sequence[Range]
    ) -> Sequence[Content | Exception]:
        """What the other library reads. Errors of our own, such as a changed version, are answers of the store, too."""
        answers = self._read_otherwise(info, ranges)
        if any(isinstance(answer, DatastackError) or not isinstance(answer, Exception) for answer in answers):
            fast.note_answer()
        return answers

    def _read_whole(self, wanted: Sequence[str | ResourceInfo]) -> list[bytes]:
        if not self._is_fast:
            return super()._read_whole(wanted)
        with collection_paused():
            found = self._fast().read([self._whole(each) for each in wanted])
        for each, answer in zip(wanted, found, strict=True):
            if answer is not None:
                identifier = each if isinstance(each, str) else each.identifier
                self.meter.note(identifier, requests=1, fetched_bytes=len(answer), used_bytes=len(answer))
        rest = iter(super()._read_whole([each for each, answer in zip(wanted, found, strict=True) if answer is None]))
        return [next(rest) if answer is None else bytes(answer) for answer in found]

    def _read_many(self, wanted: Sequence[Request]) -> list[Sequence[Content]]:
        if not self._is_fast or len(wanted) < 2:
            return super()._read_many(wanted)
        plans = [RangePlan(ranges, gap=self.gap_bytes, part=self.part_bytes) for _, ranges in wanted]
        pieces = [
            Piece(self._key(info.identifier), request, info.version)
            for (info, _), plan in zip(wanted, plans, strict=True)
            for request in plan.requests
        ]
        with collection_paused():
            found = iter(self._fast().read(pieces))
        answers = [[next(found) for _ in plan.requests] for plan in plans]
        missing = [one for one, mine in zip(wanted, answers, strict=True) if None in mine]
        for (info, ranges), mine in zip(wanted, answers, strict=True):
            self.meter.note(
                info.identifier,
                requests=len(mine),
                fetched_bytes=sum(len(answer) for answer in mine if answer is not None),
                used_bytes=0 if None in mine else sum(stop - start for start, stop in ranges),
            )
        rest = iter(super()._read_many(missing))
        return [
            next(rest) if None in mine else plan.views([answer for answer in mine if answer is not None])
            for plan, mine in zip(plans, answers, strict=True)
        ]

    def _whole(self, wanted: str | ResourceInfo) -> Piece:
        if isinstance(wanted, str):
            return Piece(self._key(wanted))
        return Piece(self._key(wanted.identifier), (0, wanted.size), wanted.version)
