"""Fields of a table as columns: texts to numbers, without a value that changes on the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import nan
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.formats.csv_types import TEXT

_BOOLS: Final = {
    text: value
    for words, value in ((("true", "1", "yes", "t", "y"), True), (("false", "0", "no", "f", "n"), False))
    for word in words
    for text in (word, word.capitalize(), word.upper())
}


class FieldError(ValueError):
    """A field that has no value of the column's type; ``position`` says which of those that were given."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


def checked_dtype(dtype: Any) -> np.dtype[Any] | None:
    """The numpy type that a caller says a column has; None for text.

    Raises:
        TypeError: fields can't be read as that.

    Examples:
        >>> checked_dtype("float32"), checked_dtype(str), checked_dtype("text")
        (dtype('float32'), None, None)
    """
    if dtype is TEXT or dtype == TEXT or dtype is str or dtype is object:
        return None
    found: np.dtype[Any] = np.dtype(dtype)
    if found.kind not in _CONVERTERS or found == np.dtype("M8"):
        raise TypeError(
            f"a column can't be read as {dtype!r}: give an integer, float or bool type, datetime64[s], or 'text'"
        )
    return found


def as_values(texts: Sequence[str], dtype: np.dtype[Any] | None, missing: Collection[str]) -> npt.NDArray[Any]:
    """The values of a column: missing ones are NaN, NaT, or None in text.

    Raises:
        FieldError: a field is no such value, or is missing where the type has nothing for that.

    Examples:
        >>> as_values(["1", "NA"], np.dtype("f8"), {"NA"}).tolist(), as_values(["1", "NA"], None, {"NA"}).tolist()
        ([1.0, nan], ['1', None])
        >>> as_values(["1", "300"], np.dtype("u1"), ())
        Traceback (most recent call last):
        datastack_fs.formats.csv_columns.FieldError: '300' is no uint8
    """
    if dtype is None:
        column = np.empty(len(texts), dtype=object)
        column[:] = [None if text in missing else text for text in texts] if missing else texts
        return column
    try:
        return _converted(texts, dtype, missing)
    except _NO_VALUE:
        return _one_by_one(texts, dtype, missing)


def _converted(texts: Sequence[str], dtype: np.dtype[Any], missing: Collection[str]) -> npt.NDArray[Any]:
    if "_" in "".join(texts):  # Python's own numbers may have them between digits
        raise ValueError("_")
    values = _CONVERTERS[dtype.kind](texts, dtype, missing)
    return values.astype(dtype, copy=False)


def _one_by_one(texts: Sequence[str], dtype: np.dtype[Any], missing: Collection[str]) -> npt.NDArray[Any]:
    """Finds the field that can't be converted."""
    for position, text in enumerate(texts):
        try:
            _converted([text], dtype, missing)
        except _NO_VALUE:
            reason = "missing, which only float64 and the like can say" if text in missing else f"no {dtype}"
            raise FieldError(position, f"{text!r:.60} is {reason}") from None
    raise AssertionError("each field could be converted alone")


def _integers(texts: Sequence[str], dtype: np.dtype[Any], missing: Collection[str]) -> npt.NDArray[Any]:
    values = list(map(int, texts))
    limits = np.iinfo(dtype)
    if values and not limits.min <= min(values) <= max(values) <= limits.max:
        raise OverflowError
    return np.array(values, dtype=dtype)


def _floats(texts: Sequence[str], dtype: np.dtype[Any], missing: Collection[str]) -> npt.NDArray[Any]:
    values = [nan if text in missing else float(text) for text in texts] if missing else map(float, texts)
    return np.fromiter(values, np.float64, len(texts))


def _bools(texts: Sequence[str], dtype: np.dtype[Any], missing: Collection[str]) -> npt.NDArray[Any]:
    return np.fromiter((_BOOLS[text] for text in texts), np.bool_, len(texts))


def _times(texts: Sequence[str], dtype: np.dtype[Any], missing: Collection[str]) -> npt.NDArray[Any]:
    return np.array(["NaT" if text in missing else text for text in texts], dtype=dtype)


_CONVERTERS: Final = {"i": _integers, "u": _integers, "f": _floats, "b": _bools, "M": _times}
_NO_VALUE: Final = (ValueError, OverflowError, TypeError, KeyError)
