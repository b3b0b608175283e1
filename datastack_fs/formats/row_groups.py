"""Groups of rows that can only be decoded as a whole, Parquet's row groups and Arrow's batches: fetched and kept."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datastack_fs.formats.arrow_columns import numpy_column
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range, ResourceInfo, ResourceOpener

FETCH_BYTES: Final = 32 << 20
"""Most that is fetched at once, unless a single group needs more."""

Group = Mapping[str, pa.ChunkedArray]
"""Some columns of one group."""


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
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[tuple[int, str], tuple[pa.ChunkedArray, int]] = OrderedDict()
        self._cached_bytes = 0
        # Made anew in a forked child, so never inherited in the locked state.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

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
    def _decode(self, group: int, names: Sequence[str], ranges: Sequence[Range], answers: Sequence[bytes]) -> Group:
        """Decodes some columns of a group from these bytes."""

    @abstractmethod
    def _has_missing(self, name: str) -> bool:
        """Whether a value of the column is missing anywhere in the file; False where it does not say."""

    def read(self, names: Sequence[str], indices: IndexArray) -> dict[str, npt.NDArray[Any]]:
        """Some columns at some rows, as new arrays, in the order of the indices."""
        wanted, places = np.unique(indices, return_inverse=True)
        pieces: dict[str, list[pa.Array]] = {name: [] for name in names}
        with self._reading():
            picked = dict(self._picked(names, wanted)) if names and len(wanted) else {}
            for group in sorted(picked):
                for name, arrays in picked[group].items():
                    pieces[name] += arrays
            columns = {name: self._numpy(name, arrays) for name, arrays in pieces.items()}
            repeats = len(wanted) < len(indices)
            return {name: _placed(column, places, repeats=repeats) for name, column in columns.items()}

    def _numpy(self, name: str, pieces: Sequence[pa.Array]) -> npt.NDArray[Any]:
        column = pa.chunked_array(pieces, _kept_type(self.schema.field(name).type))
        return numpy_column(column, nullable=self._has_missing(name))

    def _picked(self, names: Sequence[str], wanted: IndexArray) -> Iterator[tuple[int, dict[str, list[pa.Array]]]]:
        """For each group that has some of the sorted rows, these rows of its columns."""
        numbers, firsts = np.unique(np.searchsorted(self._stops, wanted, side="right"), return_index=True)
        rows = dict(zip(numbers.tolist(), np.split(wanted, firsts[1:]), strict=True))
        for group, columns in self._decoded(list(rows), names):
            first = int(self._stops[group - 1]) if group else 0
            yield group, {name: _pick(column, rows[group] - first) for name, column in columns.items()}

    def _decoded(self, groups: Sequence[int], names: Sequence[str]) -> Iterator[tuple[int, Group]]:
        """The groups, those that are kept first (others push them out), in portions that are fetched at once."""
        missing = []
        for group in groups:
            known = self._known(group, names)
            if len(known) == len(names):
                yield group, known
            else:
                missing.append((group, known, [name for name in names if name not in known]))
        portion: list[tuple[int, Group, list[str], list[Range]]] = []
        size = 0
        for group, known, lacking in missing:
            ranges = self._ranges(group, lacking)
            more = sum(stop - start for start, stop in ranges)
            if portion and size + more > FETCH_BYTES:
                yield from self._fetched(portion)
                portion, size = [], 0
            portion.append((group, known, lacking, ranges))
            size += more
        yield from self._fetched(portion)

    def _fetched(self, portion: Sequence[tuple[int, Group, list[str], list[Range]]]) -> Iterator[tuple[int, Group]]:
        together = [each for *_, ranges in portion for each in ranges]
        answers = iter(self._connector.get_ranges(self._info.identifier, together, info=self._info) if together else [])
        for group, known, lacking, ranges in portion:
            mine = [next(answers) for _ in ranges]
            with self._lock:
                decoded = self._decode(group, lacking, ranges, mine)
                kept = {name: _kept(column) for name, column in decoded.items()}
                self._keep(group, kept)
            yield group, {**known, **kept}

    def _known(self, group: int, names: Sequence[str]) -> Group:
        with self._lock:
            found = {name: self._cache[group, name][0] for name in names if (group, name) in self._cache}
            for name in found:
                self._cache.move_to_end((group, name))
            return found

    def _keep(self, group: int, columns: Group) -> None:
        for name, column in columns.items():
            _, before = self._cache.pop((group, name), (None, 0))
            size = column.get_total_buffer_size()
            self._cache[group, name] = column, size
            self._cached_bytes += size - before
        while self._cached_bytes > self._cache_bytes and next(iter(self._cache))[0] != group:
            _, (_, size) = self._cache.popitem(last=False)
            self._cached_bytes -= size


def _kept_type(kind: pa.DataType) -> pa.DataType:
    """A type whose rows Arrow can pick: of views of text it can't."""
    if kind == pa.string_view():
        return pa.large_string()
    return pa.large_binary() if kind == pa.binary_view() else kind


def _kept(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = _kept_type(column.type)
    return column if kind == column.type else column.cast(kind)


def _pick(column: pa.ChunkedArray, rows: IndexArray) -> list[pa.Array]:
    """Sorted rows of a column, chunk by chunk: put together, chunks of text could be too long for Arrow."""
    picked = []
    offset = 0
    for chunk in column.chunks:
        first, stop = np.searchsorted(rows, [offset, offset + len(chunk)]).tolist()
        if first < stop:
            of_chunk = rows[first:stop] - offset
            if len(of_chunk) == of_chunk[-1] - of_chunk[0] + 1:
                picked.append(chunk.slice(of_chunk[0], len(of_chunk)))
            else:
                picked.append(chunk.take(pa.array(of_chunk)))
        offset += len(chunk)
    return picked


def _placed(column: npt.NDArray[Any], places: IndexArray, *, repeats: bool) -> npt.NDArray[Any]:
    """The values at some places; arrays and mappings that come twice are copies of each other."""
    placed = column[places]
    if repeats and column.dtype.hasobject and column.ndim == 1:
        for position, value in enumerate(placed):
            placed[position] = copy.deepcopy(value)
    return placed
