"""Files of GridFS: an upload, and the Python file objects that read one revision or write the next."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

from bson import ObjectId
from pymongo.errors import BulkWriteError, DuplicateKeyError

from datastack_fs.connectors.gridfs_chunks import (
    BATCH_BYTES,
    CREATED,
    LARGEST_CHUNK,
    MARK,
    Bucket,
    Document,
    Task,
    chunk_count,
    chunks_per_group,
)
from datastack_fs.reading import resolve_seek

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

    from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem

logger = logging.getLogger(__name__)

Metadata: TypeAlias = "Mapping[str, Any] | Callable[[], Mapping[str, Any] | None] | None"
"""A file's metadata, or a function that is called for it after the last byte (for a checksum made on the way)."""

INSERTS: Final = 2
"""Batches of chunks that are being inserted while the next one is filled."""

CACHE_BYTES: Final = 8 << 20
"""Chunks that an open file keeps."""

DUPLICATE_KEY: Final = 11000


class Upload:
    """A new revision: chunks first, the files document last. Any exception takes the chunks away again.

    Args:
        bucket: where to.
        name: the file's name.
        chunk_size: bytes of a chunk.
        exclusive: publish only if the name has no revision; FileExistsError else.
    """

    def __init__(self, bucket: Bucket, name: str, *, chunk_size: int, exclusive: bool = False) -> None:
        if not 0 < chunk_size <= LARGEST_CHUNK:
            raise ValueError(f"chunk_size {chunk_size}: expected 1 to {LARGEST_CHUNK}")
        if not name or "\0" in name:
            raise ValueError(f"a file can't be named {name!r}")
        name.encode()  # lone surrogates: a ValueError here, not somewhere in the middle
        self.name = name
        self.id = ObjectId()
        self.length = 0
        self._bucket = bucket
        self._chunk_size = chunk_size
        self._exclusive = exclusive
        self._owner = os.getpid()
        self._open = True
        self._publishing = False
        self._number = 0
        self._tail = bytearray()
        self._batch: list[Document] = []
        self._inserts: deque[Task[None]] = deque()

    @property
    def pending(self) -> bool:
        """Whether it is this process's, and neither published nor given up."""
        return self._open and self._owner == os.getpid()

    def write(self, data: ReadableBuffer) -> int:
        """Takes the next bytes, from any buffer."""
        self._check_open()
        view = memoryview(data).cast("B")
        size = self._chunk_size
        try:
            done = 0
            if self._tail:
                done = min(size - len(self._tail), len(view))
                self._tail += view[:done]
                if len(self._tail) == size:
                    self._add(bytes(self._tail))
                    self._tail.clear()
            while len(view) - done >= size:
                self._add(bytes(view[done : done + size]))
                done += size
            self._tail += view[done:]
        except BaseException:
            self.abort()
            raise
        self.length += len(view)
        return len(view)

    def finish(self) -> None:
        """Inserts what is left, and waits for all inserts."""
        self._check_open()
        try:
            if self._tail:
                self._add(bytes(self._tail))
                self._tail.clear()
            self._send()
            while self._inserts:
                self._inserts.popleft().result()
        except BaseException:
            self.abort()
            raise

    def publish(self, metadata: Metadata = None) -> Document:
        """Makes it the newest revision, in one insert, and deletes those that it replaces.

        Returns:
            the files document.
        """
        self.finish()
        try:
            document, noted = self._document(metadata)
            self._publishing = True
            if self._exclusive:
                self._create(document)
            else:
                self._insert_file(document)
        except BaseException:
            self.abort()
            raise
        self._open = False
        try:
            self._bucket.delete_files(self._bucket.superseded(self.name, noted))
        except (
            OSError
        ) as error:  # it is published: what it replaced is out of sight, and left to the next write or sweep
            logger.warning("old revisions of %s are left: %s", self.name, error)
        return document

    def abort(self) -> None:
        """Takes the chunks away; of a process that was killed, or lost its server, ``sweep`` removes them."""
        if not self.pending:
            return
        self._open = False
        self._batch.clear()
        self._tail.clear()
        for task in self._inserts:
            task.cancel()
        try:
            # After an interrupted publish the files document may be there, or may even come now: a file without
            # chunks must not stay.
            self._delete_file()
            if self._number:
                self._bucket.delete_chunks(self.id, self._number)
            self._delete_file()
        except OSError as error:
            logger.warning("chunks of a failed write of %s are left to sweep: %s", self.name, error)

    def _delete_file(self) -> None:
        if self._publishing:
            self._bucket.run(self.name, lambda: self._bucket.files.delete_one({"_id": self.id}))

    def _add(self, data: bytes) -> None:
        self._batch.append({"_id": ObjectId(), "files_id": self.id, "n": self._number, "data": data})
        self._number += 1
        if len(self._batch) * self._chunk_size >= BATCH_BYTES:
            self._send()

    def _send(self) -> None:
        if not self._batch:
            return
        self._bucket.prepare()
        batch, self._batch = self._batch, []
        task = Task(partial(self._bucket.run, self.name, partial(self._insert_chunks, batch)))
        self._inserts.append(task)
        if len(self._inserts) > 1 or len(batch) * self._chunk_size >= BATCH_BYTES:
            task.start()  # a lone small batch is inserted by finish(), on this thread
        while len(self._inserts) > INSERTS:
            self._inserts.popleft().result()

    def _insert_chunks(self, batch: list[Document]) -> None:
        try:
            self._bucket.chunks.insert_many(batch, ordered=False)
        except BulkWriteError as error:
            # Chunks of a repeated insert that are there already are those of the first try: their _id is the same.
            failures = error.details["writeErrors"] + error.details["writeConcernErrors"]
            if any(failure["code"] != DUPLICATE_KEY for failure in failures):
                raise

    def _document(self, metadata: Metadata) -> tuple[Document, list[Any]]:
        self._bucket.prepare()
        query = {"files_id": self.id}
        stored = self._bucket.run(self.name, lambda: self._bucket.chunks.count_documents(query))
        if stored != self._number:
            raise OSError(errno.EIO, f"{self._number - stored} chunks were lost or swept during the upload", self.name)
        revisions = self._bucket.revisions(self.name)
        if self._exclusive and revisions:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.name)
        document: Document = {
            "_id": self.id,
            "length": self.length,
            "chunkSize": self._chunk_size,
            "uploadDate": date_after(revisions),
            "filename": self.name,
            MARK: {"format": 1},
        }
        fields = metadata() if callable(metadata) else metadata
        if fields is not None:
            document["metadata"] = dict(fields)
        return document, [revision["_id"] for revision in revisions]

    def _insert_file(self, document: Document) -> None:
        def insert() -> None:
            with suppress(DuplicateKeyError):  # repeated after a lost answer: it is there
                self._bucket.files.insert_one(document)

        self._bucket.run(self.name, insert)

    def _create(self, document: Document) -> None:
        document[MARK]["created"] = self.name
        fields = {key: value for key, value in document.items() if key != "filename"}
        self._bucket.run(self.name, lambda: self._bucket.files.create_index(CREATED, unique=True, sparse=True))

        def create() -> bool:
            files = self._bucket.files
            try:
                files.update_one({"filename": self.name}, {"$setOnInsert": fields}, upsert=True)
            except DuplicateKeyError:
                holder = files.find_one({CREATED: self.name}, {"filename": 1})
                if holder and holder["filename"] != self.name:  # renamed by a program that knows nothing of the field
                    query = {"_id": holder["_id"], "filename": {"$ne": self.name}}
                    files.update_one(query, {"$unset": {CREATED: ""}})
                if not holder or holder["filename"] != self.name:
                    return False
            return True

        while not self._bucket.run(self.name, create):
            pass
        if self._bucket.run(self.name, lambda: self._bucket.files.find_one({"_id": self.id}, {"_id": 1})) is None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.name)

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the write of {self.name} has ended, or was given up after an error")
        if self._owner != os.getpid():
            raise ValueError(f"the write of {self.name} belongs to the process that began it")


def date_after(revisions: list[Document]) -> datetime:
    """Now, but later than the newest of the revisions, whatever clock that was dated by."""
    now = datetime.now(timezone.utc)
    if revisions:
        now = max(now, revisions[-1]["uploadDate"] + timedelta(milliseconds=1))
    return now.replace(microsecond=now.microsecond // 1000 * 1000)  # MongoDB keeps milliseconds


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

    def __init__(self, fs: GridFSFileSystem, document: Document, *, position: int = 0) -> None:
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
            data = self.fs.store.read(self.document, [(start, stop)])[0]
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
            (error,) = self.fs.store.fill([(self.document, [(start, view)])])
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

    def peek(self, size: int = 0) -> bytes:
        """Some bytes after the cursor, which stays: ``readline`` is quick by it."""
        position = self._position
        data = self.read1(max(size, io.DEFAULT_BUFFER_SIZE))
        self._position = self._next = position
        return data

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
        while self._horizon < count and len(self._ahead) < self.fs.store.concurrency:
            numbers = range(self._horizon, min(self._horizon + self._group, count))
            task = Task(partial(self._fetch, numbers))
            task.start()
            self._ahead.append((numbers, task))
            self._horizon = numbers.stop

    def _fetch(self, numbers: range) -> dict[int, bytes]:
        return self.fs.store.fetch_span(self.document, numbers)

    def _keep(self, chunks: dict[int, bytes]) -> None:
        self._cache.update(chunks)
        most = max(CACHE_BYTES // self._chunk_size, 2 * self._group)
        while len(self._cache) > most:
            self._cache.popitem(last=False)


def _reopen(fs: GridFSFileSystem, document: Document, position: int) -> GridFSFile:
    return GridFSFile(fs, document, position=position)


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
