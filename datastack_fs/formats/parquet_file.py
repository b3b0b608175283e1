"""The footer and the row groups of a Parquet file, read by exact byte ranges."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import pyarrow as pa
import pyarrow.parquet as pq

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.arrow_columns import lacks_missing
from datastack_fs.formats.arrow_errors import reading_arrow
from datastack_fs.formats.fetched_file import FetchedFile
from datastack_fs.formats.parquet_footer import MAGIC, Chunk, ParquetFooter
from datastack_fs.formats.row_groups import Group, RowGroups
from datastack_fs.iterators.planning import Answers
from datastack_fs.resource import Range


class ParquetGroups(RowGroups):
    """The row groups of a Parquet file.

    Args:
        footer: of the file.
        cache_bytes: how much of decoded groups is kept.
    """

    def __init__(self, footer: ParquetFooter, cache_bytes: int) -> None:
        super().__init__(footer.connector, footer.info, footer.lengths, cache_bytes)
        self._footer = footer
        self._fetched_file = FetchedFile(footer.connector, footer.info)
        with self._reading():
            self._file = pq.ParquetFile(
                pa.PythonFile(self._fetched_file, mode="r"),
                metadata=pq.read_metadata(pa.BufferReader(MAGIC + footer.content)),  # as a file of nothing else
                pre_buffer=False,
                page_checksum_verification=True,
            )
            self._schema = self._file.schema_arrow
            self._columns = self._file.schema
            self._leaves = self._leaves_by_name()
            for group, length in enumerate(footer.lengths):
                if length > footer.info.size:  # there are such files: a value that repeats takes no room
                    self._chunk(group, 0)
        self._missing: dict[str, bool] = {}

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._schema

    def _reading(self) -> AbstractContextManager[None]:
        return reading_arrow(self._footer.what, "Parquet")

    def _leaves_by_name(self) -> dict[str, range]:
        """The columns as the file has them, by name: each field of a struct is one of its own."""
        leaves = {}
        first = 0
        for field in self._schema:
            stop = first + _count_leaves(field.type)
            leaves[field.name] = range(first, stop)
            first = stop
        if first != len(self._columns):
            raise DatasetFileCorruptError(
                f"{self._footer.what}: its schema has {first} columns of Arrow's, and {len(self._columns)} of its own"
            )
        self._footer.check_width(first)
        return leaves

    def _chunk(self, group: int, leaf: int) -> Chunk:
        column = self._columns.column(leaf)
        return self._footer.chunk(group, leaf, column.path, nested=column.max_repetition_level > 0)

    def _ranges(self, group: int, names: Sequence[str]) -> list[Range]:
        return [self._chunk(group, leaf).place for name in names for leaf in self._leaves[name]]

    def _decode(self, group: int, names: Sequence[str], ranges: Sequence[Range], answers: Answers) -> Group:
        self._fetched_file.put(ranges, answers)
        try:
            # One thread: it is as quick for groups of thousands of rows, and a forked child has none of Arrow's.
            table = self._file.read_row_group(group, columns=list(names), use_threads=False)
        finally:
            self._fetched_file.close()
        columns = {name: table.column(name) for name in names}
        length = self._footer.lengths[group]
        for name, column in columns.items():
            if len(column) != length:
                raise DatasetFileCorruptError(
                    f"{self._footer.what}: column {name!r} of row group {group} has {len(column):,} rows of {length:,}"
                )
        return columns

    def _has_missing(self, name: str) -> bool:
        if name not in self._missing:
            self._missing[name] = self._count_missing(name)
        return self._missing[name]

    def _count_missing(self, name: str) -> bool:
        if not lacks_missing(self._schema.field(name).type):
            return False
        leaf = self._leaves[name].start
        return any(self._chunk(group, leaf).missing for group in range(len(self._footer.lengths)))


def _count_leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count_leaves(kind.storage_type)
    if pa.types.is_dictionary(kind) or not kind.num_fields:
        return 1
    return sum(_count_leaves(kind.field(number).type) for number in range(kind.num_fields))
