"""A case of a workload: contenders that read or write the same bytes, and what each of them reached."""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Digests: TypeAlias = Sequence[Hashable]
"""A checksum for each unit of work (a batch, a sample, a file), so that fewer units can be compared, too."""

Run: TypeAlias = Generator[None, None, Digests]
"""One run: prepares up to its first ``yield``, is timed up to its second, and returns checksums of what it read."""

Role: TypeAlias = Literal["limit", "peer", "ours"]

PATIENCE = 8.0
"""Seconds: a contender that takes longer runs in the first round only."""

MOST = 5
"""How many times as many rounds as asked for a case of short runs has."""


class MissingProgramError(Exception):
    """A program that a contender needs is not installed."""


def program(name: str) -> str:
    """The path of a program, for contenders that are no Python packages."""
    path = shutil.which(name)
    if path is None:
        raise MissingProgramError(name)
    return path


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    unit, size = next((each for each in (("s", 1.0), ("ms", 1e-3)) if seconds >= each[1]), ("us", 1e-6))
    return f"{seconds / size:.3g} {unit}"


@dataclass
class Contender:
    """One way to do the work of a case.

    Attributes:
        name: what stands in the table.
        role: the limit, a peer, or this library.
        start: gives a run of so many units of work.
        units: how many; fewer than the case has for those that would take minutes.
        mark: how many times the time of ``over`` it may take; for this library's.
        over: the contender it is measured by; None: the case's limit.
        seconds: for each run, of a unit of work.
        cpu: the same of this process's CPU, all threads.
        failure: why there is no figure.
        wrong: it read something else than the limit did.
    """

    name: str
    role: Role
    start: Callable[[int], Run]
    units: int
    mark: float | None = None
    over: str | None = None
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    failure: str | None = None
    wrong: bool = False

    def run(self) -> Digests | None:
        """Runs once; None, and no more runs, where that fails."""
        gc.collect()
        run = self.start(self.units)
        try:
            next(run)
            began, busy = time.perf_counter(), time.process_time()
            next(run)
            seconds, cpu = time.perf_counter() - began, time.process_time() - busy
            digests: Digests | None = None
            try:
                next(run)
            except StopIteration as end:
                digests = end.value
            if not digests:
                raise RuntimeError("a run returns checksums after its second yield")
        except (ModuleNotFoundError, MissingProgramError) as error:
            self.failure = f"not installed: {getattr(error, 'name', None) or error}"
            return None
        except Exception as error:  # noqa: BLE001 (a peer that fails is a line of the table, not the end of the run)
            self.failure = f"failed: {type(error).__name__}: {error}".splitlines()[0][:120]
            return None
        finally:
            run.close()
        self.seconds.append(seconds / len(digests))
        self.cpu.append(cpu / len(digests))
        return digests

    @property
    def median(self) -> float | None:
        """Seconds of a unit of work, the median of its rounds."""
        return statistics.median(self.seconds) if self.seconds else None


class Case:
    """One table: contenders, of which the first is the limit.

    Args:
        title: what is done, in a line.
        unit: what times are given for ("batch", "256 MiB").
        units: how many of them a run has.
        ordered: whether all contenders read in the same order.
    """

    def __init__(self, title: str, *, unit: str, units: int = 1, ordered: bool = True) -> None:
        self.title = title
        self.unit = unit
        self.units = units
        self.ordered = ordered
        self.contenders: list[Contender] = []

    def limit(self, name: str, start: Callable[[int], Run]) -> None:
        """The best that anyone could do with the same bytes; of several, the quickest counts."""
        self.contenders.append(Contender(name, "limit", start, self.units))

    def peer(self, name: str, start: Callable[[int], Run], units: int | None = None) -> None:
        """What users have today."""
        self.contenders.append(Contender(name, "peer", start, min(units or self.units, self.units)))

    def ours(
        self, name: str, start: Callable[[int], Run], mark: float | None = None, *, over: str | None = None
    ) -> None:
        """This library, with the mark that it must reach."""
        self.contenders.append(Contender(name, "ours", start, self.units, mark, over))

    def run(self, rounds: int, say: Callable[[str], None], *, seconds: float = 0.0) -> None:
        """Runs all contenders in turn, each round beginning with another.

        Args:
            rounds: how often, at least.
            say: is told each figure.
            seconds: while it has taken less, more rounds follow, up to five times as many.
        """
        expected: Digests | None = None
        began = time.perf_counter()
        for number in range(MOST * rounds):
            if number >= rounds and time.perf_counter() - began > seconds:
                break
            place = 0 if expected is None else number % len(self.contenders)
            for contender in self.contenders[place:] + self.contenders[:place]:
                if contender.failure or (contender.seconds and contender.seconds[0] * contender.units > PATIENCE):
                    continue
                digests = contender.run()
                if digests is None:
                    say(f"  {contender.name}: {contender.failure}")
                    continue
                expected = digests if expected is None else expected
                contender.wrong |= not self._same(expected, digests)
                wrong = "  WRONG BYTES" if contender.wrong else ""
                say(f"  {number + 1}. {contender.name}: {duration(contender.seconds[-1])}{wrong}")

    def base(self, contender: Contender) -> Contender | None:
        """Which contender's time a contender's is measured by."""
        if contender.over is not None:
            return next((other for other in self.contenders if other.name == contender.over), None)
        return self.quickest_limit()

    def quickest_limit(self) -> Contender | None:
        """The quickest of the limits that ran."""
        limits = [other for other in self.contenders if other.role == "limit" and other.seconds]
        return min(limits, key=lambda limit: limit.median or 0.0, default=None)

    def ratio(self, contender: Contender, base: Contender | None = None) -> float | None:
        """The median of the rounds' own ratios, so that the load of the machine touches both alike.

        Args:
            contender: whose time.
            base: by whose time; what its mark is given for, by default.
        """
        base = base or self.base(contender)
        if base is None or not base.seconds or not contender.seconds:
            return None
        if len(base.seconds) == len(contender.seconds):
            pairs = zip(contender.seconds, base.seconds, strict=True)
            return statistics.median(mine / theirs for mine, theirs in pairs)
        return statistics.median(contender.seconds) / statistics.median(base.seconds)

    def best_ratio(self, contender: Contender) -> float | None:
        """That of the shortest runs of both, which a loaded machine touches least."""
        base = self.base(contender)
        if base is None or not base.seconds or not contender.seconds:
            return None
        return min(contender.seconds) / min(base.seconds)

    @property
    def failed(self) -> bool:
        """Whether someone read wrong bytes, or the limit or this library failed."""
        return any(each.wrong or (each.failure and each.role != "peer") for each in self.contenders)

    def _same(self, expected: Digests, digests: Digests) -> bool:
        if self.ordered:
            return list(expected[: len(digests)]) == list(digests)
        return not Counter(digests) - Counter(expected)
