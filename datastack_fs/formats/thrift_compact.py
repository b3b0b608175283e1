"""What some fields of a structure in Thrift's compact protocol say; all others are passed over.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Wanted: TypeAlias = Mapping[int, Any]
"""By number of a field: None for a number or text, a mapping for a structure, a list of one mapping for several."""

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 1, 2, 3, 7, 8, 9, 10, 11, 12, 13
_INTEGERS: Final = frozenset({4, 5, 6})
_SIZES: Final = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
_LONGEST_VARINT: Final = 10


def read_struct(content: bytes, wanted: Wanted) -> dict[int, Any]:
    r"""Returns the wanted fields of the structure that some bytes begin with, as far as they are there.

    Raises:
        ValueError: the bytes are none of this protocol, or end early.

    Examples:
        >>> read_struct(b"\x16\x0a\x19\x1c\x18\x01a\x00\x00", {1: None, 2: [{1: None}]})
        {1: 5, 2: [{1: b'a'}]}
    """
    try:
        return _Reader(content).struct(wanted)
    except (IndexError, RecursionError) as error:
        raise ValueError(f"no structure that can be read: {type(error).__name__}") from error


class _Reader:
    """Reads from front to back; what is not wanted is skipped, without making anything of it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def struct(self, wanted: Wanted) -> dict[int, Any]:
        found: dict[int, Any] = {}
        number = 0
        content = self._content
        while head := content[self._at]:
            self._at += 1
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._signed()
            if number in wanted:
                found[number] = self._value(kind, wanted[number])
            else:
                self._skip(kind)
        self._at += 1
        return found

    def _value(self, kind: int, spec: Any) -> Any:
        if kind in _INTEGERS and spec is None:
            return self._signed()
        if kind == _BINARY and spec is None:
            start = self._at_binary()
            return self._content[start : self._at]
        if kind == _STRUCT and isinstance(spec, Mapping):
            return self.struct(spec)
        if kind == _LIST and isinstance(spec, list):
            size, element = self._list_head()
            if element == _STRUCT:
                return [self.struct(spec[0]) for _ in range(size)]
        raise ValueError(f"a field of type {kind} where another belongs")

    def _skip(self, kind: int) -> None:
        if kind in _INTEGERS:
            self._unsigned()
        elif kind == _BINARY:
            self._at_binary()
        elif kind == _STRUCT:
            while head := self._content[self._at]:
                self._at += 1
                if not head >> 4:
                    self._signed()
                self._skip(head & 15)
            self._at += 1
        elif kind in {_LIST, _SET}:
            size, element = self._list_head()
            for _ in range(size):
                self._skip_element(element)
        elif kind == _MAP:
            size = self._unsigned()
            if size:
                kinds = self._content[self._at]
                self._at += 1
                for _ in range(size):
                    self._skip_element(kinds >> 4)
                    self._skip_element(kinds & 15)
        elif kind not in {_TRUE, _FALSE}:  # a field that is true or false has its value in its head
            self._skip_sized(kind)

    def _skip_element(self, kind: int) -> None:
        if kind in {_TRUE, _FALSE}:
            self._at += 1
            self._content[self._at - 1]  # an end that comes early is an error here, too
        else:
            self._skip(kind)

    def _skip_sized(self, kind: int) -> None:
        if kind not in _SIZES:
            raise ValueError(f"there is no type {kind}")
        self._at += _SIZES[kind]
        self._content[self._at - 1]

    def _at_binary(self) -> int:
        """Goes past some bytes, and returns where they begin."""
        size = self._unsigned()
        start = self._at
        self._at += size
        if self._at > len(self._content):
            raise ValueError(f"{size:,} bytes are promised where {len(self._content) - start:,} are left")
        return start

    def _list_head(self) -> tuple[int, int]:
        head = self._content[self._at]
        self._at += 1
        size = head >> 4
        return (self._unsigned() if size == 15 else size), head & 15

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)

    def _unsigned(self) -> int:
        content, at = self._content, self._at
        byte = content[at]
        at += 1
        number = byte & 127
        shift = 7
        while byte & 128:
            byte = content[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if shift > 7 * _LONGEST_VARINT:
                raise ValueError("a number of more than 64 bits")
        self._at = at
        return number
