"""Python file objects that read one revision of a GridFS file, or write the next."""

from __future__ import annotations

import io
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from fsspec.spec import AbstractBufferedFile

from datastack_fs.connectors.gridfs_bucket import Document, chunk_count
from datastack_fs.connectors.gridfs_chunks import Task, chunks_per_group
from datastack_fs.connectors.gridfs_upload import Metadata, Upload
from datastack_fs.reading import resolve_seek

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from datastack_fs.connectors.gridfs_contents import GridFSContents

CACHE_BYTES: Final = 8 << 20
"""Chunks that an open file keeps."""

LINE_BYTES: Final = 1 << 10
"""How far ``readline`` looks at a time."""


class GridFSFile(io.BufferedIOBase):
    """One revision of a file, read with a cursor of its own; it never becomes another revision, nor a mix.

    A seek does no I/O. Reads fetch the chunks they touch and keep the last 8 MiB; read from front to back, they fetch
    ahead in the background, as many groups of 4 MiB as the filesystem's ``concurrency``. A revision that is gone raises
    FileNotFoundError. It pickles as filesystem, revision and position.

    Attributes:
        document: the files document.
        size: in bytes.
    """

    mode = "rb"

    def __init__(self, fs: GridFSContents, document: Document, *, position: int = 0) -> None:
        self.fs = fs
        self.document = document
        self.path: str = document["filename"]
        self.size = int(document["length"])
        self.blocksize = self._chunk_size = int(document["chunkSize"])
        self._position = position
        self._next = -1  # where the last read ended: a read that begins there is sequential
        self._window = 0
        self._horizon = 0
        self._group = chunks_per_group(self._chunk_size)
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: deque[tuple[range, Task[dict[int, bytes]]]] = deque()
        self._owner = os.getpid()

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        self._check_open()
        self._position = resolve_seek(offset, whence, self._position, self.size)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Exactly ``size`` bytes, or all up to the end if there are fewer or ``size`` is negative."""
        self._check_open()
        start = self._position
        stop = self.size if size is None or size < 0 else min(start + size, self.size)
        if stop <= start:
            return b""
        first, last = start // self._chunk_size, (stop - 1) // self._chunk_size
        if last - first >= self._group:
            data = self.fs.chunks.read(self.document, [(start, stop)])[0]
        else:
            self._load(first, last, sequential=start == self._next)
            data = b"".join(self._pieces(start, stop))
        self._position = self._next = stop
        return data

    def read1(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, at most to the end of the chunk at the cursor."""
        left = self._chunk_size - self._position % self._chunk_size
        return self.read(left if size < 0 else min(size, left))

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills the buffer, but for the end of the file."""
        self._check_open()
        view = memoryview(buffer).cast("B")[: max(self.size - self._position, 0)]
        if not view:
            return 0
        start, stop = self._position, self._position + len(view)
        first, last = start // self._chunk_size, (stop - 1) // self._chunk_size
        if last - first >= self._group:
            (error,) = self.fs.chunks.fill([(self.document, [(start, view)])])
            if error is not None:
                raise error
        else:
            self._load(first, last, sequential=start == self._next)
            done = 0
            for piece in self._pieces(start, stop):
                view[done : done + len(piece)] = piece
                done += len(piece)
        self._position = self._next = stop
        return len(view)

    def readinto1(self, buffer: WriteableBuffer) -> int:
        """The same as ``readinto``."""
        return self.readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        """The rest of the line, or its first ``size`` bytes."""
        left = self.size if size is None or size < 0 else size
        pieces: list[bytes] = []
        while left > 0 and (piece := self.read1(min(left, LINE_BYTES))):
            end = piece.find(b"\n") + 1
            if end:
                self._position = self._next = self._position - len(piece) + end
                left = 0
            pieces.append(piece[:end] if end else piece)
            left -= len(piece)
        return b"".join(pieces)

    def info(self) -> dict[str, Any]:
        """What the filesystem says of this revision."""
        return self.fs.info_of(self.document)

    def close(self) -> None:  # noqa: D102
        self._cache.clear()
        self._ahead.clear()
        super().close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.fs, self.document, self.tell())

    def __repr__(self) -> str:
        return f"<GridFSFile {self.path!r} of {self.size:,} bytes, at {self._position:,}>"

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _pieces(self, start: int, stop: int) -> Iterator[memoryview]:
        """The loaded chunks between two positions, cut to them."""
        for number in range(start // self._chunk_size, (stop - 1) // self._chunk_size + 1):
            offset = number * self._chunk_size
            yield memoryview(self._cache[number])[max(start - offset, 0) : stop - offset]

    def _load(self, first: int, last: int, *, sequential: bool) -> None:
        """Makes sure that these chunks are in the cache, and that the next ones are coming."""
        if self._owner != os.getpid():  # the threads that were reading ahead are not in this process
            self._owner = os.getpid()
            self._ahead.clear()
            self._horizon = 0
        if not sequential:
            self._window = 0
            self._ahead.clear()
            self._horizon = 0
        numbers = range(first, last + 1)
        for number in numbers:
            if number in self._cache:
                self._cache.move_to_end(number)
            elif not self._arrive(number):
                self._window = min(max(2 * self._window, 2 * len(numbers)), self._group) if sequential else 0
                stop = min(max(last + 1, number + self._window), number + self._group, chunk_count(self.document))
                self._keep(self._fetch(range(number, stop)))
                self._horizon = max(self._horizon, stop)
        if self._window == self._group:
            self._look_ahead(last)

    def _arrive(self, number: int) -> bool:
        """Takes the chunks that were fetched ahead, if this one is among them."""
        while self._ahead:
            numbers, task = self._ahead[0]
            if number < numbers.start:
                break
            self._ahead.popleft()
            if number in numbers:
                # What failed in the background is tried once more in the foreground, and raised there.
                with suppress(OSError):
                    self._keep(task.result())
                    return True
        return False

    def _look_ahead(self, last: int) -> None:
        count = chunk_count(self.document)
        self._horizon = max(self._horizon, last + 1)
        while self._horizon < count and len(self._ahead) < self.fs.chunks.concurrency:
            numbers = range(self._horizon, min(self._horizon + self._group, count))
            task = Task(partial(self._fetch, numbers))
            task.start()
            self._ahead.append((numbers, task))
            self._horizon = numbers.stop

    def _fetch(self, numbers: range) -> dict[int, bytes]:
        return self.fs.chunks.fetch_span(self.document, numbers)

    def _keep(self, chunks: dict[int, bytes]) -> None:
        self._cache.update(chunks)
        most = max(CACHE_BYTES // self._chunk_size, 2 * self._group)
        while len(self._cache) > most:
            self._cache.popitem(last=False)


def _reopen(fs: GridFSContents, document: Document, position: int) -> GridFSFile:
    return GridFSFile(fs, document, position=position)


class CachedFile(AbstractBufferedFile):  # type: ignore[misc]
    """One revision of a file, read through one of fsspec's caches: for those who ask for it, and for ``blockcache``."""

    def __init__(
        self,
        fs: GridFSContents,
        document: Document,
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        cache_type: str = "readahead",
        **_: Any,
    ) -> None:
        self.document = document
        super().__init__(
            fs,
            document["filename"],
            block_size=block_size or "default",
            cache_type=cache_type,
            cache_options=dict(cache_options or {}),
            size=int(document["length"]),
        )

    def _fetch_range(self, start: int, end: int) -> bytes:
        return cast(bytes, self.fs.read_ranges(self.document, [(start, min(end, self.size))])[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.fs, self.document, self.tell())


class GridFSWriter(io.BufferedIOBase):
    """A file that is being written: ``close`` publishes it whole, an exception in its ``with`` block discards it.

    So does an exception in the ``with`` block of ``fsspec.open``, of pandas' handles and the like, which only close
    the file; and so does forgetting the file unclosed. With ``autocommit=False``, ``commit`` publishes.
    """

    def __init__(self, upload: Upload, mode: str, *, autocommit: bool = True, metadata: Metadata = None) -> None:
        self.path = upload.name
        self.mode = mode
        self.autocommit = autocommit
        self._upload = upload
        self._metadata = metadata
        self._discarded = False
        self._handled = sys.exc_info()[1]

    def writable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._upload.length

    def write(self, data: ReadableBuffer) -> int:  # noqa: D102
        if self._discarded:  # the finalizer of a compressor on top may still flush; nothing of it is kept
            return memoryview(data).nbytes
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._upload.write(data)

    def commit(self) -> None:
        """Publishes the file; not one that was discarded."""
        if not self._discarded:
            self._upload.publish(self._metadata)

    def discard(self) -> None:
        """Gives the file up: what was there before stays."""
        self._discarded = True
        self._upload.abort()
        super().close()

    def close(self) -> None:  # noqa: D102
        if self.closed:
            return
        if _leaves_with_an_error(self._handled):
            self.discard()
            return
        try:
            if self.autocommit:
                self.commit()
            else:
                self._upload.finish()
        finally:
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a file that is being written can't be pickled")

    def __del__(self) -> None:
        # Not inline: the collector may have come by while this thread holds one of pymongo's locks.
        upload = getattr(self, "_upload", None)
        if upload is not None and upload.pending:
            Task(upload.abort).start()

    def __repr__(self) -> str:
        return f"<GridFSWriter {self.path!r}, {self._upload.length:,} bytes so far>"


def _leaves_with_an_error(handled: BaseException | None) -> bool:
    """Whether ``close`` was called from an ``__exit__`` that was itself called with an exception.

    ``fsspec.OpenFile.__exit__`` and others just close their files, which would publish the part written so far. An
    exception that was being handled when the file was opened has nothing to do with it.
    """
    error = sys.exc_info()[1]
    if error is None or error is handled:
        return False
    frame: FrameType | None = sys._getframe(2)
    for _ in range(4):
        if frame is None or frame.f_code.co_name == "__exit__":
            break
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "__exit__"


class CompressedWriter(io.BufferedIOBase):
    """A file that is compressed as it is written; unlike GzipFile and others alone, it closes its target."""

    def __init__(self, compressed: BinaryIO, writer: GridFSWriter) -> None:
        self._compressed = compressed
        self._writer = writer

    def writable(self) -> bool:  # noqa: D102
        return True

    def write(self, data: ReadableBuffer) -> int:  # noqa: D102
        return self._compressed.write(data)

    def close(self) -> None:  # noqa: D102
        if not self.closed:
            super().close()
            self._compressed.close()
            self._writer.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._writer.discard()
            super().close()
        self.close()


class TextFile(io.TextIOWrapper):
    """A text file whose ``with`` block, when it ends by an exception, discards what was written."""

    def __exit__(self, *error: object) -> None:
        # In Python, so that GridFSWriter.close can see that an __exit__ called it: the base's is in C.
        self.close()
