"""Decompressors of an archive that stand where they were left."""

from __future__ import annotations

import threading
from typing import Final

from datastack_fs.decompression import ForwardStream

MOST_STREAMS: Final = 8


class StreamPool:
    """Streams that stand where they were left, for whoever reads on from there; the oldest are let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[str, ForwardStream]] = []

    def take(self, key: str, position: int) -> ForwardStream | None:
        """The stream of that name that stands nearest before a position, if there is one. It is the caller's now."""
        with self._lock:
            fit = [kept for kept in self._kept if kept[0] == key and kept[1].tell() <= position]
            if not fit:
                return None
            nearest = max(fit, key=lambda kept: kept[1].tell())
            self._kept.remove(nearest)
            return nearest[1]

    def put(self, key: str, stream: ForwardStream) -> None:
        """Keeps a stream."""
        with self._lock:
            self._kept.append((key, stream))
            del self._kept[:-MOST_STREAMS]
