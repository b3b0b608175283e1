"""How a store is asked: again until a deadline, where that may help, with the errors of the layer below made ours."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from datastack_fs.credentials import redact
from datastack_fs.deadline import Deadline
from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatastackError,
    ResourceChangedError,
    ResourceExistsError,
    ResourceNotFoundError,
    StorageUnavailableError,
)
from datastack_fs.metrics import Meter
from datastack_fs.reading import collection_paused
from datastack_fs.resource import Content, Range, ResourceInfo

if TYPE_CHECKING:
    from datastack_fs.writing import Upload

T = TypeVar("T")

SHORT_ANSWERS: Final = 3
"""So often may a range come back short or long before the resource counts as corrupt."""


class StorageAccess(ABC):
    """What the verbs of a connector share; ``StorageConnector`` has it from here, and nothing else does.

    Attributes:
        deadline: seconds without progress after which an operation gives up.
        meter: counts what is read.
    """

    deadline: float
    meter: Meter

    @property
    @abstractmethod
    def url(self) -> str:
        """The address of the store, without secrets."""

    @abstractmethod
    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[Content | Exception]:
        """The bytes of each range, or the exception that this one range met."""

    @abstractmethod
    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        """The class and the reason for an error of the layer below; None for one it does not know."""

    def _fetch(self, info: ResourceInfo, ranges: Sequence[Range]) -> list[Content]:
        """Every range in full, of that version; each is retried on its own, as long as any of them comes."""
        deadline = Deadline(self.deadline)
        found: dict[Range, Content] = {}
        short = rounds = 0
        while missing := [wanted for wanted in ranges if wanted not in found]:
            failure: StorageUnavailableError | None = None
            began = time.monotonic()
            answers = self._answers(info, missing)
            self.meter.note(
                info.identifier,
                requests=len(missing),
                retries=len(missing) if rounds else 0,
                fetched_bytes=sum(len(answer) for answer in answers if not isinstance(answer, Exception)),
                seconds=time.monotonic() - began,
            )
            rounds += 1
            for wanted, answer in zip(missing, answers, strict=True):
                if isinstance(answer, Exception):
                    error = self._translated(answer, "read", info.identifier)
                    if not isinstance(error, StorageUnavailableError):
                        raise error
                    failure = error
                elif len(answer) != wanted[1] - wanted[0]:
                    short += 1
                    reason = f"{len(answer):,} bytes came for the range {wanted[0]}-{wanted[1]}"
                    if short >= SHORT_ANSWERS:
                        raise DatasetFileCorruptError(self._sentence("read", info.identifier, reason))
                    failure = StorageUnavailableError(self._sentence("read", info.identifier, reason))
                else:
                    found[wanted] = answer
                    deadline.progress()
            if failure is not None:
                deadline.wait(failure)
        return [found[wanted] for wanted in ranges]

    def _answers(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[Content | Exception]:
        try:
            with collection_paused():
                return self._read_ranges(info, ranges)
        except Exception as error:  # noqa: BLE001 (the translating edge: the caller judges it)
            return [error] * len(ranges)

    def _retry(self, verb: str, identifier: str, call: Callable[[], T]) -> T:
        deadline = Deadline(self.deadline)
        while True:
            try:
                with self._translating(verb, identifier), collection_paused():
                    return call()
            except StorageUnavailableError as error:
                deadline.wait(error)

    @contextmanager
    def _translating(self, verb: str, identifier: str, upload: Upload | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if upload is not None and upload.error is not None:
                raise upload.error  # noqa: B904 (the source's own error belongs to the caller, as it is)
            ours = self._translated(error, verb, identifier)
            if ours is error:
                raise
            raise ours from error

    def _translated(self, error: Exception, verb: str, identifier: str) -> Exception:
        if isinstance(error, DatastackError):
            return error
        kind, reason = self._translate(error) or (DatastackError, "unexpected")
        ours: DatastackError
        if kind is ResourceNotFoundError:
            ours = kind(f"{identifier} is not in {self.url}")
        elif kind is ResourceExistsError:
            ours = kind(f"{identifier} is in {self.url} already; overwrite=True replaces it")
        elif kind is ResourceChangedError:
            ours = self._changed(identifier)
        else:
            detail = redact(f"{type(error).__name__}: {error}".rstrip(": "))
            ours = kind(self._sentence(verb, identifier, f"{reason} ({detail})"))
        ours.__cause__ = error
        return ours

    def _changed(self, identifier: str) -> ResourceChangedError:
        return ResourceChangedError(f"{identifier} in {self.url} was replaced or deleted since it was opened")

    def _sentence(self, verb: str, identifier: str, reason: str) -> str:
        return f"can't {verb} {identifier or 'resources'} in {self.url}: {reason}"
