"""Groups of rows that can only be decoded as a whole, Parquet's row groups and Arrow's batches: planned and decoded."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datastack_fs.formats.arrow_columns import numpy_column
from datastack_fs.formats.arrow_rows import pickable, pickable_type, picked, placed
from datastack_fs.formats.group_cache import GroupCache, Piece
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.planning import Answers, ByteRanges, Plan
from datastack_fs.resource import Content, Range, ResourceInfo, ResourceOpener

FETCH_BYTES: Final = 32 << 20
"""Most that is fetched at once, unless a single group needs more."""

Group = Mapping[str, pa.ChunkedArray]
"""Some columns of one group."""


Picked = Mapping[str, list[pa.Array]]
"""Some rows of some columns of one group, in pieces."""


@dataclass
class _Share:
    """What one group has of a batch: rows of it, pieces of its columns, and what must be fetched for those."""

    group: int
    rows: IndexArray
    pieces: dict[str, Piece]
    missing: list[str]
    ranges: list[Range]

    @property
    def absent(self) -> list[str]:
        """The columns that are not decoded yet."""
        return [name for name, piece in self.pieces.items() if piece.column is None]

    def picked(self, names: Sequence[str]) -> Picked:
        """The rows, when all columns are there; they are let go of, as they are large."""
        pieces, self.pieces = self.pieces, {}
        return {name: picked(pieces[name].column, self.rows) for name in names}


class _Rows(NamedTuple):
    """The rows of some groups, and the shares of groups that are still to be decoded."""

    found: dict[int, Picked]
    late: Sequence[_Share]


class RowGroups(ABC):
    """The groups of one file, for one process. Threads may share it: they fetch at once, and take turns to decode.

    Args:
        connector: the store.
        info: the version of the file.
        lengths: how many rows each group has.
        cache_bytes: how much of decoded groups is kept.
    """

    def __init__(self, connector: ResourceOpener, info: ResourceInfo, lengths: Sequence[int], cache_bytes: int) -> None:
        self._connector, self._info = connector, info
        self._stops = np.cumsum(np.array(lengths, dtype=np.int64))
        self._cache = GroupCache(cache_bytes)
        # Made anew in a forked child, so never inherited in the locked state.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

    @property
    def blocks(self) -> Blocks:
        """Which rows are fetched together: the groups."""
        starts = np.unique(np.append(np.int64(0), self._stops[:-1]))
        return Blocks(starts[starts < len(self)], len(self))

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[None]:
        """Around everything that touches the file: errors become ours, and name it."""

    @abstractmethod
    def _ranges(self, group: int, names: Sequence[str]) -> list[Range]:
        """The bytes of some columns of a group; none where nothing needs to be fetched."""

    @abstractmethod
    def _decode(self, group: int, names: Sequence[str], ranges: Sequence[Range], answers: Answers) -> Group:
        """Decodes some columns of a group from these bytes."""

    @abstractmethod
    def _has_missing(self, name: str) -> bool:
        """Whether a value of the column is missing anywhere in the file; False where it does not say."""

    def read(self, names: Sequence[str], indices: IndexArray) -> dict[str, npt.NDArray[Any]]:
        """Some columns at some rows, as new arrays, in the order of the indices; fetched in portions."""
        wanted, places = np.unique(indices, return_inverse=True)
        with self._reading():
            found: dict[int, Picked] = {}
            for portion in self._portions(names, wanted):
                rows = self._decoded(names, portion, self._fetch(_ranges_of(portion)))
                found |= rows.found | self._completed(names, rows.late)
            return self._arranged(names, found, places, repeats=len(wanted) < len(indices))

    def plan(self, names: Sequence[str], indices: IndexArray) -> Plan[Mapping[str, npt.NDArray[Any]]] | None:
        """What ``read`` would fetch, and what it gives; None for more than is fetched at once.

        What an earlier plan that still lasts is to fetch is left to it.
        """
        wanted, places = np.unique(indices, return_inverse=True)
        with self._reading():
            portions = self._portions(names, wanted)
            shares = next(portions, [])
            if next(portions, None) is not None:
                return None

        def decode(answers: Sequence[Answers]) -> _Rows:
            with self._reading():
                return self._decoded(names, shares, answers[0] if answers else ())

        def finish(rows: _Rows) -> Mapping[str, npt.NDArray[Any]]:
            with self._reading():
                found = {**rows.found, **self._completed(names, rows.late)}
                return self._arranged(names, found, places, repeats=len(wanted) < len(indices))

        request = ByteRanges(self._connector, self._info.identifier, self._info, _ranges_of(shares))
        return Plan([request] if request.ranges else (), decode, finish)

    def _portions(self, names: Sequence[str], wanted: IndexArray) -> Iterator[list[_Share]]:
        """The shares of groups in sorted rows, in portions that are fetched at once; the kept groups go first."""
        numbers, firsts = np.unique(np.searchsorted(self._stops, wanted, side="right"), return_index=True)
        rows = dict(zip(numbers.tolist(), np.split(wanted, firsts[1:]), strict=True)) if names and len(wanted) else {}
        portion: list[_Share] = []
        size = 0
        for group in sorted(rows, key=lambda group: not self._cache.has(group, names)):
            pieces, missing = self._cache.claim(group, names)
            ranges = self._ranges(group, missing) if missing else []
            more = sum(stop - start for start, stop in ranges)
            if portion and size + more > FETCH_BYTES:
                yield portion
                portion, size = [], 0
            first = int(self._stops[group - 1]) if group else 0
            portion.append(_Share(group, rows[group] - first, pieces, missing, ranges))
            size += more
        if portion:
            yield portion

    def _fetch(self, ranges: Sequence[Range]) -> Sequence[Content]:
        return self._connector.get_ranges(self._info.identifier, ranges, info=self._info, copy=False) if ranges else []

    def _decoded(self, names: Sequence[str], shares: Sequence[_Share], answers: Answers) -> _Rows:
        """The rows of each group of which all columns are there, when those were decoded that the shares fetch."""
        found: dict[int, Picked] = {}
        late = []
        rest = iter(answers)
        for share in shares:
            self._fill(share, share.missing, share.ranges, [next(rest) for _ in share.ranges])
            if share.absent:
                late.append(share)
            else:
                found[share.group] = share.picked(names)
        return _Rows(found, late)

    def _completed(self, names: Sequence[str], late: Sequence[_Share]) -> dict[int, Picked]:
        """The rows of groups that another plan was to decode. It may not have: it was dropped, or comes later."""
        found: dict[int, Picked] = {}
        for share in late:
            absent = share.absent
            if absent:
                ranges = self._ranges(share.group, absent)
                self._fill(share, absent, ranges, self._fetch(ranges))
            found[share.group] = share.picked(names)
        return found

    def _fill(self, share: _Share, names: Sequence[str], ranges: Sequence[Range], answers: Answers) -> None:
        with self._lock:
            lacking = [name for name in names if name in share.absent]
            if lacking:
                decoded = self._decode(share.group, lacking, ranges, answers)
                self._cache.keep(share.group, {name: pickable(column) for name, column in decoded.items()})

    def _arranged(
        self,
        names: Sequence[str],
        found: Mapping[int, Picked],
        places: IndexArray,
        *,
        repeats: bool,
    ) -> dict[str, npt.NDArray[Any]]:
        columns = {}
        for name in names:
            arrays = [array for group in sorted(found) for array in found[group][name]]
            column = pa.chunked_array(arrays, pickable_type(self.schema.field(name).type))
            columns[name] = placed(numpy_column(column, nullable=self._has_missing(name)), places, repeats=repeats)
        return columns


def _ranges_of(shares: Sequence[_Share]) -> list[Range]:
    return [each for share in shares for each in share.ranges]
