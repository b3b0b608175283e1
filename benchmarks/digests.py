"""Checksums of what contenders read."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

STRIDE = 1024


def of_batches(batches: Iterable[Any]) -> list[int]:
    """One for each batch: all its bytes count, and their order."""
    return [zlib.crc32(np.ascontiguousarray(batch).view(np.uint8).reshape(-1)) for batch in batches]


def of_samples(batches: Iterable[Any]) -> list[int]:
    """One for each row of each batch, for epochs that everyone shuffles another way."""
    return [zlib.crc32(row) for batch in batches for row in batch]


def of_buffers(buffers: Iterable[bytes | memoryview]) -> list[int]:
    """One for each."""
    return [zlib.crc32(buffer) for buffer in buffers]


class Stream:
    """Of a stream too large to keep: its size, and every 1024th byte.

    To be cheap enough to be taken inside the timed part.
    """

    def __init__(self) -> None:
        self._size = 0
        self._crc = 0

    def add(self, block: bytes | bytearray | memoryview) -> None:
        """Adds the next block."""
        self._crc = zlib.crc32(bytes(block[-self._size % STRIDE :: STRIDE]), self._crc)
        self._size += len(block)

    def digests(self) -> Sequence[tuple[int, int]]:
        """One, of the whole stream."""
        return [(self._size, self._crc)]


def of_blocks(blocks: Iterable[bytes | bytearray | memoryview]) -> Sequence[tuple[int, int]]:
    """The same, of all blocks of a stream."""
    stream = Stream()
    for block in blocks:
        stream.add(block)
    return stream.digests()
