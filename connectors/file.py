"""A folder on this machine, as a storage connector."""

from __future__ import annotations

import io
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from datastack_fs.errors import ConfigError, MaliciousFilePathError
from datastack_fs.identifiers import RESERVED
from datastack_fs.reading import resolve_seek
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import StorageConnector
from datastack_fs.writing import Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer
    from typing_extensions import Self

TEMPORARY: Final = f"{RESERVED}-tmp-"
CHECKSUM_ATTRIBUTE: Final = "user.datastack.checksum"
"""Extended attribute ``<checksum> <size> <mtime_ns>``; it counts only while the file still has that size and time."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO must not block us
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40


class FileStorageConnector(StorageConnector):
    """A folder of files, each resource the file of that name below ``root_path``.

    The folder is made by the first write. A write goes to a temporary file in the target's own folder, is flushed to
    disk and renamed, so that a killed writer leaves the old file; the sha256 is kept in an extended attribute where
    the file system has those. Symbolic links are followed as long as they stay below the root (and are not listed:
    they are second names); one that leads out raises ``MaliciousFilePathError``.

    Args:
        root_path: the folder.
        fsync: wait until the disk has the bytes before a write returns.

    Example:
        >>> import tempfile
        >>> connector = FileStorageConnector(tempfile.mkdtemp())
        >>> info = connector.set_resource("birds/owl.txt", b"hoo")
        >>> connector.get_resource("birds/owl.txt").read()
        b'hoo'
    """

    def __init__(self, root_path: str | os.PathLike[str], *, read_only: bool = False, fsync: bool = True) -> None:
        self.root_path = os.path.abspath(os.path.expanduser(os.fspath(root_path)))
        super().__init__(Path(self.root_path).as_uri(), read_only=read_only)
        self._fsync = fsync

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``file:///folder`` (percent sequences are decoded), or a plain path."""
        return cls(_path_of(url), **options)

    @classmethod
    def split_url(cls, url: str) -> tuple[str, str]:
        """The folder that holds the file, and the file's name."""
        folder, name = os.path.split(os.path.abspath(os.path.expanduser(_path_of(url))))
        return folder, name

    # Reading.

    def _stat(self, identifier: str) -> ResourceInfo:
        descriptor = self._open_file(identifier)
        try:
            return _describe(identifier, descriptor)
        finally:
            os.close(descriptor)

    def _open(self, identifier: str, info: ResourceInfo | None) -> tuple[io.RawIOBase, ResourceInfo]:
        try:
            descriptor = self._open_file(identifier)
        except FileNotFoundError:
            raise self._changed(identifier) if info else FileNotFoundError(identifier) from None
        try:
            found = _describe(identifier, descriptor)
            if info is not None and found.version != info.version:
                raise self._changed(identifier)
        except BaseException:
            os.close(descriptor)
            raise
        changed = self._changed(identifier)
        return LocalReader(descriptor, os.path.join(self.root_path, identifier), found.size, changed), found

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        raw, _ = self._open(info.identifier, info)
        with raw:
            descriptor = raw.fileno()
            answers = [os.pread(descriptor, stop - start, start) for start, stop in ranges]
            if _version(os.fstat(descriptor)) != info.version:
                raise self._changed(info.identifier)
            return answers

    def _list(self, prefix: str) -> Iterator[str]:
        *folders, _ = prefix.split("/")
        base = "".join(f"{folder}/" for folder in folders)
        try:
            with self._folder(folders) as descriptor:
                # Children are walked through their own descriptors: nothing on the way can be swapped for a link.
                yield from (name for name in _walk(descriptor, base) if name.startswith(prefix))
        except FileNotFoundError:
            return

    # Writing.

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        if not overwrite:
            with suppress(FileNotFoundError):
                self._stat(identifier)
                raise FileExistsError(identifier)
        *folders, name = identifier.split("/")
        temporary = TEMPORARY + secrets.token_hex(8)
        with self._new_file(folders, temporary) as (folder, descriptor):
            for block in upload.blocks():
                _write_all(descriptor, block)
            if self._fsync:
                os.fsync(descriptor)
            _keep_checksum(descriptor, upload.checksum)
            if overwrite:
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                os.unlink(temporary, dir_fd=folder)
            if self._fsync:
                os.fsync(folder)
            return _describe(identifier, descriptor)

    def _delete(self, identifier: str) -> None:
        *folders, name = identifier.split("/")
        with self._folder(folders) as folder:
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise FileNotFoundError(identifier)
            os.unlink(name, dir_fd=folder)
            if self._fsync:
                os.fsync(folder)
        self._prune(folders)

    def _sweep(self, older_than: float) -> int:
        before = time.time() - older_than
        try:
            with self._folder([]) as root:
                return _remove_temporary(root, before)
        except FileNotFoundError:
            return 0

    @contextmanager
    def _new_file(self, folders: Sequence[str], name: str) -> Iterator[tuple[int, int]]:
        """A folder and a new file in it; the file goes if the block raises."""
        while True:
            with self._folder(folders, create=True) as folder:
                try:
                    descriptor = os.open(name, _WRITE_FLAGS, 0o666, dir_fd=folder)
                except FileNotFoundError:
                    continue  # a concurrent delete pruned the folder just made
                try:
                    yield folder, descriptor
                except BaseException:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                    raise
                finally:
                    os.close(descriptor)
                return

    def _prune(self, folders: Sequence[str]) -> None:
        """Removes the folders that a delete left empty, for an object store has none either."""
        for depth in range(len(folders), 0, -1):
            try:
                with self._folder(folders[: depth - 1]) as parent:
                    os.rmdir(folders[depth - 1], dir_fd=parent)
            except OSError:
                return

    # Walking below the root without leaving it.

    @contextmanager
    def _folder(self, folders: Sequence[str], *, create: bool = False) -> Iterator[int]:
        descriptor = self._descend(list(folders), self._enter if create else _enter_existing, create)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _descend(self, folders: list[str], enter: Callable[[str, int], int], create: bool = False) -> int:
        """A descriptor of the folder. Every step is opened by the one above and follows no link by itself."""
        for _ in range(_MOST_LINKS):
            if create:
                os.makedirs(self.root_path, exist_ok=True)
            descriptor = os.open(self.root_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for depth, segment in enumerate(folders):
                try:
                    inner = enter(segment, descriptor)
                except _LinkError:
                    folders = self._resolve(folders[: depth + 1]) + folders[depth + 1 :]
                    break
                finally:
                    os.close(descriptor)
                descriptor = inner
            else:
                return descriptor
        raise FileNotFoundError("too many symbolic links")

    def _enter(self, segment: str, parent: int) -> int:
        with suppress(FileExistsError):
            os.mkdir(segment, dir_fd=parent)
            if self._fsync:
                os.fsync(parent)
        try:
            return _enter_existing(segment, parent)
        except FileNotFoundError as error:
            raise NotADirectoryError(f"{segment} is a resource, not a folder") from error

    def _open_file(self, identifier: str) -> int:
        segments = identifier.split("/")
        for _ in range(_MOST_LINKS):
            *folders, name = segments
            with self._folder(folders) as folder:
                try:
                    descriptor = os.open(name, _READ_FLAGS, dir_fd=folder)
                except OSError:
                    if not _is_link(name, folder):
                        raise
                    segments = self._resolve(segments)
                    continue
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            raise FileNotFoundError(identifier)
        raise FileNotFoundError(identifier)

    def _resolve(self, segments: Sequence[str]) -> list[str]:
        """Where a link leads, as segments below the root."""
        root = os.path.realpath(self.root_path)
        target = os.path.realpath(os.path.join(root, *segments))
        if os.path.commonpath([root, target]) != root or target == root:
            name = "/".join(segments)
            raise MaliciousFilePathError(f"{name} in {self.url} is a symbolic link that leads out of the store")
        return os.path.relpath(target, root).split(os.sep)


class LocalReader(io.RawIOBase):
    """The raw file under a local ``StreamedResource``: one open descriptor, and a cursor of its own.

    Reads are positional, so that a forked child and its parent do not move each other's cursor. A file replaced by
    rename stays readable as it was; one that is changed in place is noticed.
    """

    def __init__(self, descriptor: int, path: str, size: int, changed: Exception) -> None:
        self.local_path = path
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._size = size
        self._version = _version(os.fstat(descriptor))
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
        if count == 0 or _version(os.fstat(self._descriptor)) != self._version:
            raise self._changed
        self._position += count
        return count

    def close(self) -> None:  # noqa: D102
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"I/O operation on a closed resource: {self.local_path}")


def _path_of(url: str) -> str:
    if not url.startswith("file:"):
        return url
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise ConfigError(f"{url}: a file URL has three slashes and an absolute path, file:///folder")
    return unquote(parts.path)


class _LinkError(Exception):
    """A segment is a symbolic link."""


def _enter_existing(segment: str, parent: int) -> int:
    try:
        return os.open(segment, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        if _is_link(segment, parent):
            raise _LinkError from None
        if isinstance(error, NotADirectoryError):
            raise FileNotFoundError(segment) from None
        raise


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _walk(folder: int, base: str) -> Iterator[str]:
    """Identifiers of the regular files below an open folder, sorted."""
    with os.scandir(folder) as entries:
        # A folder sorts with its slash: "a-b" comes before "a/b", which comes before "a0".
        found = sorted(
            (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
        )
    for name, entry in found:
        if not name.endswith("/"):
            yield base + name
            continue
        try:
            inner = os.open(entry.name, _FOLDER_FLAGS, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted since it was listed
        try:
            yield from _walk(inner, base + name)
        finally:
            os.close(inner)


def _remove_temporary(folder: int, before: float) -> int:
    removed = 0
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        with suppress(FileNotFoundError, NotADirectoryError):
            if is_folder:
                inner = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
                try:
                    removed += _remove_temporary(inner, before)
                finally:
                    os.close(inner)
            elif name.startswith(TEMPORARY) and _modified(name, folder) < before:
                os.unlink(name, dir_fd=folder)
                removed += 1
    return removed


def _modified(name: str, folder: int) -> float:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


def _describe(identifier: str, descriptor: int) -> ResourceInfo:
    status = os.fstat(descriptor)
    return ResourceInfo(
        identifier,
        status.st_size,
        _version(status),
        datetime.fromtimestamp(status.st_mtime, timezone.utc),
        _kept_checksum(descriptor, status),
    )


def _keep_checksum(descriptor: int, checksum: str) -> None:
    if sys.platform == "linux":
        status = os.fstat(descriptor)
        with suppress(OSError):  # a file system without extended attributes
            text = f"{checksum} {status.st_size} {status.st_mtime_ns}"
            os.setxattr(descriptor, CHECKSUM_ATTRIBUTE, text.encode())


def _kept_checksum(descriptor: int, status: os.stat_result) -> str | None:
    if sys.platform != "linux":
        return None
    try:
        kept = os.getxattr(descriptor, CHECKSUM_ATTRIBUTE).decode().split(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return kept[0] if kept[1:] == [str(status.st_size), str(status.st_mtime_ns)] else None


def _write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
