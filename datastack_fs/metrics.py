"""What reading costs: requests, bytes, seconds and retries, counted in each process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from datastack_fs.processes import PerProcess

_MOST_RESOURCES: Final = 4096
"""So many resources are counted one by one; all count in the store's sum."""


@dataclass(frozen=True)
class Metrics:
    """What was read since a process first used a store, a resource of it, or the leaves of an iterator.

    Attributes:
        requests: ranges and whole resources that the store was asked for.
        fetched_bytes: in its answers.
        used_bytes: that callers wanted of these.
        cache_hits: blocks that came from the disk cache.
        cached_bytes: in these blocks.
        retries: times that something was asked for once more.
        seconds: spent waiting for the store, by all threads together.

    Examples:
        >>> before, after = Metrics(requests=1, fetched_bytes=100), Metrics(requests=3, fetched_bytes=900)
        >>> (after - before).requests, Metrics(fetched_bytes=300, used_bytes=200).amplification
        (2, 1.5)
    """

    requests: int = 0
    fetched_bytes: int = 0
    used_bytes: int = 0
    cache_hits: int = 0
    cached_bytes: int = 0
    retries: int = 0
    seconds: float = 0.0

    @property
    def amplification(self) -> float:
        """Bytes that were fetched for each that was wanted; 0 before anything was."""
        return self.fetched_bytes / self.used_bytes if self.used_bytes else 0.0

    def __add__(self, other: Metrics) -> Metrics:
        """Both together."""
        return Metrics(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __sub__(self, other: Metrics) -> Metrics:
        """What came since another moment."""
        return Metrics(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))

    def as_dict(self) -> dict[str, float]:
        """The numbers and the amplification by name, as loggers take them."""
        return {**asdict(self), "amplification": self.amplification}

    @classmethod
    def sum(cls, parts: Iterable[Metrics]) -> Metrics:
        """All of them together."""
        total = cls()
        for part in parts:
            total += part
        return total


class Meter:
    """Counts for one store; threads may share it, and each process has its own numbers.

    Examples:
        >>> meter = Meter()
        >>> meter.note("birds.h5", requests=2, fetched_bytes=100)
        >>> meter.note("cats.h5", requests=1)
        >>> meter.total.requests, meter.of("birds.h5").fetched_bytes
        (3, 100)
    """

    def __init__(self) -> None:
        self._counts = PerProcess(_Counts)

    def note(self, identifier: str, **numbers: Any) -> None:
        """Adds to the numbers of a resource and of the store, by the names of ``Metrics``."""
        self._counts.get().add(identifier, numbers)

    @property
    def total(self) -> Metrics:
        """Of all resources."""
        return self._counts.get().total()

    def of(self, identifier: str) -> Metrics:
        """Of one resource; nothing of those that were not among the first 4,096."""
        return self._counts.get().of(identifier)


class _Counts:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: dict[str, Any] = {}
        self._parts: dict[str, dict[str, Any]] = {}

    def add(self, identifier: str, numbers: dict[str, Any]) -> None:
        with self._lock:
            part = self._parts.get(identifier)
            if part is None and len(self._parts) < _MOST_RESOURCES:
                part = self._parts[identifier] = {}
            for counts in (self._total, part):
                if counts is not None:
                    for name, number in numbers.items():
                        counts[name] = counts.get(name, 0) + number

    def total(self) -> Metrics:
        with self._lock:
            return Metrics(**self._total)

    def of(self, identifier: str) -> Metrics:
        with self._lock:
            return Metrics(**self._parts.get(identifier, {}))
