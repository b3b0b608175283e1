"""What is in a cache's folder: told, removed, and checked."""

from __future__ import annotations

from dataclasses import dataclass

from datastack_fs.cache.folder import CacheFolder
from datastack_fs.cache.settings import CacheSettings
from datastack_fs.cache.table import (
    DAMAGED_BLOCKS,
    FETCHED_BLOCKS,
    FETCHED_BYTES,
    FOUND_BLOCKS,
    FOUND_BYTES,
    SEGMENTS,
)
from datastack_fs.errors import ConfigError


@dataclass(frozen=True)
class CacheFacts:
    """What is in a cache, and what it has done since it was made; counted over all processes, roughly.

    Attributes:
        folder: where it lies.
        size: bytes of all its files.
        blocks: that are there.
        pinned: bytes of resources that stay.
        found_blocks: that were served.
        found_bytes: in these.
        fetched_blocks: that were kept.
        fetched_bytes: in these.
        damaged_blocks: that were noticed.
    """

    folder: str
    size: int
    blocks: int
    pinned: int
    found_blocks: int
    found_bytes: int
    fetched_blocks: int
    fetched_bytes: int
    damaged_blocks: int


class CacheUpkeep:
    """The cache in a folder.

    Args:
        folder: that ``connect(url, cache=…)`` was given.

    Raises:
        ConfigError: there is none.

    Examples:
        >>> CacheUpkeep("/nowhere")
        Traceback (most recent call last):
        datastack_fs.errors.ConfigError: there is no cache in /nowhere
    """

    def __init__(self, folder: str) -> None:
        settings = CacheSettings(folder)
        found = CacheFolder(settings)
        if not found.table.is_file():
            raise ConfigError(f"there is no cache in {folder}")
        self._folder = folder
        self._opened = found.open()

    def facts(self) -> CacheFacts:
        """What is in it."""
        opened = self._opened
        sizes = opened.segments.known_sizes()
        state = opened.table.segments
        pinned = sum(size for segment, size in sizes.items() if int(state[segment % SEGMENTS, 2]))
        counted = (FOUND_BLOCKS, FOUND_BYTES, FETCHED_BLOCKS, FETCHED_BYTES, DAMAGED_BLOCKS)
        numbers = [int(opened.table.head[each]) for each in counted]
        size = opened.table.size + sum(sizes.values())
        return CacheFacts(self._folder, size, len(opened.table.blocks()[0]), pinned, *numbers)

    def clear(self) -> int:
        """Removes all blocks, pinned ones, too, and nothing else; gives their bytes.

        Raises:
            OSError: another process holds the cache's lock for long, or the folder can't be written to.
        """
        with self._opened.locked() as is_ours:
            if not is_ours:
                raise OSError(f"the cache in {self._folder} is held by another process for long")
            sizes = self._opened.segments.sizes()
            for segment in sizes:
                self._opened.segments.remove(segment)
        return sum(sizes.values())

    def verify(self) -> tuple[int, int]:
        """Reads all blocks, and forgets those that are damaged; gives how many there are, and how many were."""
        opened = self._opened
        keys, places = opened.table.blocks()
        damaged = [
            (int(key[0]), int(key[1])) for number, key in enumerate(keys) if not opened.is_intact(key, places, number)
        ]
        if damaged:
            with opened.locked() as is_ours:
                for key in damaged if is_ours else ():
                    opened.table.drop(key)
        return len(keys), len(damaged)
