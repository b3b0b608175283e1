"""The pieces of a file that were fetched last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

_LARGE_BLOCK: Final = 4 << 20


class RecentPieces:
    """Bytes that were fetched last, by number, up to a bound; threads may share it.

    Examples:
        >>> recent = RecentPieces(max_bytes=5)
        >>> recent.keep(1, b"owl")
        >>> recent.keep(2, memoryview(b"wren"))
        >>> recent.get(1), recent.get(2)
        (None, b'wren')
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> bytes | None:
        """A piece, if it is still here."""
        with self._lock:
            piece = self._pieces.get(number)
            if piece is not None:
                self._pieces.move_to_end(number)
            return piece

    def keep(self, number: int, piece: Any) -> None:
        """Takes a piece, and lets go of the oldest ones; not of a large block, which is kept by whoever cut it up."""
        if isinstance(piece, memoryview) and memoryview(piece.obj).nbytes > _LARGE_BLOCK:
            return
        content = bytes(piece)  # a view would keep all that was fetched with it
        with self._lock:
            if number in self._pieces:
                return
            self._pieces[number] = content
            self._left -= len(content)
            while self._left < 0:
                _, oldest = self._pieces.popitem(last=False)
                self._left += len(oldest)
