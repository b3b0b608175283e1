"""The files and folders below a root, reached without ever leaving it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from datastack_fs.errors import MaliciousFilePathError
from datastack_fs.identifiers import RESERVED

TEMPORARY: Final = f"{RESERVED}-tmp-"

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO must not block us
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40


class FileTree:
    """A folder and what is below it.

    Every step down is opened by the descriptor of the folder above and follows no link by itself, so that nothing on
    the way can be swapped for a link. A symbolic link is looked up and, if it stays below the root, taken.

    Args:
        root: an absolute path.
        fsync: make new folders durable.
    """

    def __init__(self, root: str, *, fsync: bool) -> None:
        self._root = root
        self._fsync = fsync

    @contextmanager
    def folder(self, folders: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """An open folder; FileNotFoundError where there is none and ``create`` is False."""
        descriptor = self._descend(list(folders), create)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def open_file(self, identifier: str) -> int:
        """A regular file, open for reading; FileNotFoundError for anything else."""
        segments = identifier.split("/")
        for _ in range(_MOST_LINKS):
            *folders, name = segments
            with self.folder(folders) as folder:
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
            break
        raise FileNotFoundError(identifier)

    @contextmanager
    def new_file(self, folders: Sequence[str], name: str) -> Iterator[tuple[int, int]]:
        """A folder, made if need be, and a new file in it, both open; the file goes if the block raises."""
        while True:
            with self.folder(folders, create=True) as folder:
                try:
                    descriptor = os.open(name, _WRITE_FLAGS, 0o666, dir_fd=folder)
                except FileNotFoundError:
                    continue  # a concurrent delete pruned the folder just made
                try:
                    yield folder, descriptor
                except BaseException:  # whatever ended the write
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                    raise
                finally:
                    os.close(descriptor)
                return

    def prune(self, folders: Sequence[str]) -> None:
        """Removes the folders that a delete left empty, for an object store has none either."""
        for depth in range(len(folders), 0, -1):
            try:
                with self.folder(folders[: depth - 1]) as parent:
                    os.rmdir(folders[depth - 1], dir_fd=parent)
            except OSError:
                return

    def _descend(self, folders: list[str], create: bool) -> int:
        for _ in range(_MOST_LINKS):
            if create:
                os.makedirs(self._root, exist_ok=True)
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for depth, segment in enumerate(folders):
                try:
                    inner = self._make(segment, descriptor) if create else _enter(segment, descriptor)
                except _LinkError:
                    folders = self._resolve(folders[: depth + 1]) + folders[depth + 1 :]
                    break
                finally:
                    os.close(descriptor)
                descriptor = inner
            else:
                return descriptor
        raise FileNotFoundError("too many symbolic links")

    def _make(self, segment: str, parent: int) -> int:
        with suppress(FileExistsError):
            os.mkdir(segment, dir_fd=parent)
            if self._fsync:
                os.fsync(parent)
        try:
            return _enter(segment, parent)
        except FileNotFoundError as error:
            if isinstance(error.__cause__, NotADirectoryError):
                raise NotADirectoryError(f"{segment} is a resource, not a folder") from error
            return self._make(segment, parent)  # pruned since it was made

    def _resolve(self, segments: Sequence[str]) -> list[str]:
        """Where a link leads, as segments below the root."""
        root = os.path.realpath(self._root)
        target = os.path.realpath(os.path.join(root, *segments))
        if os.path.commonpath([root, target]) != root or target == root:
            name = "/".join(segments)
            raise MaliciousFilePathError(f"{name} in {self._root} is a symbolic link that leads out of the store")
        return os.path.relpath(target, root).split(os.sep)


def walk(folder: int, base: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The regular files below an open folder, sorted by identifier; ``base`` is that folder's own, with its slash."""
    with os.scandir(folder) as entries:
        # A folder sorts with its slash: "a-b" comes before "a/b", which comes before "a0".
        found = {
            entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name: entry
            for entry in entries
            if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
        }
    for name in sorted(found):
        if not name.endswith("/"):
            yield base + name, found[name]
            continue
        with suppress(FileNotFoundError, NotADirectoryError), _inner(name[:-1], folder) as inner:  # deleted meanwhile
            yield from walk(inner, base + name)


def remove_temporary(folder: int, before: float) -> int:
    """Removes the temporary files below an open folder that were last written to before a time; how many they were."""
    removed = 0
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        with suppress(FileNotFoundError, NotADirectoryError):
            if is_folder:
                with _inner(name, folder) as inner:
                    removed += remove_temporary(inner, before)
            elif name.startswith(TEMPORARY) and os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < before:
                os.unlink(name, dir_fd=folder)
                removed += 1
    return removed


class _LinkError(Exception):
    """A segment is a symbolic link."""


@contextmanager
def _inner(name: str, folder: int) -> Iterator[int]:
    descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(segment: str, parent: int) -> int:
    try:
        return os.open(segment, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        if _is_link(segment, parent):
            raise _LinkError from None
        if isinstance(error, NotADirectoryError):
            raise FileNotFoundError(segment) from error
        raise


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
