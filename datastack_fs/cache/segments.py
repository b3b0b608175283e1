"""The files that hold the blocks of a cache: each is appended to until it is full, and removed as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from datastack_fs.cache.table import CLOCK, CURRENT, DISTANCE, GENERATION, NEWEST, SEGMENTS, BlockTable
from datastack_fs.resource import Content

_NAME: Final = re.compile(r"(\d{8,})\.blocks")
_PARTS: Final = 32  # of the cache: what is evicted at once
_SMALLEST: Final = 1 << 20  # with few blocks in each, one that is in use may go unused for more than an epoch
_LARGEST: Final = 1 << 30
_MOST_OPEN: Final = 128
_LONG_UNUSED: Final = 1.25
"""A segment may go that was not used while so many times as much was asked for as lies between two uses of a block."""


class Segments:
    """The segment files of a cache, as one process has them open.

    Whoever calls ``append``, ``has_room``, ``remove`` or ``refresh`` holds the cache's lock.

    Args:
        folder: of the cache.
        table: of the cache.
        size: bytes of the table and all segments together.
        free: bytes that stay free on the disk.
    """

    def __init__(self, folder: Path, table: BlockTable, size: int, free: int) -> None:
        self._folder, self._table, self._free = folder, table, free
        self._capacity = size - table.size
        self._segment_bytes = min(max(self._capacity // _PARTS, _SMALLEST), _LARGEST)
        self._opened: dict[int, _Opened] = {}
        self._generation = -1
        self._sizes: dict[int, int] = {}

    def read(self, segment: int, record: int, offset: int, length: int) -> bytes:
        """What lies at an offset of a record; less where the file is shorter, or gone."""
        opened = self._opened.get(segment)
        if opened is None:
            try:
                opened = _Opened(os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                return b""
            if len(self._opened) >= _MOST_OPEN:
                self._opened.pop(next(iter(self._opened)), None)
            self._opened[segment] = opened
        return os.pread(opened.descriptor, length, record + offset)

    def close_removed(self) -> None:
        """Closes files that other processes have removed, so that the disk gets their room back."""
        generation = int(self._table.head[GENERATION])
        if generation != self._generation:
            self._generation = generation
            self._sizes = {}
            for segment in list(self._opened):
                if not self._is_known(segment):
                    self._opened.pop(segment, None)

    def room(self, wanted: int) -> int:
        """How many bytes of those wanted can be kept, when what is not used any more goes for them."""
        self._refresh()
        room = self._capacity - sum(self._sizes.values())
        if room < wanted:
            room += sum(self._sizes[segment] for segment in self._unused())
        return max(min(wanted, room), 0) if self._disk_room() >= min(wanted, self._segment_bytes) else 0

    def append(self, contents: Sequence[Content], pinned: int = 0) -> list[tuple[int, int]]:
        """Writes contents one after the other, as many as there is room for.

        Returns:
            segment and offset of each of the first ones.
        """
        self._refresh()
        self._give_back()
        places: list[tuple[int, int]] = []
        while len(places) < len(contents):
            segment = self._writable(len(contents[len(places)]), pinned)
            if not segment:
                break
            places += self._fill(segment, contents[len(places) :], pinned)
        return places

    def remove(self, segment: int) -> None:
        """Removes a segment with all its blocks."""
        self._table.segments[segment % SEGMENTS] = 0
        with suppress(FileNotFoundError):
            self._path(segment).unlink()
        self._sizes.pop(segment, None)
        self._opened.pop(segment, None)
        if int(self._table.head[CURRENT]) == segment:
            self._table.head[CURRENT] = 0
        self._table.head[GENERATION] += 1
        self._generation = int(self._table.head[GENERATION])

    def pinned(self, name: int) -> list[int]:
        """The segments of a pinned resource, by the key of its name."""
        slots = self._table.segments[self._table.segments[:, 2] == name]
        return [int(segment) for segment in slots[:, 0] if segment]

    def known_sizes(self) -> dict[int, int]:
        """The bytes of each segment."""
        return {segment: path.stat().st_size for segment, path in self._files() if self._is_known(segment)}

    def sizes(self) -> dict[int, int]:
        """The same; files that nobody knows of any more are removed."""
        for segment, path in self._files():
            if not self._is_known(segment):
                path.unlink()
        return self.known_sizes()

    def _is_known(self, segment: int) -> bool:
        return int(self._table.segments[segment % SEGMENTS, 0]) == segment

    def _refresh(self) -> None:
        self.close_removed()
        current = int(self._table.head[CURRENT])
        if not self._sizes:
            self._sizes = self.sizes()
        elif current:  # the only one that others append to
            self._sizes[current] = self._path(current).stat().st_size

    def _writable(self, length: int, pinned: int) -> int:
        """A segment that takes so many bytes more; 0 if there is no room."""
        current = 0 if pinned else int(self._table.head[CURRENT])
        is_full = not current or self._sizes.get(current, 0) + length > self._segment_bytes
        if self._disk_room() < length:
            return 0
        while sum(self._sizes.values()) + length > self._capacity:
            unused = self._by_use() if pinned else self._unused()
            if not unused:
                return 0
            self.remove(unused[0])
        return self._begin(pinned) if is_full or current not in self._sizes else current

    def _begin(self, pinned: int) -> int:
        table = self._table
        first = int(table.head[NEWEST]) + 1
        slots = (number for number in range(first, first + SEGMENTS) if not table.segments[number % SEGMENTS, 0])
        segment = next(slots, 0)
        if segment:
            self._path(segment).open("xb").close()
            table.segments[segment % SEGMENTS] = segment, table.head[CLOCK], pinned
            table.head[NEWEST] = segment
            if not pinned:
                table.head[CURRENT] = segment
            self._sizes[segment] = 0
            table.head[GENERATION] += 1
            self._generation = int(table.head[GENERATION])
        return segment

    def _fill(self, segment: int, contents: Sequence[Content], pinned: int) -> list[tuple[int, int]]:
        offset = self._sizes[segment]
        room = min(_LARGEST if pinned else self._segment_bytes, offset + self._capacity - sum(self._sizes.values()))
        places: list[tuple[int, int]] = []
        end = offset
        for content in contents:
            if places and end + len(content) > room:
                break
            places.append((segment, end))
            end += len(content)
        with self._path(segment).open("r+b", buffering=0) as file:
            try:
                _write_all(file.fileno(), b"".join(contents[: len(places)]), offset)
            except OSError:
                file.truncate(offset)
                raise
        self._sizes[segment] = end
        return places

    def _give_back(self) -> None:
        """Removes what was used longest ago while the disk, or the cache, is too full."""
        while sum(self._sizes.values()) > self._capacity or self._disk_room() < 0:
            oldest = self._by_use()
            if not oldest:
                return
            self.remove(oldest[0])

    def _unused(self) -> list[int]:
        """Segments that the data that is being read does not need, the one that was used longest ago first."""
        distance = int(self._table.head[DISTANCE])
        if not distance:  # nobody has asked for anything twice that would have been there
            return []
        last = int(self._table.head[CLOCK]) - int(distance * _LONG_UNUSED)
        return [segment for segment in self._by_use() if int(self._table.segments[segment % SEGMENTS, 1]) < last]

    def _by_use(self) -> list[int]:
        state = self._table.segments
        loose = [segment for segment in self._sizes if not state[segment % SEGMENTS, 2]]
        return sorted(loose, key=lambda segment: int(state[segment % SEGMENTS, 1]))

    def _disk_room(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize - self._free

    def _files(self) -> Iterator[tuple[int, Path]]:
        for path in self._folder.iterdir():
            if match := _NAME.fullmatch(path.name):
                yield int(match[1]), path

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08}.blocks"


class _Opened:
    """A file that is closed with the last reference: another thread may still read from it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
