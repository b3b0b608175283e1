"""The raw file under everything that reads one revision of a GridFS file."""

from __future__ import annotations

import io
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from datastack_fs.connectors.gridfs_bucket import Document, chunk_count
from datastack_fs.connectors.gridfs_chunks import ChunkReader, chunks_per_group
from datastack_fs.connectors.gridfs_tasks import LAST_REPLIES, Task
from datastack_fs.reading import resolve_seek
from datastack_fs.resource import Range

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
Chunks: TypeAlias = "dict[int, bytes]"

CACHE_BYTES: Final = 32 << 20
"""Chunks that an open file keeps."""


class RevisionReader(io.RawIOBase):
    """One revision of a file, read with a cursor of its own; it never becomes another revision, nor a mix.

    A seek does no I/O. Reads fetch the chunks they touch, and keep up to 32 MiB of them. Read from front to back, the
    next windows of chunks are under way meanwhile; another read ends that. A revision that is gone raises
    FileNotFoundError.

    Args:
        chunks: of the revision's bucket.
        document: the files document; ``_id``, ``length``, ``chunkSize`` and ``filename`` are enough.
    """

    mode = "rb"

    def __init__(self, chunks: ChunkReader, document: Document) -> None:
        self._chunks = chunks
        self._document = document
        self._size = int(document["length"])
        self._chunk_size = int(document["chunkSize"])
        self._group = chunks_per_group(self._chunk_size)
        self._position = 0
        self._next = -1  # where the last read ended: a read that begins there is sequential
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._ahead = ReadAhead(chunks, document)

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        self._check_open()
        self._position = resolve_seek(offset, whence, self._position, self._size)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills the buffer; one that is no longer than a chunk only to the end of the chunk at the cursor."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        start = self._position
        stop = min(start + len(view), self._size)
        if len(view) <= self._chunk_size:
            stop = min(stop, start - start % self._chunk_size + self._chunk_size)
        if stop <= start:
            return 0
        numbers = range(start // self._chunk_size, (stop - 1) // self._chunk_size + 1)
        if len(numbers) > self._group:
            self._ahead.stop()
            self._ask(partial(self._chunks.fill, self._document, start, view[: stop - start]))
        else:
            if not all(number in self._cache for number in numbers):
                self._ask(partial(self._load, numbers, is_sequential=start == self._next))
            self._copy(numbers, view[: stop - start])
        self._position = self._next = stop
        return stop - start

    def readall(self) -> bytes:
        """Everything from the cursor on, fetched at once."""
        self._check_open()
        self._ahead.stop()
        start = self._position
        if start >= self._size:
            return b""
        (data,) = self._ask(partial(self._chunks.read, self._document, [(start, self._size)]))
        self._position = self._next = self._size
        return data

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Fetches the chunks of all ranges at once, as far as they fit the cache."""
        self._check_open()
        numbers: OrderedDict[int, None] = OrderedDict()
        for start, stop in ranges:
            stop = min(stop, self._size)
            if start < stop:
                numbers.update(dict.fromkeys(range(start // self._chunk_size, (stop - 1) // self._chunk_size + 1)))
        missing = [number for number in numbers if number not in self._cache]
        self._ask(partial(self._fetch, sorted(missing[: self._most_kept])))

    def close(self) -> None:  # noqa: D102
        self._cache.clear()
        self._ahead.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"I/O operation on a closed file: {self._document['filename']}")

    @property
    def _most_kept(self) -> int:
        return max(CACHE_BYTES // self._chunk_size, 2 * self._group)

    def _copy(self, numbers: range, view: memoryview) -> None:
        done = 0
        for number in numbers:
            within = self._position + done - number * self._chunk_size
            piece = memoryview(self._cache[number])[within : within + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)

    def _ask(self, call: Callable[[], T]) -> T:
        """Makes a call that asks the server, and may be repeated after an error."""
        return call()

    def _load(self, numbers: range, *, is_sequential: bool) -> None:
        """Makes sure that these chunks are in the cache, and of a sequential read that the next ones are coming."""
        if is_sequential:
            self._ahead.extend(numbers.stop, 2 * len(numbers))
        else:
            self._ahead.stop()
        for number in numbers:
            while number not in self._cache and (chunks := self._ahead.take(number)) is not None:
                self._keep(chunks)
        missing = [number for number in numbers if number not in self._cache]
        for number in numbers:
            if number in self._cache:
                self._cache.move_to_end(number)
        if missing:
            self._keep(self._chunks.fetch_group(self._document, range(missing[0], missing[-1] + 1)))

    def _fetch(self, numbers: Sequence[int]) -> None:
        for chunks in self._chunks.fetch_chunks(self._document, numbers):
            self._keep(chunks)

    def _keep(self, chunks: Chunks) -> None:
        self._cache.update(chunks)
        while len(self._cache) > self._most_kept:
            self._cache.popitem(last=False)


class ReadAhead:
    """The next chunks of a file that is read from front to back, under way in a few windows.

    The first window is small, and each one twice as wide as the one before, up to 4 MiB. At no time more
    than ``depth`` windows are kept or under way, those that are of no use any more among them, but for the one that
    is being taken.

    Args:
        chunks: of the file's bucket.
        document: the files document.
    """

    def __init__(self, chunks: ChunkReader, document: Document) -> None:
        self._chunks = chunks
        self._document = document
        self._count = chunk_count(document)
        self._most = chunks_per_group(int(document["chunkSize"]))
        self._owner = os.getpid()
        self._windows: deque[tuple[range, Task[Chunks]]] = deque()
        self._dropped: list[Task[Chunks]] = []
        self._end = self._width = 0

    def extend(self, number: int, width: int) -> None:
        """Sees to it that the chunks from a number on are coming; the first window has ``width`` of them."""
        self._check_process()
        self._dropped = [task for task in self._dropped if not task.is_done]
        self._end = max(self._end, number)
        self._width = max(self._width, min(width, self._most))
        depth = self._chunks.depth
        while self._end < self._count and len(self._windows) + len(self._dropped) < depth:
            numbers = range(self._end, min(self._end + self._width, self._count))
            task = Task(partial(self._chunks.fetch_group, self._document, numbers))
            self._chunks.helpers.give(task)
            self._windows.append((numbers, task))
            self._end = numbers.stop
            self._width = min(2 * self._width, self._most)

    def take(self, number: int) -> Chunks | None:
        """The window that has this chunk, when it has come; None if there is none, or it has failed.

        The next one is begun before this one is waited for. What failed in the background is to be tried again in the
        foreground, and raised there.
        """
        self._check_process()
        while self._windows and self._windows[0][0].stop <= number:
            self._drop(self._windows.popleft()[1])
        if not self._windows or number not in self._windows[0][0]:
            return None
        _, task = self._windows.popleft()
        self.extend(self._end, self._width)
        with suppress(OSError):
            return task.result()
        return None

    def stop(self) -> None:
        """Begins no more windows, and keeps none."""
        self._check_process()
        while self._windows:
            self._drop(self._windows.popleft()[1])
        self._end = self._width = 0

    def close(self) -> None:
        """Ends it; waits for threads that await a reply, but not long: the collector may have called it."""
        self.stop()
        end = time.monotonic() + LAST_REPLIES
        for task in self._dropped:
            task.cancel(max(0.0, end - time.monotonic()))
        self._dropped.clear()

    def _drop(self, task: Task[Chunks]) -> None:
        task.drop()
        self._dropped.append(task)

    def _check_process(self) -> None:
        if self._owner != os.getpid():  # the threads are not in this process
            self._owner = os.getpid()
            self._windows.clear()
            self._dropped.clear()
            self._end = self._width = 0
