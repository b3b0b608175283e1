"""What the parts of samples are, gathered batch by batch: types, ranges, and what is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.contents import described, element_type, one_line
from datastack_fs.iterators.labels import as_column
from datastack_fs.iterators.report.model import ColumnReport

MOST_COLUMNS: Final = 200
_SHOWN_TYPES: Final = 8
_MOST_TYPES: Final = 1000
_MOST_DEPTH: Final = 4
_LARGEST: Final = 2**1000
_NO_VALUE: Final = frozenset({"NAType", "NaTType"})  # of pandas, which compare in ways of their own


class Summary:
    """All parts of the samples that it is given.

    Examples:
        >>> summary = Summary(["sample", "target", "tag"])
        >>> summary.add([({"left": np.zeros(3), "name": "owl"}, 1, None), ({"left": np.ones(3), "name": ""}, 0, None)])
        >>> for column in summary.columns():
        ...     print(column.name, column.types, column.low, column.high, column.missing_samples)
        sample.left ('float64 (3,)',) 0.0 1.0 0
        sample.name ('text',) 0 3 1
        target ('int',) 0 1 0
        tag ('None',) None None 2
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._columns: dict[str, _Column] = {}
        self.left_out: set[str] = set()

    def add(self, samples: Sequence[tuple[Any, ...]]) -> None:
        """Takes account of a batch."""
        width = max(map(len, samples))
        names = [*self._names, *(f"[{place}]" for place in range(len(self._names), width))]
        for place, name in enumerate(names):
            values = [sample[place] for sample in samples if place < len(sample)]
            if values:
                self._add(name, as_column(values), values, 0)

    def columns(self) -> list[ColumnReport]:
        """What is known of each part, in the order in which they came."""
        return [column.report(name) for name, column in self._columns.items()]

    def _add(self, name: str, column: Any, values: Sequence[Any] | None, depth: int) -> None:
        """A column as ``as_column`` gives it, and the values that it was made of where they tell more."""
        if isinstance(column, (dict, tuple)) and depth < _MOST_DEPTH:
            parts = column.items() if isinstance(column, dict) else enumerate(column)
            for key, part in parts:
                place = f"[{key}]" if isinstance(column, tuple) else f".{one_line(key, 40)}"
                inner = None if values is None else [value[key] for value in values]
                self._add(name + place, part, inner, depth + 1)
        elif isinstance(column, np.ndarray) and column.dtype.names is not None:
            for field in column.dtype.names:
                self._add(f"{name}.{one_line(field, 40)}", column[field], None, depth + 1)
        elif isinstance(column, np.ndarray) and column.dtype.kind != "O":
            self._named(name).add_rows(column, _own_type(values))
        else:
            for value in values if values is not None else column:
                self._add_value(name, value, depth)

    def _add_value(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, Mapping) and depth < _MOST_DEPTH:
            for key, part in value.items():
                self._add_value(f"{name}.{one_line(key, 40)}", part, depth + 1)
        elif isinstance(value, tuple) and value and depth < _MOST_DEPTH:
            for place, part in enumerate(value):
                self._add_value(f"{name}[{place}]", part, depth + 1)
        elif isinstance(value, np.void) and value.dtype.names is not None:
            for field in value.dtype.names:
                self._add_value(f"{name}.{one_line(field, 40)}", value[field], depth + 1)
        else:
            self._named(name).add_value(value)

    def _named(self, name: str) -> _Column:
        if name not in self._columns:
            if len(self._columns) >= MOST_COLUMNS:
                self.left_out.add(name)
                return _Column()
            self._columns[name] = _Column()
        return self._columns[name]


class _Column:
    """One part of samples."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._samples = self._missing_samples = self._missing_values = self._infinite = 0
        self._ranges: dict[str, _Range] = {}

    def add_rows(self, rows: npt.NDArray[Any], type_name: str | None = None) -> None:
        """An array with a row for each sample, of a type that is not ``object``."""
        self._note(type_name or element_type(rows.dtype, rows.shape[1:]), len(rows))
        kind = rows.dtype.kind
        missing = _missing_in(rows)
        if missing is not None and missing.any():
            self._missing_values += int(missing.sum())
            self._missing_samples += int(missing.reshape(len(rows), -1).any(axis=1).sum())
        if kind in "biuf":
            if kind == "f":
                if rows.itemsize > 8:
                    with np.errstate(over="ignore"):
                        rows = rows.astype(np.float64)
                self._infinite += int(np.isinf(rows).sum())
                rows = rows[np.isfinite(rows)]
            self._range("").add(rows)
        elif kind in "mM":
            self._range("time").add_times(rows if missing is None else rows[~missing])
        elif kind in "US":
            self._range("letters" if kind == "U" else "bytes").add(np.char.str_len(rows))

    def add_value(self, value: Any) -> None:
        """Any value."""
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OV":
            self.add_rows(np.asarray(value)[np.newaxis])
        elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
            self._note(described(value))
            self._miss(sum(map(is_missing, value.flat)))
        elif isinstance(value, (str, bytes, bytearray)):
            self._note("text" if isinstance(value, str) else "bytes")
            self._miss(int(is_missing(value)))
            self._range("letters" if isinstance(value, str) else "bytes").add(np.array([len(value)]))
        elif isinstance(value, int) and not -_LARGEST < value < _LARGEST:
            self._note("int (huge)")  # as a number it can't even be shown
        elif isinstance(value, (bool, int, float)):
            self._note(type(value).__name__)
            self._miss(int(value != value))
            self._infinite += isinstance(value, float) and math.isinf(value)
            if math.isfinite(value):
                self._range("").add_number(value)
        else:
            self._note(described(value))
            self._miss(int(is_missing(value)))

    def report(self, name: str) -> ColumnReport:
        """What is known."""
        unit = next((unit for unit in ("", "time", "letters", "bytes") if unit in self._ranges), None)
        found = _Range() if unit is None else self._ranges[unit]
        return ColumnReport(
            name,
            tuple(words for words, _ in self._types.most_common(_SHOWN_TYPES)),
            self._samples,
            self._missing_samples,
            self._missing_values,
            self._infinite,
            found.low,
            found.high,
            found.mean,
            unit if unit in ("letters", "bytes") else None,
        )

    def _note(self, words: str, count: int = 1) -> None:
        self._samples += count
        if words in self._types or len(self._types) < _MOST_TYPES:
            self._types[words] += count

    def _miss(self, values: int) -> None:
        self._missing_values += values
        self._missing_samples += values > 0

    def _range(self, unit: str) -> _Range:
        return self._ranges.setdefault(unit, _Range())


class _Range:
    """From the lowest to the highest, and the mean."""

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None
        self._total = 0.0
        self._count = 0

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """An array of finite numbers."""
        if numbers.size:
            with np.errstate(over="ignore"):
                self._total += float(numbers.sum(dtype=np.float64))
            self._count += numbers.size
            self._widen(_plain_number(numbers.min()), _plain_number(numbers.max()))

    def add_number(self, number: float) -> None:
        """One finite number of Python's."""
        self._total += float(number)
        self._count += 1
        self._widen(_plain_number(number), _plain_number(number))

    def add_times(self, times: npt.NDArray[Any]) -> None:
        """Times or durations, none of them missing; they are kept as numpy has them."""
        if times.size:
            self._widen(str(times.min()), str(times.max()))

    @property
    def mean(self) -> float | None:
        """The mean of the numbers, if there are any and their sum is one that a float holds."""
        return self._total / self._count if self._count and math.isfinite(self._total) else None

    def _widen(self, low: Any, high: Any) -> None:
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: None, NaN, NaT, pandas' NA, or text without letters.

    Examples:
        >>> [is_missing(value) for value in (None, float("nan"), np.datetime64("NaT"), "", " ", 0, "a")]
        [True, True, True, True, True, False, False]
    """
    if value is None or type(value).__name__ in _NO_VALUE:
        return True
    if isinstance(value, (str, bytes)):
        return not value.strip()
    if isinstance(value, np.generic) and value.dtype.kind in "mM":
        return bool(np.isnat(value))
    return isinstance(value, (float, complex, np.floating, np.complexfloating)) and bool(value != value)


def _missing_in(rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    kind = rows.dtype.kind
    if kind not in "fcmMUS":
        return None
    missing: npt.NDArray[np.bool_]
    if kind in "US":
        missing = np.char.str_len(np.char.strip(rows)) == 0
    else:
        missing = np.isnat(rows) if kind in "mM" else np.isnan(rows)
    return missing


def _own_type(values: Sequence[Any] | None) -> str | None:
    """The name of Python's numbers, which arrays forget."""
    kinds = set(map(type, values or ()))
    return next(iter(kinds)).__name__ if len(kinds) == 1 and kinds <= {bool, int, float, complex} else None


def _plain_number(number: Any) -> int | float:
    """A number as Python has it; a truth value as 0 or 1."""
    if isinstance(number, (bool, np.bool_, int, np.integer)):
        return int(number)
    return float(number)
