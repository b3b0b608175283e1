"""Encoders of numbers: to mean 0 and deviation 1, or to the range from 0 to 1, each feature by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.encoders import Encoder

if TYPE_CHECKING:
    from typing_extensions import Self

Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.int64]

_EPSILON: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class _Scaler(Encoder):
    """What scalers share: for each feature, how many values were seen, and two statistics of them.

    A value of a sample is a feature: a column of numbers has one, a column of arrays one for each element. Missing
    values (NaN, None) count for nothing when it is fitted, and stay NaN. float32 stays float32, the rest becomes
    float64.
    """

    statistics: tuple[Counts, Floats, Floats] | None = None

    names: ClassVar[tuple[str, str, str]]

    @property
    def is_fitted(self) -> bool:
        """Whether it has seen data."""
        return self.statistics is not None

    def unfitted(self) -> Self:
        """The same without statistics."""
        return type(self)()

    def fitted(self) -> Self:
        """Itself, if each feature had a value."""
        super().fitted()
        count, first, second = self._found
        if (count <= 0).any():
            raise ValueError("all values are missing" + _feature(count <= 0))
        with np.errstate(over="ignore", invalid="ignore"):
            for values in (first, second, *self.shift_and_scale):
                if not np.isfinite(values).all():
                    raise ValueError("the values are too large for float64" + _feature(~np.isfinite(values)))
        return self

    def partial_fit(self, column: Any) -> Self:
        """The statistics of this column join those so far."""
        values = _numbers(column)
        infinite = np.isinf(values)
        if infinite.any():
            raise ValueError("a value is infinite" + _feature(infinite.any(axis=0)))
        there = ~np.isnan(values)
        with np.errstate(over="ignore", invalid="ignore"):
            found = (there.sum(axis=0, dtype=np.int64), *self._of(values, there))
            if self.statistics is None:
                return replace(self, statistics=found)
            if found[0].shape != self.statistics[0].shape:
                raise ValueError(f"values have shape {found[0].shape} here, and {self.statistics[0].shape} before")
            return replace(self, statistics=self._joined(self.statistics, found))

    @abstractmethod
    def _of(self, values: Floats, there: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """The two statistics of some values, as far as they are there."""

    @abstractmethod
    def _joined(
        self, one: tuple[Counts, Floats, Floats], other: tuple[Counts, Floats, Floats]
    ) -> tuple[Counts, Floats, Floats]:
        """The statistics of both together."""

    @cached_property
    def shift_and_scale(self) -> tuple[Floats, Floats]:
        """What is subtracted from each feature, and what it is divided by then."""
        return self._shift_and_scale(*self._found)

    @abstractmethod
    def _shift_and_scale(self, count: Counts, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """The same, made of the statistics."""

    @property
    def _found(self) -> tuple[Counts, Floats, Floats]:
        if self.statistics is None:
            raise ValueError(self._not_fitted())
        return self.statistics

    def transform(self, column: Any) -> npt.NDArray[Any]:
        """Numbers of the same shape."""
        shift, scale = self.shift_and_scale
        values = _numbers(column)
        if values.shape[1:] != shift.shape:
            raise ValueError(f"values have shape {values.shape[1:]}; it was fitted on {shift.shape}")
        values -= shift
        values /= scale
        single = isinstance(column, np.ndarray) and column.dtype == np.float32
        return values.astype(np.float32) if single else values

    def to_json(self) -> dict[str, Any]:
        """Counts and statistics; JSON keeps every bit of a float."""
        values = [None] * len(self.names) if self.statistics is None else [found.tolist() for found in self.statistics]
        return {"kind": self.kind, **dict(zip(self.names, values, strict=True))}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The encoder that ``to_json`` described."""
        counts, first, second = (fields[name] for name in cls.names)
        count = np.array(counts, dtype=np.int64)
        floats = np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)
        if not count.shape == floats[0].shape == floats[1].shape:
            raise ValueError(f"statistics of different shapes: {count.shape}, {floats[0].shape}, {floats[1].shape}")
        return cls((count, *floats)).fitted()


@dataclass(frozen=True, eq=False)
class Standard(_Scaler):
    """Numbers to mean 0 and standard deviation 1, each feature by itself, as scikit-learn's ``StandardScaler`` does.

    Means and squared deviations are joined piece by piece (Chan, Golub and LeVeque, 1979), which loses no digits to
    large means. A feature that never changes is only shifted.

    Examples:
        >>> Standard().fit(np.array([1.0, 3.0, np.nan])).transform(np.array([5, 1])).tolist()
        [3.0, -1.0]
    """

    kind: ClassVar[str] = "standard"
    names: ClassVar[tuple[str, str, str]] = ("count", "mean", "squares")

    def _of(self, values: Floats, there: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        count = np.maximum(there.sum(axis=0), 1)
        mean = np.asarray(np.where(there, values, 0).sum(axis=0) / count)
        away = np.where(there, values - mean, 0)
        squares = (away * away).sum(axis=0) - away.sum(axis=0) ** 2 / count  # the last is what rounding the mean did
        return mean, np.maximum(squares, 0)

    def _joined(
        self, one: tuple[Counts, Floats, Floats], other: tuple[Counts, Floats, Floats]
    ) -> tuple[Counts, Floats, Floats]:
        total = one[0] + other[0]
        step = np.where(other[0] > 0, other[1] - one[1], 0)
        share = other[0] / np.maximum(total, 1)
        return total, one[1] + step * share, one[2] + other[2] + step * step * one[0] * share

    def _shift_and_scale(self, count: Counts, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        variance = second / count
        # What rounding alone may leave of a constant feature.
        constant = variance <= count * _EPSILON * variance + (count * first * _EPSILON) ** 2
        return first, np.where(constant, 1.0, np.sqrt(variance))


@dataclass(frozen=True, eq=False)
class MinMax(_Scaler):
    """Numbers to the range from 0 to 1, each feature by itself, as scikit-learn's ``MinMaxScaler`` does.

    Values outside the range that it was fitted on come out below 0 or above 1. A feature that never changes is only
    shifted.

    Examples:
        >>> MinMax().fit(np.array([10, 20])).transform(np.array([15, 30])).tolist()
        [0.5, 2.0]
    """

    kind: ClassVar[str] = "min-max"
    names: ClassVar[tuple[str, str, str]] = ("count", "lowest", "highest")

    def _of(self, values: Floats, there: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        lowest = np.where(there, values, np.inf).min(axis=0, initial=np.inf)
        return np.asarray(lowest), np.asarray(np.where(there, values, -np.inf).max(axis=0, initial=-np.inf))

    def _joined(
        self, one: tuple[Counts, Floats, Floats], other: tuple[Counts, Floats, Floats]
    ) -> tuple[Counts, Floats, Floats]:
        return one[0] + other[0], np.minimum(one[1], other[1]), np.maximum(one[2], other[2])

    def _shift_and_scale(self, count: Counts, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        width = second - first
        return first, np.where(width == 0, 1.0, width)


def _numbers(column: Any) -> Floats:
    """The values as a new float64 array, NaN where one is missing."""
    if isinstance(column, (dict, tuple)):
        raise ValueError("samples have several columns: name those to encode, {'column': 'standard'}")
    array = np.asarray(column)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    if array.dtype.kind == "O" and array.ndim == 1:
        for value in array:
            if value is not None and not isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
                raise ValueError(f"{value!r:.80} is no number: 'one-hot' and 'ordinal' are for categories")
        return np.array([np.nan if value is None else float(value) for value in array], dtype=np.float64)
    raise ValueError(f"values of {array.dtype} are no numbers: 'one-hot' and 'ordinal' are for categories")


def _feature(wrong: Any) -> str:
    """Where, for a message: nothing for a column of single numbers."""
    places = np.argwhere(wrong)
    return f" in feature {', '.join(map(str, places[0].tolist()))}" if np.ndim(wrong) else ""
