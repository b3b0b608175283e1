"""The folder of a cache: its table, its segments and its lock, opened by one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from datastack_fs.cache.blocks import Keys
from datastack_fs.cache.claims import Claims
from datastack_fs.cache.records import is_intact, record_bytes
from datastack_fs.cache.segments import Segments
from datastack_fs.cache.settings import CacheSettings
from datastack_fs.cache.table import BlockTable, Places, create

FOLDER: Final = "datastack-blocks"
"""All that a cache writes and removes lies in a folder of this name within the one it was given."""

_TABLE: Final = "table"
_LOCK: Final = "lock"
_LONGEST_WAIT: Final = 5.0
"""Seconds that one waits for the lock; then blocks are fetched, and not kept."""

_POLL: Final = 0.001


class OpenCache:
    """A cache that one process has open.

    Attributes:
        table: where blocks lie.
        segments: their bytes.
        claims: who fetches which.
        is_writable: False in a folder that can only be read.
    """

    def __init__(self, folder: Path, table: BlockTable, settings: CacheSettings, *, is_writable: bool) -> None:
        self._lock = folder / _LOCK
        self.folder = folder
        self.table = table
        self.segments = Segments(folder, table, settings.size, settings.free)
        self.claims = Claims(table)
        self.is_writable = is_writable

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Keeps other processes and threads from writing; False if that took too long.

        Raises:
            OSError: the lock can't be made.
        """
        with locked(self._lock) as is_ours:
            yield is_ours

    def is_intact(self, key: Keys, places: Places, number: int) -> bool:
        """Whether one of these blocks is as it was written."""
        length = int(places.lengths[number])
        record = self.segments.read(int(places.segments[number]), int(places.offsets[number]), 0, record_bytes(length))
        return is_intact(key, record, length, int(places.checksums[number]))


class CacheFolder:
    """The folder of a cache, which need not exist."""

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self.path = Path(settings.folder) / FOLDER
        self.table = self.path / _TABLE
        self._opened: OpenCache | None = None

    def open(self) -> OpenCache:
        """The cache, made if there is none.

        Raises:
            OSError: it can't be made, or not be read.
            ValueError: its table is none, and can't be replaced.
        """
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> OpenCache:
        table = self.table
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_writable = os.access(self.path, os.W_OK)
            if is_writable:
                self._make(table)
        except OSError:
            if not table.exists():
                raise
            is_writable = False
        return OpenCache(self.path, BlockTable(table, writable=is_writable), self._settings, is_writable=is_writable)

    def _make(self, table: Path) -> None:
        with locked(self.path / _LOCK) as is_ours:
            if not is_ours:
                raise OSError(f"{self.path / _LOCK} is held by another process for long")
            try:
                BlockTable(table, writable=True)
            except (FileNotFoundError, ValueError):
                create(table, self._settings.size)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Holds the lock of a file; False if that took too long."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=_LONGEST_WAIT, poll_interval=_POLL)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
