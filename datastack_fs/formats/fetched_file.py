"""The bytes of a resource that were fetched beforehand, as a file for a library that reads where it likes."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence

from datastack_fs.iterators.planning import Answers
from datastack_fs.reading import resolve_seek
from datastack_fs.resource import Range, ResourceInfo, ResourceOpener


class FetchedFile:
    """A file that answers from the ranges that were put into it; what else is read is fetched then.

    It copies nothing: a read within one range is a view of it. It belongs to one thread.

    Args:
        connector: the store.
        info: the version of the resource.
        size: of the file; larger than the resource if what is put goes on behind its end.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("fetched-file-example")
        >>> file = FetchedFile(connector, connector.set_resource("abc", b"abcdef"))
        >>> file.put([(1, 4)], [b"bcd"])
        >>> file.seek(2), bytes(file.read(2)), file.tell()
        (2, b'cd', 4)
    """

    closed = False

    def __init__(self, connector: ResourceOpener, info: ResourceInfo, size: int | None = None) -> None:
        self._connector, self._info = connector, info
        self._size = info.size if size is None else size
        self._position = 0
        self._starts: list[int] = []
        self._pieces: list[memoryview] = []

    def put(self, ranges: Sequence[Range], answers: Answers) -> None:
        """Takes these bytes instead of those that it had; the ranges may overlap, but none lies within another."""
        pairs = sorted(zip(ranges, answers, strict=True), key=lambda pair: pair[0])
        self._starts = [start for (start, _), _ in pairs]
        self._pieces = [memoryview(answer) for _, answer in pairs]

    def read(self, size: int = -1) -> memoryview | bytes:  # noqa: D102
        start = self._position
        stop = self._size if size < 0 else min(start + size, self._size)
        if start >= stop:
            return b""
        self._position = stop
        number = bisect_right(self._starts, start) - 1
        if number >= 0:
            offset, piece = self._starts[number], self._pieces[number]
            if stop <= offset + len(piece):
                return piece[start - offset : stop - offset]
        (answer,) = self._connector.get_ranges(self._info.identifier, [(start, stop)], info=self._info)
        return answer

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        self._position = resolve_seek(offset, whence, self._position, self._size)
        return self._position

    def tell(self) -> int:  # noqa: D102
        return self._position

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def writable(self) -> bool:  # noqa: D102
        return False

    def close(self) -> None:
        """Lets go of the bytes."""
        self.put([], [])
