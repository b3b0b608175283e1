"""The table of a cache: which block lies where, mapped into the memory of every process that shares it.

Readers take no lock: a row that is being written meanwhile does not fit the checksum of the block, which holds its key.
Whoever writes a row, a segment or a claim holds the cache's lock. Counters are added to without one, and may miss some.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from datastack_fs.cache.blocks import Keys
from datastack_fs.reading import BLOCK_BYTES

Words = npt.NDArray[np.uint64]

MAGIC: Final = 0x3230_4B43_4F4C_4253  # "SBLOCK02"
WAYS: Final = 8
"""Rows of a bucket, in any of which a block may stand."""

SEGMENTS: Final = 4096
CLAIMS: Final = 4096
_BYTES_PER_ROW: Final = 16 << 10
_FEWEST_ROWS: Final = 1 << 10
_SEEN_TIMES: Final = 64  # the cache's own number of blocks
_FEWEST_SEEN, _MOST_SEEN = 1 << 12, 1 << 18
_LOW: Final = np.uint64(0xFFFF_FFFF)
_SHIFT: Final = np.uint64(32)

# Words of the head.
_MAGIC, _ROWS, _SEEN, CLOCK, GENERATION, NEWEST, CURRENT, DISTANCE = range(8)
FOUND_BLOCKS, FOUND_BYTES, FETCHED_BLOCKS, FETCHED_BYTES, DAMAGED_BLOCKS = range(8, 13)
_HEAD: Final = 16
_ZEROS: Final = 1 << 20


class Places(NamedTuple):
    """Where blocks lie; rows of those that are not there mean nothing."""

    is_there: npt.NDArray[np.bool_]
    segments: Words
    lengths: Words
    offsets: Words
    checksums: Words


class BlockTable:
    """The table file, open in one process.

    Attributes:
        head: counters, and what the processes agree on.
        segments: of each slot the number of the segment (0 for none), the clock at its last use, and the name's key of
            a pinned resource (0 for none).
        claims: blocks that are being fetched: key, process, and when it began.
        seen: blocks that were asked for and not kept: key, and the clock at that time.
        sampling: one of so many blocks is looked after in ``seen``.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        with path.open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), 0, access=access)
        words = np.frombuffer(self._map, np.uint64)
        if (
            len(words) < _HEAD
            or int(words[_MAGIC]) != MAGIC
            or len(words) != _words(int(words[_ROWS]), int(words[_SEEN]))
        ):
            raise ValueError(f"{path} is no table of a cache, or that of another version")
        rows, seen = int(words[_ROWS]), int(words[_SEEN])
        sizes = [_HEAD, 3 * SEGMENTS, 3 * CLAIMS, 2 * seen]
        head, segments, claims, ghosts, table = np.split(words, np.cumsum(sizes))
        self.head: Words = head
        self.segments: Words = segments.reshape(SEGMENTS, 3)
        self.claims: Words = claims.reshape(CLAIMS, 3)
        self.seen: Words = ghosts.reshape(seen, 2)
        self.sampling = max(1, rows * _BYTES_PER_ROW // BLOCK_BYTES * _SEEN_TIMES // seen)
        self._rows = table.reshape(-1, WAYS, 4)
        self._last = np.uint64(len(self._rows) - 1)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._map)

    def find(self, keys: Keys) -> Places:
        """Where blocks lie, at this moment."""
        buckets = self._rows[keys[:, 0] & self._last]
        same = (buckets[:, :, 0] == keys[:, :1]) & (buckets[:, :, 1] == keys[:, 1:])
        row = buckets[np.arange(len(keys)), same.argmax(1)]
        segments = row[:, 2] >> _SHIFT
        is_there = same.any(1) & (segments > 0) & (self.segments[segments % SEGMENTS, 0] == segments)
        return Places(is_there, segments, row[:, 2] & _LOW, row[:, 3] >> _SHIFT, row[:, 3] & _LOW)

    def put(self, key: tuple[int, int], segment: int, length: int, offset: int, checksum: int) -> None:
        """Writes the row of a block; a full bucket loses the block of the oldest segment."""
        bucket = self._rows[key[0] & int(self._last)]
        rows = bucket.tolist()
        same = [way for way, row in enumerate(rows) if (row[0], row[1]) == key]
        way = same[0] if same else min(range(WAYS), key=lambda way: self._age(rows[way][2] >> 32))
        bucket[way, :2] = 0  # no reader takes a part of the old row for the new one's
        bucket[way, 2:] = segment << 32 | length, offset << 32 | checksum
        bucket[way, :2] = key

    def drop(self, key: tuple[int, int]) -> None:
        """Forgets a block."""
        bucket = self._rows[key[0] & int(self._last)]
        bucket[(bucket[:, 0] == key[0]) & (bucket[:, 1] == key[1])] = 0

    def blocks(self) -> tuple[Keys, Places]:
        """All blocks that are there."""
        rows = self._rows.reshape(-1, 4)
        keys = rows[rows[:, 2] > 0][:, :2].copy()
        places = self.find(keys)
        kept = places.is_there
        return keys[kept], self.find(keys[kept])

    def _age(self, segment: int) -> int:
        """Less for what may rather go."""
        return segment if segment and int(self.segments[segment % SEGMENTS, 0]) == segment else -1


def create(path: Path, cache_size: int) -> None:
    """Writes the empty table of a cache of so many bytes, with all its room on the disk, and publishes it whole."""
    rows = _power_of_two(cache_size // _BYTES_PER_ROW, _FEWEST_ROWS)
    seen = min(_power_of_two(cache_size // BLOCK_BYTES * _SEEN_TIMES, _FEWEST_SEEN), _MOST_SEEN)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            # A hole that can't be filled, for want of room, would kill a process that writes to the mapped file.
            size = 8 * _words(rows, seen)
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.writelines(bytes(min(_ZEROS, size - start)) for start in range(0, size, _ZEROS))
                file.seek(0)
            file.write(np.array([MAGIC, rows, seen], np.uint64).tobytes())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _words(rows: int, seen: int) -> int:
    return _HEAD + 3 * SEGMENTS + 3 * CLAIMS + 2 * seen + 4 * rows


def _power_of_two(number: int, least: int) -> int:
    return int(max(least, 1 << max(number - 1, 1).bit_length()))
