"""The bytes of an archive's members: ranges of the archive, or what comes out of decompressing them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final, cast

import numpy as np

from datastack_fs.connectors.archive_index import HEADER_BYTES, Index, data_start
from datastack_fs.connectors.archive_members import IndexingError, Member
from datastack_fs.connectors.archive_pool import StreamPool
from datastack_fs.decompression import FREE_BYTES, STORED, ZIP_METHODS, Decompressor, ForwardStream, StreamError
from datastack_fs.errors import UnsupportedStorageError
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import StorageConnector

_PIECE_BYTES = 64 << 10
_MOST_AHEAD = 4 << 20
_MOST_HEADER_BYTES = HEADER_BYTES + 2 * 0xFFFF
_MOST_JOINED: Final = 16 << 20
_UNKNOWN: Final = -1
_HEADER: Final = np.dtype([("magic", "S4"), ("between", "V22"), ("lengths", "<u2", 2)])
_COLUMNS: Final = ("offset", "end", "size", "stored_size", "method", "crc", "encrypted")


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
        members = index.members
        offsets, ends = members.column("offset", places), members.column("end", places)
        if index.starts is not None:
            starts = np.fromiter(map(index.starts.get, offsets.tolist(), repeat(_UNKNOWN)), np.int64, len(places))
            sizes = members.column("stored_size", places)
            with_header = np.minimum(ends, offsets + _MOST_HEADER_BYTES + sizes)
            ends = np.where(starts == _UNKNOWN, with_header, starts + sizes)
            offsets = np.where(starts == _UNKNOWN, offsets, starts)
        return list(zip(offsets.tolist(), ends.tolist(), strict=True))

    def unpack(
        self, index: Index, places: Sequence[int], spans: Sequence[Range], packed: Sequence[bytes | memoryview]
    ) -> list[bytes | Exception]:
        """Whole members of what was read of the archive for them, each as its bytes or as what is wrong with it."""
        if index.starts is None:
            return [bytes(content) for content in packed]
        if sum(map(len, packed)) <= _MOST_JOINED:
            whole = self._stored_wholes(index, places, spans, packed)
        else:
            whole = [None] * len(places)
        return [
            _tried(self._unpack, index, index.members.at(place), start, content) if stored is None else stored
            for place, (start, _), content, stored in zip(places, spans, packed, whole, strict=True)
        ]

    def read_whole(self, index: Index, places: Sequence[int]) -> list[bytes | Exception]:
        """Whole members, each as its bytes or as what is wrong with it.

        That is one request for them all, or one pass through a compressed tar.
        """
        if len(places) == 1 and index.starts is None:  # of a tar: arrays of one are slow
            return [_tried(self._read_member, index, index.members.at(places[0]))]
        offsets = index.members.column("offset", places).tolist()
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

    def _stored_wholes(
        self, index: Index, places: Sequence[int], spans: Sequence[Range], packed: Sequence[bytes | memoryview]
    ) -> list[bytes | None]:
        """The zip members that are stored as they are, and in order; None for one to be looked at by itself.

        Thousands of small ones are checked together, since Python's calls for each would cost more than their bytes.
        """
        columns = {name: index.members.column(name, places) for name in _COLUMNS}
        offsets, sizes, crcs = columns["offset"], columns["size"], columns["crc"]
        starts = np.fromiter((start for start, _ in spans), np.int64, len(spans))
        lengths = np.fromiter(map(len, packed), np.int64, len(packed))
        content = b"".join(packed)
        begins = np.cumsum(lengths) - lengths
        has_header = starts == offsets
        after = np.zeros_like(starts)
        is_fit = (columns["method"] == STORED) & (sizes == columns["stored_size"]) & (columns["encrypted"] == 0)
        is_fit &= ~has_header | (lengths >= HEADER_BYTES)
        headed = np.flatnonzero(is_fit & has_header)
        fields = np.frombuffer(content, np.uint8)[begins[headed, None] + np.arange(HEADER_BYTES)].view(_HEADER)[:, 0]
        is_fit[headed] = fields["magic"] == b"PK\3\4"
        after[headed] = HEADER_BYTES + fields["lengths"].sum(axis=1, dtype=np.int64)
        is_fit &= (after + sizes <= lengths) & (starts + after + sizes <= columns["end"])
        firsts = np.where(is_fit, begins + after, 0)
        stops = np.where(is_fit, firsts + sizes, 0)
        found = [content[first:stop] for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True)]
        is_fit &= np.fromiter(map(zlib.crc32, found), np.int64, len(found)) == crcs
        read = np.flatnonzero(is_fit & has_header)
        cast(dict[int, int], index.starts).update(
            zip(offsets[read].tolist(), (starts + after)[read].tolist(), strict=True)
        )
        return [body if fit else None for body, fit in zip(found, is_fit.tolist(), strict=True)]

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


def _tried(read: Callable[..., bytes], *arguments: Any) -> bytes | Exception:
    try:
        return read(*arguments)
    except (StreamError, IndexingError, UnsupportedStorageError) as error:
        return error


def _check_crc(member: Member, content: bytes | memoryview) -> None:
    if member.crc is not None and zlib.crc32(content) != member.crc:
        raise StreamError(f"its CRC-32 is {zlib.crc32(content):08x}, and {member.crc:08x} was promised")
