"""Tables of Google's FlatBuffers, as far as Arrow's metadata needs them; every place is checked.

Source: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from typing import Any


class FlatTable:
    """One table in a buffer: its fields by number.

    Args:
        content: the whole buffer.
        place: where the table begins; by default that of the root.

    Raises:
        ValueError: something lies outside of the buffer.
    """

    def __init__(self, content: bytes, place: int | None = None) -> None:
        self._content = content
        self.place = self._follow(0) if place is None else place
        """Where it begins."""
        self._fields = self.place - self._number("<i", self.place)
        self._size = self._number("<H", self._fields)

    def number(self, field: int, kind: str, otherwise: int = 0) -> int:
        """A number; ``kind`` is its format in ``struct``'s terms."""
        place = self._find(field)
        return otherwise if place is None else self._number(kind, place)

    def table(self, field: int) -> FlatTable | None:
        """A table, or None."""
        place = self._find(field)
        return None if place is None else FlatTable(self._content, self._follow(place))

    def structs(self, field: int, kind: str) -> list[tuple[Any, ...]]:
        """A vector of structures, each read by the format ``kind``; without the field there is none."""
        place = self._find(field)
        if place is None:
            return []
        start = self._follow(place)
        count, size = self._number("<I", start), struct.calcsize(kind)
        found = self._content[start + 4 : start + 4 + count * size]
        if len(found) != count * size:
            raise ValueError(f"a vector of {count:,} goes on after the end")
        return list(struct.iter_unpack(kind, found))

    def _find(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return None
        offset = self._number("<H", self._fields + slot)
        return self.place + offset if offset else None

    def _follow(self, place: int) -> int:
        return place + self._number("<I", place)

    def _number(self, kind: str, place: int) -> int:
        if not 0 <= place <= len(self._content) - struct.calcsize(kind):
            raise ValueError(f"byte {place:,} of {len(self._content):,}")
        number: int = struct.unpack_from(kind, self._content, place)[0]
        return number
