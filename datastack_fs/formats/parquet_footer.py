"""The footer of a Parquet file: where each column of each row group lies, checked before Arrow reads it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, NamedTuple

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.thrift_compact import read_struct
from datastack_fs.resource import Range, ResourceInfo, ResourceOpener, StreamedResource

TAIL_BYTES: Final = 64 << 10
"""What is read of the end of a file at first: most footers are shorter."""

CARRIED_BYTES: Final = 256 << 10
"""A footer up to this size goes along when an iterator is pickled; a longer one is read again."""

MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"
_END_BYTES: Final = 8
_PADDING: Final = 100  # writers before parquet-mr 1.2.9 forgot the header of the dictionary: PARQUET-816

# Numbers of fields: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
_ROWS, _GROUPS, _CREATED_BY = 3, 4, 6
_CHUNKS, _GROUP_ROWS = 1, 3
_FILE_PATH, _CHUNK, _CRYPTO, _ENCRYPTED_CHUNK = 1, 3, 8, 9
_VALUES, _SIZE, _DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS = 5, 7, 9, 11, 12
_NULLS: Final = 3
_WANTED: Final[dict[int, Any]] = {
    _ROWS: None,
    _CREATED_BY: None,
    _GROUPS: [
        {
            _GROUP_ROWS: None,
            _CHUNKS: [
                {
                    _FILE_PATH: None,
                    _CRYPTO: {},
                    _ENCRYPTED_CHUNK: None,
                    _CHUNK: {
                        _VALUES: None,
                        _SIZE: None,
                        _DATA_PAGE: None,
                        _DICTIONARY_PAGE: None,
                        _STATISTICS: {_NULLS: None},
                    },
                }
            ],
        }
    ],
}


class Chunk(NamedTuple):
    """One column of one row group: its bytes, its values, and how many of them are missing, where the file says it."""

    place: Range
    values: int
    missing: int | None


class ParquetFooter:
    """The footer of a Parquet file. It pickles as the file's address and version, and its bytes unless they are many.

    pyarrow says the same of a whole file, but ends the process where a footer is broken (C++ exceptions that its
    ``ColumnChunkMetaData`` does not catch, version 26): so that is never asked.

    Raises:
        DatasetFileCorruptError: the file has none, a broken or an encrypted one.
    """

    def __init__(self, resource: StreamedResource) -> None:
        self.connector: ResourceOpener = resource.connector
        self.info: ResourceInfo = resource.info
        self.what = f"{resource.identifier} in {resource.connector.url}"
        self._content: bytes | None = self._fetched()

    @property
    def content(self) -> bytes:
        """The footer, and the eight bytes after it."""
        if self._content is None:
            self._content = self._fetched()
        return self._content

    @cached_property
    def lengths(self) -> list[int]:
        """How many rows each row group has."""
        found = [group.get(_GROUP_ROWS, -1) for group in self._groups]
        promised = self._fields.get(_ROWS)
        if min(found, default=0) < 0 or sum(found) != promised:
            raise DatasetFileCorruptError(
                f"{self.what} has row groups of {sum(found):,} rows, and its footer promises {promised!r}"
            )
        return found

    def check_width(self, columns: int) -> None:
        """Refuses row groups that have not this many columns."""
        for number, group in enumerate(self._groups):
            found = len(group.get(_CHUNKS, ()))
            if found != columns:
                raise DatasetFileCorruptError(
                    f"{self.what}: row group {number} has {found} columns, and the schema {columns}"
                )

    def chunk(self, group: int, leaf: int, name: str, *, nested: bool) -> Chunk:
        """Where a column of a row group lies, and what the footer says of it.

        Args:
            group: number of the row group.
            leaf: number of the column, where each field of a struct is one of its own.
            name: of the column, for messages.
            nested: whether a row may have several values, or none.
        """
        what = f"{self.what}: column {name!r} of row group {group}"
        found = self._groups[group][_CHUNKS][leaf]
        fields = found.get(_CHUNK, {})
        if found.get(_FILE_PATH):
            raise DatasetFileCorruptError(f"{what} lies in another file, which is not read: {found[_FILE_PATH]!r:.80}")
        if _CRYPTO in found or _ENCRYPTED_CHUNK in found:
            raise DatasetFileCorruptError(
                f"{what} is encrypted, and there is no way to give a key here: leave it out, sample=[…] names the "
                "others, or decrypt the file first"
            )
        if not fields.keys() >= {_VALUES, _SIZE, _DATA_PAGE}:
            raise DatasetFileCorruptError(f"{what} has no place in the footer")
        rows, values = self.lengths[group], fields[_VALUES]
        # Before anyone makes room for rows that are not there.
        if values < rows or (values > rows and not nested):
            raise DatasetFileCorruptError(f"{what} has {values:,} values for {rows:,} rows")
        start = fields[_DATA_PAGE]
        if 0 < fields.get(_DICTIONARY_PAGE, 0) < start:
            start = fields[_DICTIONARY_PAGE]
        stop = start + fields[_SIZE]
        end = self.info.size - len(self.content)
        if not len(MAGIC) <= start <= stop <= end and (rows or start != stop):  # no rows may lie nowhere
            raise DatasetFileCorruptError(f"{what} lies at the bytes {start:,} to {stop:,}, and data ends at {end:,}")
        missing = fields.get(_STATISTICS, {}).get(_NULLS)
        return Chunk((start, min(stop + self._padding, end)), values, missing)

    @cached_property
    def _fields(self) -> dict[int, Any]:
        try:
            return read_struct(self.content[:-_END_BYTES], _WANTED)
        except ValueError as error:
            raise DatasetFileCorruptError(f"{self.what} has a footer that is none of Parquet: {error}") from error

    @property
    def _groups(self) -> list[dict[int, Any]]:
        groups: list[dict[int, Any]] = self._fields.get(_GROUPS, [])
        return groups

    @property
    def _padding(self) -> int:
        return _PADDING if self._fields.get(_CREATED_BY, b"").startswith(b"parquet-mr") else 0

    def _fetched(self) -> bytes:
        size = self.info.size
        tail = self._bytes(max(0, size - TAIL_BYTES), size)
        magic = tail[-len(MAGIC) :]
        if magic == _ENCRYPTED:
            raise DatasetFileCorruptError(
                f"{self.what} is encrypted: decrypt it first, there is no way to give a key here"
            )
        length = int.from_bytes(tail[-_END_BYTES : -len(MAGIC)], "little") + _END_BYTES
        if magic != MAGIC or length + len(MAGIC) > size:
            raise DatasetFileCorruptError(
                f"{self.what} is no whole Parquet file: it has {size:,} bytes, and they end with {magic!r}, not with a "
                f"footer and {MAGIC!r}"
            )
        return tail[-length:] if length <= len(tail) else self._bytes(size - length, size)

    def _bytes(self, start: int, stop: int) -> bytes:
        return self.connector.get_ranges(self.info.identifier, [(start, stop)], info=self.info)[0]

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name not in {"lengths", "_fields"}}
        long = self._content is not None and len(self._content) > CARRIED_BYTES
        return {**kept, "_content": None if long else self._content}
