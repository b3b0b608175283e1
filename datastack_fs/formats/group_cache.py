"""Decoded columns of groups of rows: the last ones are kept, and those that are still to be decoded are known."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from weakref import WeakValueDictionary

import pyarrow as pa


class Piece:
    """One column of one group. It is there once it was decoded; whoever waits for it holds the piece."""

    __slots__ = ("__weakref__", "column")

    def __init__(self) -> None:
        self.column: pa.ChunkedArray | None = None


class GroupCache:
    """The pieces that were decoded last, up to a bound, and all others that somebody holds. Threads may share it.

    Args:
        max_bytes: how much is kept; the last group is kept whatever its size.

    Examples:
        >>> cache = GroupCache(max_bytes=100)
        >>> pieces, missing = cache.claim(0, ["x"])
        >>> missing, cache.claim(0, ["x"])[1]  # the second caller waits for what the first one fetches
        (['x'], [])
        >>> cache.keep(0, {"x": pa.chunked_array([[1, 2]])})
        >>> pieces["x"].column.to_pylist(), cache.has(0, ["x"])
        ([1, 2], True)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, str], tuple[Piece, int]] = OrderedDict()
        self._known: WeakValueDictionary[tuple[int, str], Piece] = WeakValueDictionary()
        self._lock = threading.Lock()

    def has(self, group: int, names: Sequence[str]) -> bool:
        """Whether all these columns of a group are kept."""
        return all((group, name) in self._kept for name in names)

    def claim(self, group: int, names: Sequence[str]) -> tuple[dict[str, Piece], list[str]]:
        """The pieces of some columns, and the names of those that nobody else decodes: the caller does."""
        pieces, missing = {}, []
        with self._lock:
            for name in names:
                key = group, name
                piece = self._known.get(key)
                if piece is None:
                    piece = self._known[key] = Piece()
                    missing.append(name)
                elif key in self._kept:
                    self._kept.move_to_end(key)
                pieces[name] = piece
        return pieces, missing

    def keep(self, group: int, columns: Mapping[str, pa.ChunkedArray]) -> None:
        """Takes columns of a group that were decoded."""
        with self._lock:
            for name, column in columns.items():
                key = group, name
                piece = self._known.get(key)
                if piece is None:
                    piece = self._known[key] = Piece()
                piece.column = column
                size = column.get_total_buffer_size()
                _, before = self._kept.pop(key, (None, 0))
                self._kept[key] = piece, size
                self._bytes += size - before
            while self._bytes > self._max_bytes and next(iter(self._kept))[0] != group:
                _, (_, size) = self._kept.popitem(last=False)
                self._bytes -= size
