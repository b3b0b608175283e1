"""How a block lies in a segment: its bytes, and after them a checksum of each page, for reading a part of it.

A random row is a sixteenth of a block. To read and check its pages alone takes a third of the time of the whole block.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import numpy as np

from datastack_fs.cache.blocks import Keys, Part
from datastack_fs.resource import Content

PAGE_BYTES: Final = 8 << 10
_CHECKSUM_BYTES: Final = 4

Read = Callable[[int, int], bytes]
"""Reads so many bytes at an offset; less where there is less."""


def record_bytes(length: int) -> int:
    """The size of the record of a block of so many bytes."""
    return length + -(-length // PAGE_BYTES) * _CHECKSUM_BYTES


def record_of(key: Keys, content: Content) -> tuple[bytes, int]:
    """The record of a block, and the checksum of its bytes."""
    seed = _seed(key)
    view = memoryview(content)
    pages = [zlib.crc32(view[start : start + PAGE_BYTES], seed + start) for start in range(0, len(view), PAGE_BYTES)]
    return b"".join([view, np.array(pages, "<u4").tobytes()]), zlib.crc32(view, seed)


def is_intact(key: Keys, record: bytes, length: int, checksum: int) -> bool:
    """Whether a record is as it was written, for that very block."""
    return len(record) == record_bytes(length) and record_of(key, record[:length]) == (record, checksum)


def read_part(read: Read, key: Keys, length: int, checksum: int, wanted: tuple[int, int]) -> Part | None:
    """The part of a block that is wanted, or more of it; None if it is not as it was written.

    Args:
        read: reads the record.
        key: of the block.
        length: of the block.
        checksum: of all its bytes.
        wanted: start and stop in the block.
    """
    first, last = wanted[0] // PAGE_BYTES, -(-wanted[1] // PAGE_BYTES)
    start, stop = first * PAGE_BYTES, min(last * PAGE_BYTES, length)
    seed = _seed(key)
    if 2 * (stop - start) > length:
        whole = read(0, length)
        return Part(0, whole) if len(whole) == length and zlib.crc32(whole, seed) == checksum else None
    content = read(start, stop - start)
    told = read(length + first * _CHECKSUM_BYTES, (last - first) * _CHECKSUM_BYTES)
    if len(content) != stop - start or len(told) != (last - first) * _CHECKSUM_BYTES:
        return None
    for number in range(last - first):
        at = number * PAGE_BYTES
        page = content[at : at + PAGE_BYTES]
        if zlib.crc32(page, seed + start + at) != int.from_bytes(told[4 * number : 4 * number + 4], "little"):
            return None
    return Part(start, content)


def _seed(key: Keys) -> int:
    """What the checksums of a block begin with: the bytes of one block never fit the key of another."""
    return zlib.crc32(key.tobytes()) & 0x7FFF_FFFF
