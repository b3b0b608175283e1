"""Compressed bytes as they were, front to back, in bounded memory and within limits."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

BLOCK_BYTES: Final = 1 << 20
FREE_BYTES: Final = 16 << 20
"""So much may come out of anything, before the ratio of a decompression bomb is looked for."""

MOST_BYTES: Final = 1 << 40
MOST_MEMBERS: Final = 1_000_000
MOST_RATIO: Final = 1000.0
MEMORY_BYTES: Final = 256 << 20
"""Most memory that an xz or LZMA stream may ask for with its dictionary."""

STORED: Final = 0
_DEFLATED, _BZIP2, _LZMA = 8, 12, 14


class StreamError(ValueError):
    """The bytes can't be decompressed, or are not those that were promised; the text says how."""


class Decompressor(Protocol):
    """What ``bz2`` and ``lzma`` have, and ``zlib`` nearly."""

    @property
    def eof(self) -> bool: ...  # noqa: D102

    @property
    def needs_input(self) -> bool: ...  # noqa: D102

    @property
    def unused_data(self) -> bytes: ...  # noqa: D102

    def decompress(self, data: bytes, max_length: int) -> bytes: ...  # noqa: D102


class ForwardStream:
    """Decompressed bytes that are read from front to back; to go back is to begin anew.

    Args:
        pieces: the compressed bytes.
        start: makes a decompressor.
        most_ratio: so many times more may come out than went in.
        promised: size and CRC-32 of what comes out. They are checked when the end is reached. Without them there may be
            several compressed streams, one after the other, as gzip, bzip2 and xz have it.

    Examples:
        >>> stream = ForwardStream(iter([bz2.compress(b"hoo"), bz2.compress(b"hoot")]), bz2.BZ2Decompressor)
        >>> stream.seek(2), stream.read(3), stream.read(9)
        (2, b'oho', b'ot')
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        start: Callable[[], Decompressor],
        *,
        most_ratio: float = MOST_RATIO,
        promised: tuple[int, int] | None = None,
    ) -> None:
        self._pieces = pieces
        self._start = start
        self._most_ratio = most_ratio
        self._promised = promised
        self._decompressor = start()
        self._next_input = b""
        self._taken = 0
        self._ended = False
        self._position = 0
        self._crc = 0

    def tell(self) -> int:
        """How many bytes have come out."""
        return self._position

    def seek(self, position: int) -> int:
        """Skips forward to a position, or to the end if that comes first."""
        if position < self._position:
            raise ValueError(f"a stream at {self._position} can't go back to {position}")
        while self._position < position and self._read_some(position - self._position):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than asked for only at the end."""
        blocks = []
        while size > 0 and (block := self._read_some(size)):
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def _read_some(self, most: int) -> bytes:
        if self._promised is not None:
            most = min(most, self._promised[0] - self._position)
        block = self._decompress(min(most, BLOCK_BYTES)) if most > 0 else b""
        self._position += len(block)
        if self._promised is not None:
            self._crc = zlib.crc32(block, self._crc)
            self._check_end(*self._promised, ended=not block)
        elif self._position > MOST_BYTES:
            raise StreamError(f"more than {MOST_BYTES:,} bytes come out of it")
        return block

    def _check_end(self, size: int, crc: int, *, ended: bool) -> None:
        if self._position < size:
            if ended:
                raise StreamError(f"it ends after {self._position:,} of {size:,} bytes")
        elif not self._ended:
            if self._decompress(1):
                raise StreamError(f"more than the promised {size:,} bytes come out of it")
            self._ended = True
            if self._crc != crc:
                raise StreamError(f"its CRC-32 is {self._crc:08x}, and {crc:08x} was promised")

    def _decompress(self, most: int) -> bytes:
        """Some of the next bytes; none at the end."""
        while not self._ended:
            if self._decompressor.eof:
                self._begin_next()
                continue
            data = b""
            exhausted = False
            if self._decompressor.needs_input:
                data = self._next_input or next(self._pieces, b"")
                self._next_input = b""
                self._taken += len(data)
                exhausted = not data
            try:
                block = self._decompressor.decompress(data, most)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:  # bz2 raises OSError
                raise StreamError(f"it can't be decompressed ({error})") from error
            if block:
                self._check_ratio(self._position + len(block))
                return block
            if exhausted and not self._decompressor.eof:
                self._ended = getattr(self._decompressor, "may_lack_end", False)
                if not self._ended:
                    raise StreamError(f"its compressed bytes end too early, after {self._position:,} bytes")
        return b""

    def _begin_next(self) -> None:
        """After the end of a compressed stream: another may follow, after padding."""
        rest = self._decompressor.unused_data
        if self._promised is not None:
            self._ended = True
            return
        while not (rest := rest.lstrip(b"\0")):
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                return
            rest = piece
        self._next_input = rest
        self._decompressor = self._start()

    def _check_ratio(self, size: int) -> None:
        if size > FREE_BYTES and size > self._most_ratio * self._taken:
            raise StreamError(
                f"{size:,} bytes come out of {self._taken:,}, more than {self._most_ratio:,} times as many; "
                "max_ratio= allows more"
            )


class Inflater:
    """``zlib`` with the methods of ``bz2`` and ``lzma``; ``wbits`` is -15 for zip's deflate, 31 for gzip."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:  # noqa: D102
        return self._inner.eof

    @property
    def needs_input(self) -> bool:  # noqa: D102
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:  # noqa: D102
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: D102
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class Copier:
    """No compression, with the methods of ``bz2``: what goes in comes out."""

    eof = False
    may_lack_end = True
    unused_data = b""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def needs_input(self) -> bool:  # noqa: D102
        return not self._rest

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: D102
        whole = self._rest + data
        self._rest = whole[max_length:]
        return whole[:max_length]


class ZipLZMA:
    """LZMA as zip has it (APPNOTE 5.8.8): two bytes of version, two of length, five of properties, then the stream."""

    may_lack_end = True
    _header_bytes = 9

    def __init__(self) -> None:
        self._header = b""
        self._inner: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:  # noqa: D102
        return self._inner is not None and self._inner.eof

    @property
    def needs_input(self) -> bool:  # noqa: D102
        return self._inner is None or self._inner.needs_input

    @property
    def unused_data(self) -> bytes:  # noqa: D102
        return b"" if self._inner is None else self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: D102
        if self._inner is None:
            self._header += data
            if len(self._header) < self._header_bytes:
                return b""
            self._inner = _raw_lzma(self._header[4 : self._header_bytes], self._header[2:4])
            data, self._header = self._header[self._header_bytes :], b""
        return self._inner.decompress(data, max_length)


def _raw_lzma(properties: bytes, length: bytes) -> lzma.LZMADecompressor:
    if int.from_bytes(length, "little") != len(properties):
        raise ValueError("its LZMA properties have a length that is not 5")
    dictionary = int.from_bytes(properties[1:], "little")
    if dictionary > MEMORY_BYTES:
        raise ValueError(f"its LZMA dictionary has {dictionary:,} bytes, and at most {MEMORY_BYTES:,} are allowed")
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    filters = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(dictionary, 4096)}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)


def _xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_BYTES)


ZIP_METHODS: Final[dict[int, Callable[[], Decompressor]]] = {
    _DEFLATED: lambda: Inflater(-15),
    _BZIP2: bz2.BZ2Decompressor,
    _LZMA: ZipLZMA,
}

TAR_CODECS: Final[dict[bytes, Callable[[], Decompressor]]] = {
    b"\x1f\x8b": lambda: Inflater(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
}
"""By the magic bytes of a compressed tar."""
