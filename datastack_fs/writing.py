"""What ``set_resource`` was given, as checked blocks of bytes."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias, cast

from datastack_fs.checksums import BLOCK_BYTES, Hashing, parse_checksum
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.resource import StreamedResource
from datastack_fs.threads import made_ahead

Source: TypeAlias = "BinaryIO | bytes | bytearray | memoryview | Iterable[bytes]"

SPOOL_BYTES: Final = 16 << 20
"""A source that can't be read twice is staged in memory up to this size, then in a temporary file."""


AHEAD_BYTES: Final = 8 << 20
"""So far a resource of another store is read on while its bytes are being written."""


class Upload:
    """The source of one write: read once, hashed on the way, checked before its end is reached.

    A connector consumes ``blocks()`` and publishes only if that ended without an error; or, where a store wants size
    and checksum before the bytes, ``staged()``. A whole resource of another store is expected to have the checksum that
    it was stored with there.

    Attributes:
        error: the exception that the source itself raised, to be passed on as it is.
    """

    def __init__(self, source: Source, identifier: str, expected: str | None = None) -> None:
        if isinstance(source, str):
            raise TypeError("a source is a binary file, bytes, or an iterable of bytes; open a path first")
        if not (hasattr(source, "read") or isinstance(source, (bytes, bytearray, memoryview, Iterable))):
            raise TypeError(f"a source is a binary file, bytes, or an iterable of bytes, not {type(source).__name__}")
        self._source = source
        self._identifier = identifier
        self._expected = expected = expected or _checksum_of(source)
        algorithm = parse_checksum(expected)[0] if expected else "sha256"
        self._hashing = Hashing(*dict.fromkeys(["sha256", algorithm]))
        self.error: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes so far; all of them once ``blocks()`` has ended."""
        return self._hashing.size

    @property
    def checksum(self) -> str:
        """sha256 of the bytes so far."""
        return self._hashing.checksum("sha256")

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yields the source in blocks of at most ``size`` bytes: of just so many, but for the last, if it is a file.

        Raises:
            DatasetFileCorruptError: instead of ending, if the bytes do not have the expected checksum.
        """
        for block in self._guarded(size):
            self._hashing.update(block)
            yield block
        if self._expected is not None:
            self._hashing.verify(self._expected, self._identifier)

    @contextmanager
    def staged(self) -> Iterator[Staged]:
        """The source as a file whose size and checksum are known; a source that can seek is read twice instead.

        One that can seek and comes with its sha256 is read only once: ``parts`` holds it to that, at its end. Of all
        others, nothing has been written anywhere yet when the source fails or has another checksum than expected.
        """
        if isinstance(self._source, (bytes, bytearray, memoryview)):
            self._hashing.drain(self.blocks_of(self._source))
            self._verify()
            yield Staged(io.BytesIO(self._source), self.size, self.checksum, is_ours=True)
        elif self._seekable():
            file = cast(BinaryIO, self._source)
            start = file.tell()
            algorithm, digits = parse_checksum(self._expected) if self._expected else ("", "")
            if algorithm == "sha256":
                with self._noting():
                    size = max(file.seek(0, io.SEEK_END) - start, 0)
                yield Staged(file, size, f"sha256:{digits}", start, self._noting, promised=self._identifier)
                return
            crc = 0
            for block in self.blocks():
                crc = zlib.crc32(block, crc)
            yield Staged(file, self.size, self.checksum, start, self._noting, crc32=crc)
        else:
            with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES, prefix="datastack-") as spool:
                for block in self.blocks():
                    spool.write(block)
                yield Staged(cast(BinaryIO, spool), self.size, self.checksum, is_ours=True)

    def _verify(self) -> None:
        if self._expected is not None:
            self._hashing.verify(self._expected, self._identifier)

    def _seekable(self) -> bool:
        seekable = getattr(self._source, "seekable", None)
        return seekable is not None and bool(seekable())

    def _guarded(self, size: int) -> Iterator[bytes]:
        with self._noting():
            yield from self.blocks_of(self._source, size)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:  # whatever it is, it is the source's and passes on
            self.error = error
            raise

    @staticmethod
    def blocks_of(source: Source, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Any source as blocks of at most ``size`` bytes, none of them empty."""
        if isinstance(source, (bytes, bytearray, memoryview)):
            view = memoryview(source).cast("B")
            for offset in range(0, len(view), size):
                yield bytes(view[offset : offset + size])
            return
        read = getattr(source, "read", None)
        if read is None:
            for block in source:
                if not isinstance(block, (bytes, bytearray, memoryview)):
                    raise TypeError(f"the source yielded {type(block).__name__}, not bytes")
                yield from Upload.blocks_of(block, size)
            return
        blocks = _read_blocks(read, size)
        yield from made_ahead(blocks, max(1, AHEAD_BYTES // size)) if _is_remote(source) else blocks


def _read_blocks(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    while block := read(size):
        if not isinstance(block, bytes):
            raise TypeError(f"the source read {type(block).__name__}, not bytes: open it in binary mode")
        yield block


def _checksum_of(source: object) -> str | None:
    """The checksum that a whole resource was stored with."""
    return source.info.checksum if isinstance(source, StreamedResource) and source.tell() == 0 else None


def _is_remote(source: object) -> bool:
    """Whether it is a resource that is no file of this machine: reading it waits for others, and needs no CPU."""
    return getattr(source, "local_path", "") is None


def _sizes(total: int, size: int) -> Iterator[int]:
    """The sizes of parts of ``size`` bytes, the last one shorter."""
    return (min(size, total - start) for start in range(0, total, size))


@dataclass(frozen=True)
class Staged:
    """A source of known size and checksum, which can be read again from its start.

    Attributes:
        file: has the bytes, from ``start`` on.
        size: in bytes.
        checksum: sha256.
        start: position in the file.
        noting: around everything that reads the file.
        is_ours: nobody else can change the bytes.
        promised: what the source is, if the checksum has been told and not yet been seen.
        crc32: of all bytes, of a source of others that has been read once. It tells a change at a quarter of sha256's
            cost.
    """

    file: BinaryIO
    size: int
    checksum: str
    start: int = 0
    noting: Callable[[], AbstractContextManager[None]] = nullcontext
    is_ours: bool = False
    promised: str | None = None
    crc32: int = 0

    def parts(self, size: int) -> Iterator[bytes]:
        """Yields the bytes in parts of ``size``; those of others are hashed, for they may have changed meanwhile.

        Raises:
            DatasetFileCorruptError: instead of ending, if they are not the bytes that were staged, or promised.
        """
        with self.noting():
            self.file.seek(self.start)
        hashing = Hashing()
        crc, left = 0, self.size
        parts = map(self._read, _sizes(self.size, size))
        for part in made_ahead(parts, 1) if _is_remote(self.file) else parts:
            if not part:
                break
            left -= len(part)
            if self.promised is not None:
                hashing.update(part)
            elif not self.is_ours:
                crc = zlib.crc32(part, crc)
            yield part
        if self.is_ours:
            return
        if self.promised is not None:
            hashing.verify(self.checksum, self.promised)
        if left or (self.promised is None and crc != self.crc32):
            raise DatasetFileCorruptError(
                f"the source changed while it was stored: {self.size:,} bytes with {self.checksum} and the crc32 "
                f"{self.crc32:08x} at first, then {self.size - left:,} bytes with {crc:08x}"
            )

    def _read(self, size: int) -> bytes:
        pieces = []
        with self.noting():
            while size and (piece := self.file.read(size)):
                pieces.append(piece)
                size -= len(piece)
        return b"".join(pieces)
