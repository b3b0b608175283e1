"""What came of a file, kept in a folder for the next process, should this one be interrupted or killed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from datastack_fs.errors import RetrievalError
from datastack_fs.retrieval.download import BLOCK_BYTES, Version

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_HEAD_BYTES: Final = 4096
"""The file begins with so many bytes that say of what version the rest is: one file can't contradict itself."""


class Kept:
    """The beginning of one source, in a file that one process at a time has.

    Nothing is buffered, so that a process that is killed leaves all that it got. After a power failure the file may
    hold anything: whoever uses it compares a checksum.

    Args:
        folder: where such files are; it is made if need be.
        url: the source; the name of the file is a hash of it, and tells nothing.

    Attributes:
        version: what is kept is of this version; without a size, nothing is kept.
        used: whether anything was read from it.

    Raises:
        RetrievalError: the folder can't be used.
    """

    def __init__(self, folder: str | os.PathLike[str], url: str) -> None:
        name = hashlib.sha256(url.encode(errors="backslashreplace")).hexdigest()
        self._path = os.path.join(folder, f"{name}.part")
        self.version = Version()
        self.used = False
        self._writing = False
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            self._file: int | None = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise RetrievalError(f"can't keep parts in {os.fspath(folder)}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process fetches the same: this one keeps nothing
            os.close(self._file)
            self._file = None
        else:
            self._read_head()

    def blocks(self) -> Iterator[bytes]:
        """Yields what is kept, and goes on with it."""
        place = _HEAD_BYTES
        while self._file is not None and self.version.size is not None:
            most = min(BLOCK_BYTES, self.version.size + _HEAD_BYTES - place)
            block = os.pread(self._file, most, place)
            if not block:
                break
            self.used = True
            place += len(block)
            yield block
        if self._file is not None and place > _HEAD_BYTES:
            os.ftruncate(self._file, place)
            os.lseek(self._file, place, os.SEEK_SET)
            self._writing = True

    def begin(self, version: Version) -> None:
        """Keeps another version from now on; nothing, if its server can't go on with it."""
        self.clear()
        if self._file is None or version.size is None or version.etag is None:
            return
        head = json.dumps({"size": version.size, "etag": version.etag}).encode()
        self._writing = len(head) < _HEAD_BYTES
        self.append(head.ljust(_HEAD_BYTES))

    def append(self, block: bytes) -> None:
        """Keeps what came next."""
        view = memoryview(block)
        while self._writing and self._file is not None and view:
            try:
                view = view[os.write(self._file, view) :]
            except OSError:  # a disk that is full is no reason to stop: what is kept is a beginning still
                self._writing = False

    def clear(self) -> None:
        """Lets go of what is kept."""
        self.version = Version()
        self._writing = False
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)

    def remove(self) -> None:
        """Removes the file: its content is in the store."""
        if self._file is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def _read_head(self) -> None:
        if self._file is None:
            return
        try:
            facts = json.loads(os.pread(self._file, _HEAD_BYTES, 0))
            self.version = Version(int(facts["size"]), str(facts["etag"]), ranges=True)
        except (ValueError, KeyError, TypeError):  # new, or cut off while it was begun
            self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
