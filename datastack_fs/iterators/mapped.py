"""An iterator whose samples go through a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.derived import DerivedDatasetIterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import as_column, rows_of, samples_of


class MappedDatasetIterator(DerivedDatasetIterator[tuple[Any, ...]]):
    """Samples of an iterator after a function; targets and tags stay, and are read without it.

    The function is called when a sample is read, each time. Worker processes need one that pickles: a function of a
    module, not a lambda.

    Args:
        iterator: where the samples come from.
        function: gets the sample (what stands at ``meta.sample_pos``) and returns the new one.
        columns: give the function whole columns, as ``take`` returns them, and take a column back: one call for each
            batch, and most numpy code does it.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> words = MappedDatasetIterator(SequenceDatasetIterator(["owl", "wren"], [0, 1]), str.upper)
        >>> words[1], words.targets().tolist()
        (('WREN', 1, None), [0, 1])
    """

    def __init__(
        self, iterator: DatasetIterator[Any], function: Callable[[Any], Any], *, columns: bool = False
    ) -> None:
        if not callable(function):
            raise TypeError(f"samples are mapped by a function, not by {type(function).__name__}")
        super().__init__(iterator, iterator.meta.replace(feature_names=None))
        self._function = function
        self._columns = columns

    def _samples(self, indices: IndexArray) -> list[tuple[Any, ...]]:
        if self._columns:
            return samples_of(self._take(indices))
        place = self.meta.sample_pos
        samples = self._source._read(indices)
        return [(*sample[:place], self._function(sample[place]), *sample[place + 1 :]) for sample in samples]

    def _is_columnar(self) -> bool:
        return self._columns and self._source._is_columnar()

    def _changed(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        place = self.meta.sample_pos
        if self._columns:
            expected = len(rows_of(columns[place]))
            mapped = self._function(columns[place])
            rows = len(rows_of(mapped))
            if rows != expected:
                raise ValueError(f"{self._function!r} gave a column of {rows} rows for one of {expected}")
        else:
            mapped = as_column([self._function(sample) for sample in rows_of(columns[place])])
        return (*columns[:place], mapped, *columns[place + 1 :])

    def _details(self) -> str:
        function = self._function
        name = getattr(function, "__qualname__", None) or getattr(function, "__name__", type(function).__name__)
        return f"{super()._details()}, by {name}{' on columns' if self._columns else ''}"
