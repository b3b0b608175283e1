"""The types of a table's columns, told by all of its fields: counted in whole blocks, not field by field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""What is taken for missing in columns of numbers where a caller says nothing."""

INTEGER: Final = "int64"
FLOAT: Final = "float64"
TEXT: Final = "text"

_INT_DIGITS: Final = 18  # so many fit 64 bits
_FLOAT_DIGITS: Final = 15  # so many of an integer fit a float64 exactly
_LONGEST: Final = 63  # a field that is longer is no number; the counts below have six bits each
_INTEGER_TEXT: Final = re.compile(rb"[+-]?([0-9]+)")
_FLOAT_TEXT: Final = re.compile(rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI]nf(?:inity)?)")

_DIGIT, _SIGN, _DOT, _QUOTE, _OTHER = (1 << shift for shift in (0, 6, 12, 18, 24))


class ColumnTypes:
    r"""Learns the types of columns from blocks of rows.

    A column is of integers or floats if at least one field is a number and all others are missing; else it is text. It
    stays text where numbers would lose something: integers with leading zeros, or more digits than the type holds.

    Examples:
        >>> block = np.frombuffer(b"1,x,2.5\n2,y,NA\n", np.uint8)
        >>> ends = np.array([[1, 3, 7], [9, 11, 14]])
        >>> types = ColumnTypes(3, quote='"', missing=[b"NA"])
        >>> types.update(block, np.array([[0, 2, 4], [8, 10, 12]]), ends)
        >>> types.found(), types.missing
        (['int64', 'text', 'float64'], [0, 0, 1])
    """

    def __init__(self, columns: int, quote: str | None, missing: Sequence[bytes]) -> None:
        self._candidates = list(range(columns))
        self._missing_texts = frozenset(missing)
        self._quote = -1 if quote is None else ord(quote)
        self._integers, self._floats, self._digits = [0] * columns, [0] * columns, [0] * columns
        self.missing = [0] * columns
        """Of each column of numbers, how many fields are missing."""
        weights = np.full(256, _OTHER, dtype=np.uint32)
        weights[list(b"0123456789")] = _DIGIT
        weights[list(b"+-")] = _SIGN
        weights[ord(".")] = _DOT
        if quote is not None:
            weights[self._quote] = _QUOTE
        self._weights = weights
        self._sums = self._weighed = np.zeros(0, dtype=np.uint32)

    def update(self, block: npt.NDArray[np.uint8], starts: npt.NDArray[Any], ends: npt.NDArray[Any]) -> None:
        """Takes the fields of some rows: where in the block they start and end, arrays of shape (rows, columns)."""
        if not self._candidates or not len(starts):
            return
        sums = self._summed(block)
        self._candidates = [
            column
            for column in self._candidates
            if self._takes(column, block, starts[:, column], ends[:, column], sums)
        ]

    def found(self) -> list[str]:
        """The type of each column."""
        return [self._type(column) for column in range(len(self.missing))]

    def _summed(self, block: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
        """Sums of the weights before each byte. They may wrap around: their differences stay right."""
        if len(self._sums) <= len(block):  # new memory costs more than all that is done with it
            self._sums, self._weighed = np.zeros((2, 2 * len(block) + 1), dtype=np.uint32)
        weighed, sums = self._weighed[: len(block)], self._sums[: len(block) + 1]
        np.take(self._weights, block, out=weighed, mode="clip")
        np.cumsum(weighed, dtype=np.uint32, out=sums[1:])
        return sums

    def _takes(
        self,
        column: int,
        block: npt.NDArray[np.uint8],
        starts: npt.NDArray[Any],
        ends: npt.NDArray[Any],
        sums: npt.NDArray[np.uint32],
    ) -> bool:
        """Whether the column may still be one of numbers."""
        counts = sums[ends] - sums[starts]
        quotes = (counts >> 18) & 63
        if quotes.any():  # a field in quotes is what stands between them
            around = (_bytes_at(block, starts) == self._quote) & (block[ends - 1] == self._quote)
            quoted = around & (quotes == 2) & (ends - starts >= 2)
            starts, ends = starts + quoted, ends - quoted
            counts = counts - quoted.astype(np.uint32) * np.uint32(2 * _QUOTE)
        lengths = ends - starts
        digits, signs, dots = counts & 63, (counts >> 6) & 63, (counts >> 12) & 63
        firsts = _bytes_at(block, starts)
        signed = (firsts == ord("-")) | (firsts == ord("+"))
        plain = (
            (counts < _QUOTE) & (lengths > 0) & (lengths <= _LONGEST) & (digits > 0) & (dots <= 1) & (signs == signed)
        )
        leading = (_bytes_at(block, starts + signed) == ord("0")) & (digits > 1)
        integers = plain & (dots == 0)
        if np.any(integers & (leading | (digits > _INT_DIGITS))):
            return False
        count = int(np.count_nonzero(integers))
        self._integers[column] += count
        self._floats[column] += int(np.count_nonzero(plain)) - count
        if count:
            self._digits[column] = max(self._digits[column], int(digits[integers].max()))
        others = np.flatnonzero(~plain)
        places = zip(starts[others].tolist(), ends[others].tolist(), strict=True)
        return all(self._takes_text(column, block[start:end].tobytes()) for start, end in places)

    def _takes_text(self, column: int, text: bytes) -> bool:
        """The same for a field that is unusual: missing, with an exponent, with spaces around it."""
        if text in self._missing_texts:
            self.missing[column] += 1
            return True
        number = text.strip(b" ")
        if len(number) > _LONGEST or not _FLOAT_TEXT.fullmatch(number):
            return False
        integer = _INTEGER_TEXT.fullmatch(number)
        if integer is None:
            self._floats[column] += 1
            return True
        self._integers[column] += 1
        self._digits[column] = max(self._digits[column], len(integer[1]))
        return integer[1] == b"0" or not integer[1].startswith(b"0")

    def _type(self, column: int) -> str:
        integers, floats, missing = self._integers[column], self._floats[column], self.missing[column]
        if column not in self._candidates or not integers + floats or self._digits[column] > _INT_DIGITS:
            return TEXT
        if not floats and not missing:
            return INTEGER
        return FLOAT if self._digits[column] <= _FLOAT_DIGITS else TEXT


def _bytes_at(block: npt.NDArray[np.uint8], places: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes at some places; an empty field at the end of a text without a line end has its place after the last."""
    found: npt.NDArray[np.uint8] = block[np.minimum(places, len(block) - 1)]
    return found
