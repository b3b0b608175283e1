"""The bytes of an archive's members: ranges of the archive, or what comes out of decompressing them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

from datastack_fs.connectors.archive_index import HEADER_BYTES, Index, data_start
from datastack_fs.connectors.archive_members import NO_CRC, IndexingError, Member
from datastack_fs.connectors.archive_pool import StreamPool
from datastack_fs.decompression import FREE_BYTES, STORED, ZIP_METHODS, Decompressor, ForwardStream, StreamError
from datastack_fs.errors import UnsupportedStorageError
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import StorageConnector

_PIECE_BYTES = 64 << 10
_MOST_AHEAD = 4 << 20
_MOST_HEADER_BYTES = HEADER_BYTES + 2 * 0xFFFF
_HEADER: Final = struct.Struct("<4s22xHH")


class ArchiveReader:
    """Reads the members of one archive, for many threads.

    Args:
        connector: the store that holds the archive.
        identifier: the archive's name there.
        max_ratio: a member that becomes so many times larger is refused.
    """

    def __init__(self, connector: StorageConnector, identifier: str, max_ratio: float) -> None:
        self._connector = connector
        self._identifier = identifier
        self._max_ratio = max_ratio
        self._streams = PerProcess(StreamPool)

    def close(self) -> None:
        """Lets go of decompressors that could be read on."""
        self._streams.close()

    def check(self, member: Member) -> None:
        """Refuses what can't be read, before any of it is.

        Raises:
            UnsupportedStorageError: the member is encrypted, or compressed in a way that is not known.
            StreamError: its sizes can't be right, or are those of a decompression bomb.
        """
        if member.encrypted:
            raise UnsupportedStorageError(
                "it is encrypted; unpack the archive with its password, and store the members"
            )
        if member.method == STORED:
            if member.size != member.stored_size:
                raise StreamError(
                    f"{member.stored_size:,} bytes are stored of it, and it is said to have {member.size:,}"
                )
        elif member.method not in ZIP_METHODS:
            raise UnsupportedStorageError(
                f"it is compressed by method {member.method}, and deflate, bzip2 and LZMA are known; pack it anew"
            )
        elif member.size > FREE_BYTES and member.size > self._max_ratio * member.stored_size:
            raise StreamError(f"{member.stored_size:,} bytes would become {member.size:,}; max_ratio= allows more")

    def read(self, index: Index, member: Member, ranges: Sequence[Range]) -> list[bytes]:
        """Ranges of a member.

        Raises:
            StreamError, IndexingError: its bytes are not what they should be.
        """
        self.check(member)
        if index.codec is None and member.method == STORED:
            return self._read_stored(index, member, ranges)
        return self._read_forward(index, member, ranges)

    def spans(self, index: Index, places: Sequence[int]) -> list[Range] | None:
        """What to read of the archive for whole members; None for a compressed tar, which is read from its beginning.

        A local header that is not known yet comes along with what follows it.
        """
        if index.codec:
            return None
        offsets, ends = (index.members.column(name, places) for name in ("offset", "end"))
        if index.starts is None:
            return list(zip(offsets, ends, strict=True))
        sizes = index.members.column("stored_size", places)
        starts = map(index.starts.get, offsets)
        return [
            (offset, min(end, offset + _MOST_HEADER_BYTES + size)) if start is None else (start, start + size)
            for offset, end, size, start in zip(offsets, ends, sizes, starts, strict=True)
        ]

    def unpack(
        self, index: Index, places: Sequence[int], spans: Sequence[Range], packed: Sequence[bytes | memoryview]
    ) -> list[bytes | Exception]:
        """Whole members of what was read of the archive for them, each as its bytes or as what is wrong with it."""
        whole = self._whole(index, places, spans, packed)
        return [
            _tried(self._unpack, index, index.members.at(place), start, content) if stored is None else stored
            for place, (start, _), content, stored in zip(places, spans, packed, whole, strict=True)
        ]

    def read_whole(self, index: Index, places: Sequence[int]) -> list[bytes | Exception]:
        """Whole members, each as its bytes or as what is wrong with it.

        That is one request for them all, or one pass through a compressed tar.
        """
        offsets = index.members.column("offset", places)
        unique = [place for _, place in sorted(set(zip(offsets, places, strict=True)))]
        spans = self.spans(index, unique)
        if spans is None:
            found = [_tried(self._read_member, index, index.members.at(place)) for place in unique]
        else:
            found = self.unpack(index, unique, spans, self._read_archive(index.archive, spans))
        contents = dict(zip(unique, found, strict=True))
        return [contents[place] for place in places]

    def locate(self, index: Index, members: Sequence[Member]) -> list[Range | None]:
        """Where members lie in the archive; None for a compressed one."""
        for member in members:
            self.check(member)
        stored = [member for member in members if member.method == STORED and index.codec is None]
        if index.starts is not None:
            unknown = [member for member in stored if member.offset not in index.starts]
            wanted = [(member.offset, member.offset + HEADER_BYTES) for member in unknown]
            for member, header in zip(unknown, self._read_archive(index.archive, wanted), strict=True):
                index.starts[member.offset] = data_start(member, header)
        starts = index.starts or {}
        places = {member: starts.get(member.offset, member.offset) for member in stored}
        return [(places[member], places[member] + member.size) if member in places else None for member in members]

    def pieces(self, archive: ResourceInfo, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of the archive from front to back, fetched in ranges that grow, handed out in small pieces."""
        ahead = _PIECE_BYTES
        while start < stop:
            block = memoryview(self._read_archive(archive, [(start, min(start + ahead, stop))])[0])
            for offset in range(0, len(block), _PIECE_BYTES):
                yield bytes(block[offset : offset + _PIECE_BYTES])
            start += len(block)
            ahead = min(2 * ahead, _MOST_AHEAD)

    def open_tar(self, archive: ResourceInfo, codec: Callable[[], Decompressor]) -> ForwardStream:
        """A compressed tar, decompressed."""
        return ForwardStream(self.pieces(archive, 0, archive.size), codec, most_ratio=self._max_ratio)

    def _read_archive(self, archive: ResourceInfo, ranges: Sequence[Range]) -> list[bytes]:
        return self._connector.get_ranges(self._identifier, ranges, info=archive)

    def _read_stored(self, index: Index, member: Member, ranges: Sequence[Range]) -> list[bytes]:
        head, start = self._beginning(index, member)
        at = start - member.offset
        if at + member.size <= len(head):
            answers = [head[at + first : at + stop] for first, stop in ranges]
        else:
            answers = self._read_archive(index.archive, [(start + first, start + stop) for first, stop in ranges])
        for wanted, answer in zip(ranges, answers, strict=True):
            if wanted == (0, member.size):
                _check_crc(member, answer)
        return answers

    def _read_member(self, index: Index, member: Member) -> bytes:
        return self.read(index, member, [(0, member.size)])[0]

    def _whole(
        self, index: Index, places: Sequence[int], spans: Sequence[Range], packed: Sequence[bytes | memoryview]
    ) -> list[bytes | None]:
        """The members that are stored as they are, and in order; None for one that is to be looked at by itself."""
        names = ("offset", "end", "size", "stored_size", "method", "crc", "encrypted")
        rows = zip(spans, packed, *(index.members.column(name, places) for name in names), strict=True)
        found: list[bytes | None] = []
        for (start, _), content, offset, end, size, stored_size, method, crc, encrypted in rows:
            has_header = index.starts is not None and start == offset
            at = _after_header(content) if has_header else 0
            whole = None
            if at is not None and method == STORED and size == stored_size and not encrypted:
                body = bytes(content[at : at + size])
                if start + at + size <= end and (crc == NO_CRC or zlib.crc32(body) == crc):
                    whole = body
                    if has_header:
                        cast(dict[int, int], index.starts)[offset] = start + at
            found.append(whole)
        return found

    def _unpack(self, index: Index, member: Member, start: int, packed: bytes | memoryview) -> bytes:
        """A member's bytes, from those of the archive that begin at ``start``."""
        self.check(member)
        if index.starts is not None and start == member.offset:
            index.starts[member.offset] = data_start(member, bytes(packed[:HEADER_BYTES]))
            packed = packed[index.starts[member.offset] - start :]
        packed = packed[: member.stored_size]
        if member.method == STORED:
            _check_crc(member, packed)
            return bytes(packed)
        pieces = (bytes(packed[offset : offset + _PIECE_BYTES]) for offset in range(0, len(packed), _PIECE_BYTES))
        return self._decompressed(member, pieces).read(member.size)

    def _read_forward(self, index: Index, member: Member, ranges: Sequence[Range]) -> list[bytes]:
        streams = self._streams.get()
        key = index.archive.version if index.codec else index.version(member)
        base = member.offset if index.codec else 0
        stream = streams.take(key, base + min(ranges)[0]) or self._open_stream(index, member)
        found: dict[Range, bytes] = {}
        for first, stop in sorted(ranges):  # they don't overlap: the connector's base has joined those that did
            stream.seek(base + first)
            found[first, stop] = stream.read(stop - first)
        streams.put(key, stream)
        return [found[wanted] for wanted in ranges]

    def _open_stream(self, index: Index, member: Member) -> ForwardStream:
        if index.codec is not None:
            return self.open_tar(index.archive, index.codec)
        return self._decompressed(member, self._member_pieces(index, member))

    def _decompressed(self, member: Member, pieces: Iterator[bytes]) -> ForwardStream:
        promised = member.size, member.crc or 0
        return ForwardStream(pieces, ZIP_METHODS[member.method], most_ratio=self._max_ratio, promised=promised)

    def _member_pieces(self, index: Index, member: Member) -> Iterator[bytes]:
        head, start = self._beginning(index, member)
        stop = start + member.stored_size
        if head:
            yield head[start - member.offset : stop - member.offset]
            start = max(start, member.offset + len(head))
        yield from self.pieces(index.archive, start, stop)

    def _beginning(self, index: Index, member: Member) -> tuple[bytes, int]:
        """What was read to find where a member's bytes begin (a small one whole, with its local header), and where."""
        if index.starts is None:
            return b"", member.offset
        known = index.starts.get(member.offset)
        if known is not None:
            return b"", known
        head = self._read_archive(index.archive, [(member.offset, min(member.offset + _PIECE_BYTES, member.end))])[0]
        start = index.starts[member.offset] = data_start(member, head)
        return head, start


def _after_header(content: bytes | memoryview) -> int | None:
    """Where a zip member's bytes begin in what was read from its local header on; None if that is none."""
    if len(content) < HEADER_BYTES:
        return None
    magic, name_bytes, extra_bytes = _HEADER.unpack_from(content)
    return HEADER_BYTES + name_bytes + extra_bytes if magic == b"PK\3\4" else None


def _tried(read: Callable[..., bytes], *arguments: Any) -> bytes | Exception:
    try:
        return read(*arguments)
    except (StreamError, IndexingError, UnsupportedStorageError) as error:
        return error


def _check_crc(member: Member, content: bytes | memoryview) -> None:
    if member.crc is not None and zlib.crc32(content) != member.crc:
        raise StreamError(f"its CRC-32 is {zlib.crc32(content):08x}, and {member.crc:08x} was promised")
