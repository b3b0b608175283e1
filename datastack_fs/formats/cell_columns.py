"""Columns of numpy from single values whose types only the values tell, such as the cells of a spreadsheet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_NUMBERS: Final = (int, float)
_INT64: Final = range(-(2**63), 2**63)
_EXACT_IN_FLOAT64: Final = 2**53


def cell_column(values: Sequence[Any], missing: Collection[str], *, also_in_text: bool) -> npt.NDArray[Any]:
    """Returns values as an array of the one type that all have, or of objects.

    Args:
        values: in which None is missing.
        missing: texts that stand for a missing value.
        also_in_text: whether they do among other text, too.

    Examples:
        >>> cell_column([1, "NA", 2.5], {"NA"}, also_in_text=False).tolist()
        [1.0, nan, 2.5]
        >>> cell_column([True, None], (), also_in_text=False).tolist()
        [True, None]
    """
    known = [value for value in values if not _is_missing(value, missing)]
    lacking = len(known) < len(values)
    kinds = set(map(type, known))
    for accepts, make in _KINDS:
        if kinds and all(accepts(kind) for kind in kinds):
            made = make(known, lacking)
            if made is None:
                break
            column = _gaps(made.dtype, len(values))
            column[[not _is_missing(value, missing) for value in values]] = made
            return column
    objects = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        objects[place] = None if also_in_text and _is_missing(value, missing) else value
    return objects


def _is_missing(value: Any, missing: Collection[str]) -> bool:
    return value is None or (isinstance(value, str) and value in missing)


def _gaps(dtype: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    nothing: Any = {"f": np.nan, "M": "NaT", "m": "NaT", "O": None}.get(dtype.kind, 0)
    return np.full(length, nothing, dtype=dtype)


def _numbers(known: Sequence[Any], lacking: bool) -> npt.NDArray[Any] | None:
    integers = all(isinstance(value, int) for value in known)
    largest = max(abs(value) for value in known if isinstance(value, int)) if integers else 0
    if integers and not lacking:
        return np.array(known, dtype=np.int64) if largest in _INT64 else None
    if any(isinstance(value, int) and abs(value) > _EXACT_IN_FLOAT64 for value in known):
        return None
    return np.array(known, dtype=np.float64)


def _bools(known: Sequence[Any], lacking: bool) -> npt.NDArray[Any]:
    return np.array(known, dtype=object if lacking else np.bool_)


def _times(known: Sequence[Any], lacking: bool) -> npt.NDArray[Any]:
    return np.array(known, dtype="datetime64[us]")


def _durations(known: Sequence[Any], lacking: bool) -> npt.NDArray[Any]:
    return np.array(known, dtype="timedelta64[us]")


_KINDS: Final[Sequence[tuple[Callable[[type], bool], Callable[[Sequence[Any], bool], npt.NDArray[Any] | None]]]] = (
    (lambda kind: kind is bool, _bools),
    (lambda kind: kind in _NUMBERS, _numbers),
    (lambda kind: issubclass(kind, dt.date), _times),
    (lambda kind: issubclass(kind, dt.timedelta), _durations),
)
