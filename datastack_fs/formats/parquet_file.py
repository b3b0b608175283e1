"""The footer and the row groups of a Parquet file, read by exact byte ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from datastack_fs.errors import DatasetFileCorruptError, DatastackError
from datastack_fs.formats.fetched_file import FetchedFile
from datastack_fs.formats.row_groups import Group, RowGroups
from datastack_fs.resource import Range, ResourceInfo, ResourceOpener, StreamedResource

TAIL_BYTES: Final = 64 << 10
"""What is read of the end of a file at first: most footers are shorter."""

CARRIED_BYTES: Final = 256 << 10
"""A footer up to this size goes along when an iterator is pickled; a larger one is read again."""

_MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"
_END_BYTES: Final = 8
_PADDING: Final = 100  # writers before parquet-mr 1.2.9 forgot the header of the dictionary: PARQUET-816

# What pyarrow raises on broken files: its own errors, and built-in ones for what Python code of it stumbles over.
_ARROW_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
)


@contextmanager
def reading_arrow(what: str, kind: str) -> Iterator[None]:
    """Around everything that pyarrow does: whatever it raises on a broken file becomes ours, and names the file."""
    try:
        yield
    except DatastackError:
        raise
    except _ARROW_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetFileCorruptError(f"{what} can't be read as {kind}: {reason}") from error


class ParquetFooter:
    """The footer of a Parquet file: its bytes, and the file's address and version. It pickles without long bytes.

    Raises:
        DatasetFileCorruptError: the file has none, or an encrypted one.
    """

    def __init__(self, resource: StreamedResource) -> None:
        self.connector: ResourceOpener = resource.connector
        self.info: ResourceInfo = resource.info
        self.what = f"{resource.identifier} in {resource.connector.url}"
        self._content: bytes | None = self._fetch()

    def metadata(self) -> pq.FileMetaData:
        """The footer, parsed."""
        if self._content is None:
            self._content = self._fetch()
        with reading_arrow(self.what, "Parquet"):
            return pq.read_metadata(pa.BufferReader(_MAGIC + self._content))  # as a file of nothing else

    def _fetch(self) -> bytes:
        size = self.info.size
        tail = self._bytes(max(0, size - TAIL_BYTES), size)
        magic = tail[-len(_MAGIC) :]
        if magic == _ENCRYPTED:
            raise DatasetFileCorruptError(f"{self.what} is encrypted: decrypt it first, there is no way to give a key")
        length = int.from_bytes(tail[-_END_BYTES : -len(_MAGIC)], "little") + _END_BYTES
        if magic != _MAGIC or length + len(_MAGIC) > size:
            raise DatasetFileCorruptError(
                f"{self.what} is no whole Parquet file: it has {size:,} bytes, and they end with {magic!r}, not with a "
                f"footer and {_MAGIC!r}"
            )
        return tail[-length:] if length <= len(tail) else self._bytes(size - length, size)

    def _bytes(self, start: int, stop: int) -> bytes:
        return self.connector.get_ranges(self.info.identifier, [(start, stop)], info=self.info)[0]

    def __getstate__(self) -> dict[str, Any]:
        long = self._content is not None and len(self._content) > CARRIED_BYTES
        return {**self.__dict__, "_content": None if long else self._content}


class ParquetGroups(RowGroups):
    """The row groups of a Parquet file.

    Args:
        footer: of the file.
        cache_bytes: how much of decoded groups is kept.
    """

    def __init__(self, footer: ParquetFooter, cache_bytes: int) -> None:
        self._what = footer.what
        self._fetched_file = FetchedFile(footer.connector, footer.info)
        self._metadata = footer.metadata()
        with self._reading():
            self._file = pq.ParquetFile(
                pa.PythonFile(self._fetched_file, mode="r"),
                metadata=self._metadata,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            self._schema = self._file.schema_arrow
            lengths = self._lengths()
            self._leaves = self._leaves_by_name()
        self._missing: dict[str, bool] = {}
        super().__init__(footer.connector, footer.info, lengths, cache_bytes)

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._schema

    def _reading(self) -> Any:
        return reading_arrow(self._what, "Parquet")

    def _lengths(self) -> list[int]:
        metadata = self._metadata
        lengths = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        if min(lengths, default=0) < 0 or sum(lengths) != metadata.num_rows:
            raise DatasetFileCorruptError(
                f"{self._what} has row groups of {sum(lengths):,} rows, and its footer promises {metadata.num_rows:,}"
            )
        for group in range(metadata.num_row_groups):
            if metadata.num_columns:
                self._check_count(group, 0)  # a length that is wrong would make indices of rows that are not there
        return lengths

    def _leaves_by_name(self) -> dict[str, range]:
        """The columns as the file has them, by name: each field of a struct is one of its own."""
        leaves = {}
        first = 0
        for field in self._schema:
            stop = first + _count_leaves(field.type)
            leaves[field.name] = range(first, stop)
            first = stop
        if first != self._metadata.num_columns:
            raise DatasetFileCorruptError(
                f"{self._what}: its schema has {first:,} columns, and its row groups {self._metadata.num_columns:,}"
            )
        return leaves

    def _ranges(self, group: int, names: Sequence[str]) -> list[Range]:
        leaves = [leaf for name in names for leaf in self._leaves[name]]
        for leaf in leaves:
            self._check_count(group, leaf)
        return [self._chunk_range(group, leaf) for leaf in leaves]

    def _chunk_range(self, group: int, leaf: int) -> Range:
        chunk = self._metadata.row_group(group).column(leaf)
        place = f"{self._what}: column {chunk.path_in_schema!r} of row group {group}"
        if chunk.file_path:
            raise DatasetFileCorruptError(f"{place} lies in another file, which is not read: {chunk.file_path!r}")
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        stop = start + chunk.total_compressed_size
        if not len(_MAGIC) <= start <= stop <= self._info.size:
            raise DatasetFileCorruptError(
                f"{place} lies at the bytes {start:,} to {stop:,} of a file of {self._info.size:,}"
            )
        return start, min(stop + self._padding, self._info.size)

    @cached_property
    def _padding(self) -> int:
        return _PADDING if self._metadata.created_by.startswith("parquet-mr") else 0

    def _check_count(self, group: int, leaf: int) -> None:
        """Refuses a chunk that can't have the rows of its group, before anyone makes room for them."""
        rows = self._metadata.row_group(group)
        chunk = rows.column(leaf)
        nested = self._metadata.schema.column(leaf).max_repetition_level > 0
        if chunk.num_values < rows.num_rows or (chunk.num_values > rows.num_rows and not nested):
            raise DatasetFileCorruptError(
                f"{self._what}: column {chunk.path_in_schema!r} of row group {group} has {chunk.num_values:,} values "
                f"for {rows.num_rows:,} rows"
            )

    def _decode(
        self, group: int, names: Sequence[str], ranges: Sequence[Range], answers: Sequence[bytes]
    ) -> Group:
        self._fetched_file.put(ranges, answers)
        try:
            # One thread: it is as quick for groups of thousands of rows, and a forked child has none of Arrow's.
            table = self._file.read_row_group(group, columns=list(names), use_threads=False)
        finally:
            self._fetched_file.close()
        columns = {name: table.column(name) for name in names}
        length = self._metadata.row_group(group).num_rows
        for name, column in columns.items():
            if len(column) != length:
                raise DatasetFileCorruptError(
                    f"{self._what}: column {name!r} of row group {group} has {len(column):,} rows of {length:,}"
                )
        return columns

    def _has_missing(self, name: str) -> bool:
        if name not in self._missing:
            self._missing[name] = self._count_missing(name)
        return self._missing[name]

    def _count_missing(self, name: str) -> bool:
        kind = self._schema.field(name).type
        if not (types.is_integer(kind) or types.is_boolean(kind)):
            return False  # the others have a value for what is missing
        leaf = self._leaves[name].start
        for group in range(self._metadata.num_row_groups):
            found = self._metadata.row_group(group).column(leaf).statistics
            if found is not None and found.has_null_count and found.null_count:
                return True
        return False


def _count_leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count_leaves(kind.storage_type)
    if types.is_dictionary(kind) or not kind.num_fields:
        return 1
    return sum(_count_leaves(kind.field(number).type) for number in range(kind.num_fields))
