"""The footer of an Arrow IPC file, and the metadata of its record batches: how many rows, and where which bytes lie.

Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format, and Message.fbs and File.fbs there.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, NamedTuple

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.arrow_stream import BLOCK, CONTINUED, HEADER, HEADER_TYPE, RECORD_BATCH, footer_of_stream
from datastack_fs.formats.flatbuffer import FlatTable
from datastack_fs.formats.kept_index import KEPT_FROM
from datastack_fs.index_cache import IndexCache, IndexKey
from datastack_fs.resource import Content, Range, ResourceInfo, ResourceOpener, StreamedResource

CARRIED_BYTES: Final = 256 << 10
"""Metadata up to this size goes along when an iterator is pickled; more is read again."""

MAGIC: Final = b"ARROW1"
_END_BYTES: Final = 4 + len(MAGIC)
_TAIL_BYTES: Final = 64 << 10
_FEATHER_1: Final = b"FEA1"
_STREAM_KIND: Final = "arrow-stream-1"

_DICTIONARIES, _BATCHES = 2, 3  # fields of Footer
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3  # of RecordBatch
_PAIR: Final = "<qq"


class Block(NamedTuple):
    """Where a message lies."""

    start: int
    body: int
    stop: int


class Batch(NamedTuple):
    """What the metadata of a record batch says.

    Attributes:
        block: where it lies.
        length: how many rows it has.
        nodes: length and number of missing values of each column, nested ones after theirs.
        buffers: place in the body and length of each buffer.
        compressed: whether buffers are.
    """

    block: Block
    length: int
    nodes: list[tuple[int, int]]
    buffers: list[tuple[int, int]]
    compressed: bool


class ArrowFooter:
    """The metadata of an Arrow IPC file, or stream: its footer, real or made of the headers of a stream's messages.

    It pickles as the file's address and version, and its bytes if they are few. The footer of a stream is kept in the
    user's cache folder, by the version of the stream.

    Raises:
        DatasetFileCorruptError: it is no whole file of that format.
    """

    def __init__(self, resource: StreamedResource) -> None:
        self.connector: ResourceOpener = resource.connector
        self.info: ResourceInfo = resource.info
        self.what = f"{resource.identifier} in {resource.connector.url}"
        resource.seek(0)
        start = resource.read(len(MAGIC))
        self.is_stream = start.startswith(CONTINUED)
        """Whether the file ends without the footer."""
        if not self.is_stream:
            self._check_start(start)
        self._kept: tuple[bytes, list[bytes]] | None = None

    @property
    def content(self) -> bytes:
        """The footer, with its length and the magic bytes after it."""
        return self._messages[0]

    @property
    def end(self) -> int:
        """Where the data ends, and the footer begins."""
        return self.info.size if self.is_stream else self.info.size - len(self.content)

    @cached_property
    def dictionaries(self) -> list[Block]:
        """Where the dictionaries lie."""
        return self._blocks(_DICTIONARIES)

    @cached_property
    def batches(self) -> list[Batch]:
        """The record batches."""
        messages = self._messages[1]
        return [self._batch(number, block, messages[number]) for number, block in enumerate(self._blocks(_BATCHES))]

    def message(self, batch: int) -> tuple[Range, Content]:
        """The metadata of a record batch, and its place."""
        block = self.batches[batch].block
        return (block.start, block.body), self._messages[1][batch]

    @property
    def _messages(self) -> tuple[bytes, list[bytes]]:
        if self._kept is None:
            content = self._footer()
            self._kept = content, []
            ranges = [(block.start, block.body) for block in self._blocks(_BATCHES)]
            self._kept = content, self._bytes(ranges)
        return self._kept

    def _footer(self) -> bytes:
        if self.is_stream:
            footer = self._footer_of_stream()
            return footer + len(footer).to_bytes(4, "little") + MAGIC
        size = self.info.size
        (tail,) = self._bytes([(max(0, size - _TAIL_BYTES), size)])
        length = int.from_bytes(tail[-_END_BYTES : -len(MAGIC)], "little", signed=True) + _END_BYTES
        if not tail.endswith(MAGIC) or not _END_BYTES < length <= size - len(MAGIC):
            raise DatasetFileCorruptError(
                f"{self.what} is no whole Arrow file: it has {size:,} bytes, and they end with {tail[-10:]!r}, not "
                f"with a footer and {MAGIC!r}"
            )
        return tail[-length:] if length <= len(tail) else self._bytes([(size - length, size)])[0]

    def _footer_of_stream(self) -> bytes:
        key, cache = IndexKey(self.connector.url, self.info, _STREAM_KIND), IndexCache()
        known = cache.load(key) if self.info.size >= KEPT_FROM else None
        if known is not None:
            return bytes(known)
        with self.connector.get_resource(self.info.identifier, info=self.info) as resource:
            footer = footer_of_stream(resource, self.what)
        if self.info.size >= KEPT_FROM:
            cache.store(key, [footer])
        return footer

    def _check_start(self, start: bytes) -> None:
        if start == MAGIC:
            return
        if start.startswith(_FEATHER_1):
            raise DatasetFileCorruptError(
                f"{self.what} is of Feather's first version: "
                "pyarrow.feather.write_feather(pyarrow.feather.read_table(old), new) writes one that can be read"
            )
        raise DatasetFileCorruptError(f"{self.what} is no Arrow file: it begins with {start!r}, not with {MAGIC!r}")

    def _blocks(self, field: int) -> list[Block]:
        least = 0 if self.is_stream else len(MAGIC)
        try:
            found = FlatTable(self.content[:-_END_BYTES]).structs(field, BLOCK)
        except ValueError as error:
            raise DatasetFileCorruptError(f"{self.what} has a footer that is none of Arrow: {error}") from error
        blocks = [Block(start, start + metadata, start + metadata + body) for start, metadata, body in found]
        for start, middle, stop in blocks:
            if not least <= start < middle <= stop <= self.end:
                raise DatasetFileCorruptError(
                    f"{self.what} has a message at the bytes {start:,} to {stop:,}, and data ends at {self.end:,}"
                )
        return blocks

    def _batch(self, number: int, block: Block, message: bytes) -> Batch:
        what = f"{self.what}: record batch {number} at byte {block.start:,}"
        try:
            start = 8 if message.startswith(CONTINUED) else 4  # without before version 0.15
            table = FlatTable(message[start:])
            header = table.table(HEADER)
            if header is None or table.number(HEADER_TYPE, "<B") != RECORD_BATCH:
                raise ValueError("another message stands there")
            batch = Batch(
                block,
                header.number(_LENGTH, "<q"),
                header.structs(_NODES, _PAIR),
                header.structs(_BUFFERS, _PAIR),
                header.table(_COMPRESSION) is not None,
            )
        except ValueError as error:
            raise DatasetFileCorruptError(f"{what} can't be read: {error}") from error
        size = block.stop - block.body
        if batch.length < 0 or any(
            offset < 0 or length < 0 or offset + length > size for offset, length in batch.buffers
        ):
            raise DatasetFileCorruptError(f"{what} has {batch.length:,} rows, or buffers outside of its {size:,} bytes")
        return batch

    def _bytes(self, ranges: list[Range]) -> list[bytes]:
        return self.connector.get_ranges(self.info.identifier, ranges, info=self.info) if ranges else []

    def __getstate__(self) -> dict[str, Any]:
        kept = self._kept
        if kept is not None and len(kept[0]) + sum(map(len, kept[1])) > CARRIED_BYTES:
            kept = None
        names = ("connector", "info", "what", "is_stream")
        return {**{name: getattr(self, name) for name in names}, "_kept": kept}
