"""Where the records of a text begin: compact, mapped from a file, and looked up for many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.formats.packed_arrays import packed, unpacked
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range

GROUP: Final = 64
"""Rows that share an anchor: the place of the first; the others are kept as distances to it, mostly of two bytes."""

_SLAB: Final = 1 << 20


@dataclass(frozen=True)
class RowIndex:
    """Where each row of a text begins, and what the pass that found it learnt besides.

    Attributes:
        anchors: the first byte of every ``GROUP``-th row.
        lines: the number of the line on which that row begins, from 1.
        distances: of each row, in bytes, from its anchor.
        end: the byte after the last row.
        summary: what else a format wants to know about the text; values that JSON has.

    Examples:
        >>> index = RowIndex(np.array([5]), np.array([2]), np.array([0, 4, 9], np.uint16), end=20, summary={})
        >>> len(index), index.starts(np.array([2, 0])).tolist(), index.runs(np.array([0, 1]))
        (3, [14, 5], [Run(first=0, stop=2, start=5, end=14)])
        >>> RowIndex.from_bytes(memoryview(b"".join(index.parts()))).runs(np.array([2]))
        [Run(first=2, stop=3, start=14, end=20)]
    """

    anchors: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    distances: npt.NDArray[Any]
    end: int
    summary: Any

    def __len__(self) -> int:
        return len(self.distances)

    def starts(self, rows: IndexArray) -> IndexArray:
        """The first byte of each row; that of the row after the last is the end."""
        inside = np.minimum(rows, len(self) - 1) if len(self) else rows[:0]
        found = self.anchors[inside // GROUP] + self.distances[inside].astype(np.int64)
        return np.where(rows < len(self), found, self.end) if len(self) else np.full(len(rows), self.end)

    def runs(self, rows: IndexArray) -> list[Run]:
        """The rows, which ascend and differ, as runs of neighbours with the bytes that they lie in."""
        cuts = np.flatnonzero(np.diff(rows) != 1) + 1
        first = rows[np.concatenate(([0], cuts))]
        stop = rows[np.concatenate((cuts - 1, [len(rows) - 1]))] + 1
        places = zip(
            first.tolist(), stop.tolist(), self.starts(first).tolist(), self.starts(stop).tolist(), strict=True
        )
        return [Run(*place) for place in places]

    def pieces(self, rows: IndexArray, most: int) -> Iterator[IndexArray]:
        """The rows, which ascend, in pieces of about so many bytes."""
        for first in range(0, len(rows), _SLAB):  # so that this itself takes little memory
            slab = rows[first : first + _SLAB]
            sizes = self.starts(slab + 1) - self.starts(slab)
            numbers = (np.cumsum(sizes) - sizes) // most
            yield from np.split(slab, np.flatnonzero(np.diff(numbers)) + 1)

    def ascends(self) -> bool:
        """Whether each row begins after the one before, as in every index that was made by a pass."""
        groups = -(-len(self) // GROUP)
        if len(self.anchors) != groups or len(self.lines) != groups:
            return False
        starts = self.starts(np.arange(len(self) + 1, dtype=np.int64))
        return bool(starts[0] >= 0 and np.all(starts[1:] > starts[:-1]))

    def parts(self) -> Iterator[bytes | memoryview]:
        """What keeps it: a description, then the arrays."""
        arrays = {"anchors": self.anchors, "lines": self.lines, "distances": self.distances}
        return packed({"end": self.end, "summary": self.summary}, arrays)

    @classmethod
    def from_bytes(cls, content: memoryview) -> RowIndex:
        """What ``parts`` gave, without a copy of the arrays.

        Raises:
            ValueError: it is nothing of the kind, or its rows don't ascend.
        """
        described, arrays = unpacked(content)
        return cls(**arrays, end=described["end"], summary=described["summary"])


@dataclass(frozen=True)
class Run:
    """Neighbouring rows, ``first`` to ``stop``, and the bytes that they lie in, ``start`` to ``end``."""

    first: int
    stop: int
    start: int
    end: int

    @property
    def range(self) -> Range:
        """The bytes, as a store is asked for them."""
        return self.start, self.end


class RowIndexBuilder:
    """Collects rows block by block, two bytes for each where that is enough.

    Examples:
        >>> builder = RowIndexBuilder()
        >>> builder.add(np.array([0, 7]), lambda starts: 1 + starts // 7)
        >>> builder.add(np.array([20]), lambda starts: starts - 17)
        >>> index = builder.finished(end=30, summary={})
        >>> index.starts(np.arange(4)).tolist()
        [0, 7, 20, 30]
    """

    def __init__(self) -> None:
        self._count = 0
        self._anchor = np.zeros(0, dtype=np.int64)
        self._anchors: list[npt.NDArray[np.int64]] = []
        self._lines: list[npt.NDArray[np.int64]] = []
        self._distances: list[npt.NDArray[Any]] = []

    def add(self, starts: IndexArray, line_of: Callable[[IndexArray], IndexArray]) -> None:
        """The next rows: their first bytes, and what gives the lines of some of them."""
        if not len(starts):
            return
        first = -self._count % GROUP
        anchors = starts[first::GROUP]
        self._anchors.append(anchors.copy())
        self._lines.append(line_of(anchors))
        known = np.concatenate((self._anchor, anchors))
        groups = np.arange(self._count, self._count + len(starts)) // GROUP
        distances = starts - known[groups - groups[0]]
        self._distances.append(distances.astype(np.min_scalar_type(int(distances.max()))))
        self._count += len(starts)
        self._anchor = known[-1:] if self._count % GROUP else known[:0]

    def finished(self, end: int, summary: Any) -> RowIndex:
        """The index of all rows."""
        nothing = np.zeros(0, dtype=np.int64)
        return RowIndex(
            np.concatenate([nothing, *self._anchors]),
            np.concatenate([nothing, *self._lines]),
            np.concatenate([np.zeros(0, dtype=np.uint8), *self._distances]),
            end,
            summary,
        )
