"""What an encoder of one column is, and the two of categories: one-hot and ordinal."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing_extensions import Self

Category: TypeAlias = str | int | float | bool

MOST_CATEGORIES: Final = 100_000
"""A column with more values than that is no column of categories."""

_UNKNOWN: Final = ("error", "ignore")
_NOT_THERE: Final = -1


class Encoder(ABC):
    """How one column is encoded: a small object that never changes, and is fitted when it has its statistics.

    ``partial_fit`` gives a new one that has seen a column more; ``transform`` encodes a column, row by row. Both raise
    ValueError for values that can't be encoded, and name one.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether it has seen data."""

    @abstractmethod
    def unfitted(self) -> Self:
        """The same encoder before it saw data."""

    @abstractmethod
    def partial_fit(self, column: Any) -> Self:
        """The same encoder, with the statistics of this column added."""

    def fitted(self) -> Self:
        """Itself, once all data was seen.

        Raises:
            ValueError: that was not enough to encode with.
        """
        if not self.is_fitted:
            raise ValueError(self._not_fitted())
        return self

    def fit(self, column: Any) -> Self:
        """The same encoder, with the statistics of this column alone."""
        return self.unfitted().partial_fit(column).fitted()

    @abstractmethod
    def transform(self, column: Any) -> npt.NDArray[Any]:
        """A new column with as many rows."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Options and statistics as what JSON knows; ``from_json`` makes the same encoder of them."""

    @classmethod
    @abstractmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The encoder that ``to_json`` described.

        Raises:
            LookupError: a field is missing.
            ValueError: one is wrong, or of another type (a TypeError).
        """

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._text() == other._text()

    def __hash__(self) -> int:
        return hash(self._text())

    def _text(self) -> str:
        return json.dumps(self.to_json())

    def _not_fitted(self) -> str:
        return f"the encoder {self.kind!r} isn't fitted: fit_encoding(train, …) does that"


@dataclass(frozen=True, eq=False)
class _Categorical(Encoder):
    """What encoders of categories share.

    Categories are text, numbers or bools, of one kind. None and NaN are missing values, never a category.
    """

    unknown: str = "error"
    order: tuple[Category, ...] | None = None
    categories: tuple[Category, ...] | None = None

    def __post_init__(self) -> None:
        if self.unknown not in _UNKNOWN:
            raise ValueError(f"unknown must be {' or '.join(map(repr, _UNKNOWN))}, not {self.unknown!r}")
        for name in ("order", "categories"):
            given = getattr(self, name)
            if given is not None:
                if isinstance(given, str):
                    raise TypeError(f"{name} must be a list of categories, not the text {given!r}")
                if len(set(_checked(given))) != len(given):
                    raise ValueError(f"{name} has a category twice: {', '.join(map(repr, given))}")
                object.__setattr__(self, name, tuple(given))

    @property
    def is_fitted(self) -> bool:
        """Whether it knows its categories."""
        return self.categories is not None

    def unfitted(self) -> Self:
        """The same encoder without categories; an order that was given stays."""
        return replace(self, categories=None)

    def partial_fit(self, column: Any) -> Self:
        """The categories of this column join those that are known, in sorted order unless an order was given."""
        found = set(_plain(np.unique(column) if _is_numeric(column) else column))
        present = {value for value in found if not _is_missing(value)}
        if len(present) < len(found) and self.unknown == "error":
            raise ValueError(f"a value is missing; {_way_out(self)}")
        if self.order is not None:
            strange = next((value for value in present if value not in self.order), None)
            if strange is not None and self.unknown == "error":
                raise ValueError(f"{strange!r} is not in the order {_listing(self.order)}; {_way_out(self)}")
            return replace(self, categories=self.order)
        merged = list(dict.fromkeys([*(self.categories or ()), *_checked(present)]))
        if len(merged) > MOST_CATEGORIES:
            raise ValueError(f"more than {MOST_CATEGORIES:,} different values are no categories")
        try:
            return replace(self, categories=tuple(sorted(merged)))
        except TypeError as error:
            raise ValueError(f"categories must be of one kind, all text or all numbers: {error}") from error

    @cached_property
    def _numbers(self) -> dict[Category, int]:
        return {category: number for number, category in enumerate(self.fitted().categories or ())}

    def codes(self, column: Any) -> npt.NDArray[np.int64]:
        """The number of each value among the categories, -1 for what is unknown or missing.

        Raises:
            ValueError: a value is unknown, and ``unknown`` is ``"error"``.
        """
        values = _plain(column)
        codes = np.array([self._numbers.get(value, _NOT_THERE) for value in values], dtype=np.int64)
        if self.unknown == "error" and (codes == _NOT_THERE).any():
            value = values[int(np.argmax(codes == _NOT_THERE))]
            if _is_missing(value):
                raise ValueError(f"a value is missing; {_way_out(self)}")
            raise ValueError(f"{value!r:.80} is not among the categories {_listing(self.categories)}; {_way_out(self)}")
        return codes

    def to_json(self) -> dict[str, Any]:
        """Its option and its categories; JSON tells text, whole numbers, floats and bools apart."""
        order = {} if self.order is None else {"order": list(self.order)}
        return {"kind": self.kind, "unknown": self.unknown, **order, "categories": list(self.categories or ())}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The encoder that ``to_json`` described."""
        return cls(fields["unknown"], fields.get("order"), fields["categories"])


@dataclass(frozen=True, eq=False)
class OneHot(_Categorical):
    """A category as a row of zeros with a one at its place, float64; categories stand in sorted order.

    Args:
        unknown: what becomes of values that were not there when it was fitted, and of missing ones: ``"error"``, or
            ``"ignore"``, which gives a row of zeros.
        order: the categories in an order of one's own; others are unknown.
        categories: of a fitted encoder.

    Examples:
        >>> encoder = OneHot().fit(["wren", "owl", "wren"])
        >>> encoder.categories, encoder.transform(["wren"]).tolist()
        (('owl', 'wren'), [[0.0, 1.0]])
    """

    kind: ClassVar[str] = "one-hot"

    def transform(self, column: Any) -> npt.NDArray[Any]:
        """Rows of shape ``(categories,)``."""
        codes = self.codes(column)
        rows = np.zeros((len(codes), len(self.categories or ())))
        known = np.flatnonzero(codes != _NOT_THERE)
        rows[known, codes[known]] = 1
        return rows


@dataclass(frozen=True, eq=False)
class Ordinal(_Categorical):
    """A category as its number, int64; categories stand in sorted order, or in an order of one's own.

    Args:
        unknown: what becomes of values that were not there when it was fitted, and of missing ones: ``"error"``, or
            ``"ignore"``, which gives -1.
        order: the categories in an order of one's own; others are unknown.
        categories: of a fitted encoder.

    Examples:
        >>> Ordinal(order=("small", "large")).fit(["large", "small"]).transform(["large", "small"]).tolist()
        [1, 0]
    """

    kind: ClassVar[str] = "ordinal"

    def transform(self, column: Any) -> npt.NDArray[Any]:
        """Whole numbers."""
        return self.codes(column)


def _is_numeric(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "biuf"


def _plain(column: Any) -> Sequence[Any]:
    """The values of a column as Python's own."""
    if isinstance(column, (dict, tuple)):
        raise ValueError("samples have several columns: name those to encode, {'column': 'one-hot'}")
    if not isinstance(column, np.ndarray):
        return [value.item() if isinstance(value, np.generic) else value for value in column]
    if column.ndim != 1:
        shape = column.shape[1:]
        raise ValueError(f"categories are single values, not arrays of shape {shape}: name features by their numbers")
    values = column.tolist()
    if column.dtype.kind == "O":
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
    unhashable = next((value for value in values if type(value).__hash__ is None), None)
    if unhashable is not None:
        raise ValueError(f"{unhashable!r:.80} is no category: text, numbers and bools are")
    return list(values)


def _checked(values: Iterable[Any]) -> list[Category]:
    listed = list(values)
    for value in listed:
        if type(value) not in (str, int, float, bool) or _is_missing(value):
            raise ValueError(f"{value!r:.80} is no category: text, numbers and bools are")
    return listed


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _listing(categories: Sequence[Category] | None) -> str:
    shown = list(categories or ())
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return ", ".join(map(repr, shown[:10])) + more


def _way_out(encoder: _Categorical) -> str:
    given = "a row of zeros" if encoder.kind == "one-hot" else "-1"
    return f"{type(encoder).__name__}(unknown='ignore') gives {given} for it, .filter(…) leaves samples out"
