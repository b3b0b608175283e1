"""A folder on this machine, as a storage connector."""

from __future__ import annotations

import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote, urlsplit

from datastack_fs.connectors.file_reading import LocalReader, version_of
from datastack_fs.connectors.file_tree import TEMPORARY, FileTree, remove_temporary, walk
from datastack_fs.errors import ConfigError
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import StorageConnector
from datastack_fs.writing import Upload

if TYPE_CHECKING:
    import io

    from typing_extensions import Self

CHECKSUM_ATTRIBUTE: Final = "user.datastack.checksum"
"""Extended attribute ``<checksum> <size> <mtime_ns>``; it counts only while the file still has that size and time."""

_HUGE_PAGE: Final = 2 << 20
_MOST_BLOCKS: Final = 1024  # of one write


class FileStorageConnector(StorageConnector):
    """A folder of files, each resource the file of that name below ``root_path``.

    The folder is made by the first write. A write goes to a temporary file in the target's own folder, is flushed to
    disk and renamed, so that a killed writer leaves the old file; the sha256 is kept in an extended attribute where
    the file system has those. Symbolic links are followed as long as they stay below the root (and are not listed:
    they are second names); one that leads out raises ``MaliciousFilePathError``.

    Args:
        root_path: the folder.
        fsync: wait until the disk has the bytes before a write returns.

    Examples:
        >>> import tempfile
        >>> connector = FileStorageConnector(tempfile.mkdtemp())
        >>> info = connector.set_resource("birds/owl.txt", b"hoo")
        >>> connector.get_resource("birds/owl.txt").read()
        b'hoo'
    """

    concurrency: ClassVar[int] = 1  # threads take three times as long as a small file does; a subclass may have more

    not_cached = "a folder of this machine is read where it is"

    def __init__(self, root_path: str | os.PathLike[str], *, read_only: bool = False, fsync: bool = True) -> None:
        self.root_path = os.path.abspath(os.path.expanduser(os.fspath(root_path)))
        super().__init__(Path(self.root_path).as_uri(), read_only=read_only)
        self._fsync = fsync
        self._tree = FileTree(self.root_path, fsync=fsync)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``file:///folder`` (percent sequences are decoded), or a plain path."""
        return cls(_path_of(url), **options)

    @classmethod
    def split_url(cls, url: str) -> tuple[str, str]:
        """The folder that holds the file, and the file's name; a folder itself, and ""."""
        path = os.path.abspath(os.path.expanduser(_path_of(url)))
        folder, name = (path, "") if os.path.isdir(path) else os.path.split(path)
        return folder, name

    # Reading.

    def _stat(self, identifier: str) -> ResourceInfo:
        descriptor = self._tree.open_file(identifier)
        try:
            return _describe(identifier, descriptor)
        finally:
            os.close(descriptor)

    def _open(self, identifier: str, info: ResourceInfo | None) -> tuple[io.RawIOBase, ResourceInfo]:
        try:
            descriptor = self._tree.open_file(identifier)
        except FileNotFoundError:
            raise self._changed(identifier) if info else FileNotFoundError(identifier) from None
        try:
            found = _describe(identifier, descriptor)
            if info is not None and found.version != info.version:
                raise self._changed(identifier)
        except BaseException:  # nobody else would close it
            os.close(descriptor)
            raise
        changed = partial(self._changed, identifier)
        return LocalReader(descriptor, os.path.join(self.root_path, identifier), found.size, changed), found

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        raw, _ = self._open(info.identifier, info)
        with raw:
            descriptor = raw.fileno()
            answers = [os.pread(descriptor, stop - start, start) for start, stop in ranges]
            if version_of(os.fstat(descriptor)) != info.version:
                raise self._changed(info.identifier)
            return answers

    def _list(self, prefix: str) -> Iterator[str]:
        return (name for name, _ in self._walk(prefix))

    def _scan(self, prefix: str) -> Iterator[tuple[str, ResourceInfo]]:
        for name, entry in self._walk(prefix):
            with suppress(FileNotFoundError):  # deleted since it was found
                yield name, _info(name, entry.stat(follow_symlinks=False))

    def _walk(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        *folders, _ = prefix.split("/")
        base = "".join(f"{folder}/" for folder in folders)
        try:
            with self._tree.folder(folders) as descriptor:
                yield from (found for found in walk(descriptor, base) if found[0].startswith(prefix))
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
        with self._tree.new_file(folders, temporary) as (folder, descriptor):
            for blocks in _grouped(upload.blocks()):
                _write_all(descriptor, blocks)
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
        with self._tree.folder(folders) as folder:
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise FileNotFoundError(identifier)
            os.unlink(name, dir_fd=folder)
            if self._fsync:
                os.fsync(folder)
        self._tree.prune(folders)

    def _sweep(self, older_than: float) -> int:
        before = time.time() - older_than
        try:
            with self._tree.folder([]) as root:
                return remove_temporary(root, before)
        except FileNotFoundError:
            return 0


def _path_of(url: str) -> str:
    if not url.startswith("file:"):
        return url
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise ConfigError(f"{url}: a file URL has three slashes and an absolute path, file:///folder")
    return unquote(parts.path)


def _describe(identifier: str, descriptor: int) -> ResourceInfo:
    status = os.fstat(descriptor)
    return _info(identifier, status, _kept_checksum(descriptor, status))


def _info(identifier: str, status: os.stat_result, checksum: str | None = None) -> ResourceInfo:
    modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    return ResourceInfo(identifier, status.st_size, version_of(status), modified, checksum)


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


def _grouped(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Blocks by 2 MiB: what Linux is given in one write lies in pages as large, so a map of it faults that seldom."""
    group: list[bytes] = []
    size = 0
    for block in blocks:
        group.append(block)
        size += len(block)
        if size >= _HUGE_PAGE or len(group) == _MOST_BLOCKS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write_all(descriptor: int, blocks: list[bytes]) -> None:
    written = os.writev(descriptor, blocks)
    if written < sum(map(len, blocks)):
        rest = memoryview(b"".join(blocks))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
