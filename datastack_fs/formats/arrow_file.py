"""The record batches of an Arrow IPC file: their wanted columns fetched, or views of the mapped file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
from pyarrow import types

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.arrow_columns import lacks_missing
from datastack_fs.formats.arrow_errors import reading_arrow
from datastack_fs.formats.arrow_footer import ArrowFooter
from datastack_fs.formats.fetched_file import FetchedFile
from datastack_fs.formats.local import PinnedFile
from datastack_fs.formats.row_groups import Group, RowGroups
from datastack_fs.iterators.planning import Answers
from datastack_fs.resource import Content, Range

_MOST_READERS: Final = 8
_PADDING: Final = 64
_VARIABLE: Final = (types.is_string, types.is_binary, types.is_large_string, types.is_large_binary)


class ArrowBatches(RowGroups):
    """The record batches of an Arrow IPC file.

    Args:
        footer: of the file.
        cache_bytes: how much of decoded batches is kept.
    """

    def __init__(self, footer: ArrowFooter, cache_bytes: int) -> None:
        super().__init__(footer.connector, footer.info, [batch.length for batch in footer.batches], cache_bytes)
        self._footer = footer
        self._readers: OrderedDict[tuple[str, ...], pa.RecordBatchFileReader] = OrderedDict()
        self._checked: set[tuple[int, str]] = set()
        self._fetched_file = FetchedFile(footer.connector, footer.info, footer.end + len(footer.content))
        resource = footer.connector.get_resource(footer.info.identifier, info=footer.info)
        # The footer of a stream is no part of its file, so there is nothing that could be mapped as a whole.
        self._map = None if resource.local_path is None or footer.is_stream else PinnedFile.of(resource)
        self._dictionaries = [] if self._map is not None else self._dictionary_bytes()
        with self._reading():
            self._put([], [], [])
            self._schema = pa.ipc.open_file(self._open_source()).schema
            self._places = self._places_by_name()

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._schema

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with reading_arrow(self._footer.what, "Arrow"):
                self._check_map()
                yield
        finally:
            self._check_map()

    def _check_map(self) -> None:
        if self._map is not None:
            self._map.check()

    def _open_source(self) -> pa.NativeFile:
        """The file for pyarrow: what was fetched of it."""
        return pa.PythonFile(self._fetched_file, mode="r")

    def _put(self, known: Sequence[tuple[Range, Content]], ranges: Sequence[Range], answers: Answers) -> None:
        end, content = self._footer.end, self._footer.content
        known = [*known, ((end, end + len(content)), content)]
        self._fetched_file.put([*(place for place, _ in known), *ranges], [*(found for _, found in known), *answers])

    def _places_by_name(self) -> dict[str, tuple[int, range]] | None:
        """The number of each column's node, and those of its buffers; None where a type leaves that open."""
        places = {}
        node = buffer = 0
        for field in self._schema:
            counts = _count_parts(field.type)
            if counts is None:
                self._check_batches([0], None)
                return None
            places[field.name] = node, range(buffer, buffer + counts[1])
            node, buffer = node + counts[0], buffer + counts[1]
        self._check_batches([place for place, _ in places.values()], (node, buffer))
        return places

    def _check_batches(self, tops: Sequence[int], counts: tuple[int, int] | None) -> None:
        """Refuses lengths that columns have not, before anyone makes room for such rows, and other numbers of parts."""
        for number, batch in enumerate(self._footer.batches):
            place = f"{self._footer.what}: record batch {number} at byte {batch.block.start:,}"
            found = len(batch.nodes), len(batch.buffers)
            if counts is not None and found != counts:
                raise DatasetFileCorruptError(
                    f"{place} has {found[0]} columns in {found[1]} buffers, and the schema {counts[0]} in {counts[1]}"
                )
            if any(top >= len(batch.nodes) or batch.nodes[top][0] != batch.length for top in tops):
                raise DatasetFileCorruptError(f"{place} has {batch.length:,} rows, and not all of its columns have")

    def _ranges(self, group: int, names: Sequence[str]) -> list[Range]:
        block = self._footer.batches[group].block
        if self._map is not None:
            return []
        if self._places is None:
            return [(block.body, block.stop)]
        buffers = self._footer.batches[group].buffers
        wanted = sorted(number for name in names for number in self._places[name][1])
        joined: list[Range] = []
        for offset, length in sorted(buffers[number] for number in wanted if buffers[number][1]):
            start, stop = block.body + offset, block.body + offset + length
            if joined and start <= joined[-1][1] + _PADDING:  # pyarrow reads such neighbours at once
                joined[-1] = joined[-1][0], max(stop, joined[-1][1])
            else:
                joined.append((start, stop))
        return joined

    def _decode(self, group: int, names: Sequence[str], ranges: Sequence[Range], answers: Answers) -> Group:
        if self._map is None:
            self._put([*self._dictionaries, self._footer.message(group)], ranges, answers)
        batch = self._reader(names).get_batch(group)
        columns = {name: batch.column(name) for name in names}
        length = self._footer.batches[group].length
        for name, column in columns.items():
            if len(column) != length:
                place = f"{self._footer.what}: column {name!r} of record batch {group}"
                raise DatasetFileCorruptError(f"{place} has {len(column):,} rows of {length:,}")
            if (group, name) not in self._checked:  # Arrow itself trusts what it reads
                column.validate(full=True)
        if self._map is not None:  # else other bytes may come the next time
            self._checked.update((group, name) for name in names)
        return {name: pa.chunked_array([column]) for name, column in columns.items()}

    def _reader(self, names: Sequence[str]) -> pa.RecordBatchFileReader:
        """A reader of these columns. One of all columns is as quick where nothing is copied or unpacked."""
        compressed = any(batch.compressed for batch in self._footer.batches)
        key = tuple(sorted(names)) if self._map is None or compressed else ()
        if key not in self._readers:
            fields = [self._schema.get_field_index(name) for name in key]
            options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
            source = self._open_source() if self._map is None else pa.BufferReader(pa.py_buffer(self._map.buffer))
            self._readers[key] = pa.ipc.open_file(source, options=options)
        self._readers.move_to_end(key)
        while len(self._readers) > _MOST_READERS:
            self._readers.popitem(last=False)
        return self._readers[key]

    def _dictionary_bytes(self) -> list[tuple[Range, Content]]:
        """The dictionaries, which each reader reads as a whole."""
        ranges = [(block.start, block.stop) for block in self._footer.dictionaries]
        return list(zip(ranges, self._fetch(ranges), strict=True))

    def _has_missing(self, name: str) -> bool:
        if self._places is None or not lacks_missing(self._schema.field(name).type):
            return False
        node, _ = self._places[name]
        return any(batch.nodes[node][1] for batch in self._footer.batches)


def _count_parts(kind: pa.DataType) -> tuple[int, int] | None:
    """How many nodes and buffers a column has; None where not only its type says it.

    Source: https://arrow.apache.org/docs/format/Columnar.html, the table of buffer layouts.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _count_parts(kind.storage_type)
    if kind in (pa.string_view(), pa.binary_view()) or types.is_union(kind):
        return None
    if types.is_null(kind) or types.is_run_end_encoded(kind):
        own = 0
    elif types.is_struct(kind) or types.is_fixed_size_list(kind):
        own = 1
    elif any(check(kind) for check in _VARIABLE) or str(kind).startswith(("list_view", "large_list_view")):
        own = 3
    else:
        own = 2
    children = [] if types.is_dictionary(kind) else [kind.field(number).type for number in range(kind.num_fields)]
    if types.is_run_end_encoded(kind):
        children = [kind.run_end_type, kind.value_type]
    counts = [_count_parts(child) for child in children]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    return 1 + sum(nodes for nodes, _ in known), own + sum(buffers for _, buffers in known)
