"""What can go wrong on the way, when, and how often."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["drop", "rst", "fin", "cut", "stall", "slow", "flip", "dup-length"]
Side = Literal["down", "up"]

_BEFORE_THE_HEAD: frozenset[str] = frozenset({"rst", "fin", "stall"})


@dataclass(frozen=True)
class Request:
    """A request on its way through the proxy.

    Attributes:
        method: The method ("" in raw mode).
        target: Path and query.
        headers: The names in lower case.
        raw: The head as it came; in raw mode the first bytes sent after an answer, up to 4 KiB.
    """

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")


Predicate = Callable[[Request], bool]


def ranged_get(request: Request) -> bool:
    """Tell whether a request reads a part of an object."""
    return request.method == "GET" and request.range is not None


def flipped_bits(got: bytes, right: bytes) -> list[int]:
    """Return the numbers of the bits that differ (8 * offset + bit)."""
    if len(got) != len(right):
        raise ValueError(f"{len(got)} bytes in place of {len(right)}")
    wrong = int.from_bytes(got, "little") ^ int.from_bytes(right, "little")
    bits = []
    while wrong and len(bits) < 100:
        lowest = wrong & -wrong
        bits.append(lowest.bit_length() - 1)
        wrong ^= lowest
    return bits


@dataclass(eq=False)
class Fault:
    """A fault armed in a proxy; see `FaultProxy.arm` for what the fields mean.

    Attributes:
        left: How many more times it will fire (None: for ever).
        fired: How many times it has fired.
    """

    kind: str
    at: int | None
    when: Predicate | None
    left: int | None
    side: Side
    rate: float
    bit: int
    retry_after: float | None
    fired: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) and self.status is None:
            raise ValueError(f"no such kind of fault: {self.kind!r}")
        if self.at is None and (self.kind not in _BEFORE_THE_HEAD or self.side == "up"):
            raise ValueError(f"{self.kind!r} needs an offset")
        if self.side == "up" and self.kind not in ("rst", "fin", "stall", "slow", "flip"):
            raise ValueError(f"{self.kind!r} can't be on the side of the request")

    @property
    def status(self) -> int | None:
        """The status to answer with, if the kind is one, such as "503"."""
        return int(self.kind) if self.kind.isdigit() and len(self.kind) == 3 else None

    def reaches(self, length: int | None) -> bool:
        """Tell whether a body of this length (None: not known) has the byte where the fault is to be."""
        if self.at is None or length is None or self.at < length:
            return True
        return self.at == 0 and self.kind != "flip"


class Plan:
    """The faults armed in a proxy, oldest first. Used by the tests' threads and the proxy's."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._fired: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self, fault: Fault | None = None) -> None:
        """Disarm a fault, or all of them."""
        with self._lock:
            self._faults = [] if fault is None else [f for f in self._faults if f is not fault]

    def claim(self, request: Request) -> Fault | None:
        """Give a request the first armed fault that suits it, to be fired or given back."""
        with self._lock:
            candidates = list(self._faults)
        for fault in candidates:
            if (fault.when is None or fault.when(request)) and self._take(fault):
                return fault
        return None

    def _take(self, fault: Fault) -> bool:
        with self._lock:
            if fault not in self._faults or fault.left == 0:
                return False
            if fault.left is not None:
                fault.left -= 1
            return True

    def give_back(self, fault: Fault) -> None:
        """Return a claimed fault that could not be fired: the body was too short, say."""
        with self._lock:
            if fault.left is not None:
                fault.left += 1

    def record(self, fault: Fault) -> None:
        """Count that a claimed fault has fired."""
        with self._lock:
            fault.fired += 1
            self._fired[fault.kind] += 1

    @property
    def fired(self) -> Counter[str]:
        """How often faults have fired, by kind."""
        with self._lock:
            return self._fired.copy()

    def __len__(self) -> int:
        with self._lock:
            return sum(fault.left != 0 for fault in self._faults)
