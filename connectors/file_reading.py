"""The raw file under a local ``StreamedResource``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from datastack_fs.reading import resolve_seek

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class LocalReader(io.RawIOBase):
    """One open descriptor, and a cursor of its own.

    Reads are positional, so that a forked child and its parent do not move each other's cursor. A file replaced by
    rename stays readable as it was; one that is changed in place is noticed.

    Args:
        descriptor: open for reading; the reader closes it.
        path: of the file, for readers that want a path.
        size: of the version that was opened.
        changed: makes what to raise when the file is no longer that version.
    """

    def __init__(self, descriptor: int, path: str, size: int, changed: Callable[[], Exception]) -> None:
        self.local_path = path
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._size = size
        self._version = version_of(os.fstat(descriptor))
        self._changed = changed
        self._position = 0

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def fileno(self) -> int:
        """The descriptor; a forked child gets one of its own, whose offset it does not share with the parent."""
        self._check_open()
        if os.getpid() != self._pid:
            if sys.platform == "linux":
                self._descriptor = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            self._pid = os.getpid()
        return self._descriptor

    def tell(self) -> int:  # noqa: D102
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        self._check_open()
        self._position = resolve_seek(offset, whence, self._position, self._size)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:  # noqa: D102
        self._check_open()
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        count = os.preadv(self._descriptor, [view[:wanted]], self._position)
        if count == 0 or version_of(os.fstat(self._descriptor)) != self._version:
            raise self._changed()
        self._position += count
        return count

    def close(self) -> None:  # noqa: D102
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"I/O operation on a closed resource: {self.local_path}")


def version_of(status: os.stat_result) -> str:
    """What names the bytes of a local file: equal as long as it is neither replaced nor written to."""
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
