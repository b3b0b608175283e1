"""Samples that can't be read: refused, left out or replaced, and noted with where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.column_batches import ColumnBatches
from datastack_fs.iterators.indices import IndexArray, Indices, as_indices
from datastack_fs.iterators.stacking import SampleT_co

OnBad: TypeAlias = Literal["raise", "skip", "replace"]

_MOST_TRIED: Final = 100
_SHOWN: Final = 300


@dataclass(frozen=True)
class BadSample:
    """A sample that can't be read, and where it comes from.

    Attributes:
        index: in the iterator that was read.
        path: the iterators from there down to a leaf, each with the index of the sample in it.
        store: the URL of the leaf's store, if it is stored; without secrets.
        identifier: of the resource.
        ranges: its bytes there, where the format can tell.
        error: what is wrong.
    """

    index: int
    path: tuple[tuple[str, int], ...]
    store: str | None
    identifier: str | None
    ranges: tuple[tuple[int, int], ...]
    error: str

    @classmethod
    def of(cls, iterator: DatasetIterator[Any], index: int, error: Exception) -> BadSample:
        """A sample of an iterator, and what reading it raised."""
        path = [(type(iterator).__name__, index)]
        leaf, row = iterator, index
        while (below := leaf._below(row)) is not None:
            leaf, row = below
            path.append((type(leaf).__name__, row))
        origin, ranges = leaf.origin, leaf.byte_ranges([row]) or []
        return cls(
            index,
            tuple(path),
            None if origin is None else origin.store,
            None if origin is None else origin.identifier,
            tuple((int(start), int(stop)) for each in ranges for start, stop in each.ranges),
            f"{type(error).__name__}: {error}"[:_SHOWN],
        )

    def as_dict(self) -> dict[str, Any]:
        """It, of values that JSON has."""
        lists = {"path": [list(step) for step in self.path], "ranges": [list(each) for each in self.ranges]}
        return {**asdict(self), **lists}

    def __str__(self) -> str:
        path = " > ".join(f"{name}[{index}]" for name, index in self.path)
        place = "" if self.store is None else f", {self.identifier or 'a file'} in {self.store}"
        ranges = ", ".join(f"{start}-{stop}" for start, stop in self.ranges[:3])
        return f"sample {self.index} ({path}{place}{f', bytes {ranges}' if ranges else ''}): {self.error}"


class TolerantBatches(ColumnBatches[SampleT_co]):
    """Batches as ``ColumnBatches`` gives them, with a policy for samples that can't be read.

    A batch is the columns, then a list of the bad samples in it, as mappings. A ``ResumableLoader`` takes that list
    away, keeps it as ``quarantine``, and in its state.

    Args:
        iterator: what the indices are of.
        on_bad: ``"raise"`` an error that says where the sample comes from; ``"skip"`` it: the batch is smaller, but
            there are as many batches, so that ranks stay in step; or ``"replace"`` it by the next sample of the
            iterator that can be read, so that batches keep their size. A batch of nothing but bad samples has one
            replacement.
        errors: what reading a bad sample raises. What is wrong with the store (a lost server, a changed resource) is
            never a bad sample.

    Examples:
        >>> import numpy as np
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> def odd(rows):
        ...     if 2 in rows:
        ...         raise DatasetFileCorruptError("two")
        ...     return rows
        >>> numbers = SequenceDatasetIterator(np.arange(5)).map(odd, columns=True)
        >>> samples, _, _, bad = TolerantBatches(numbers, "replace")[[1, 2]]
        >>> samples.tolist(), [each["index"] for each in bad]
        ([1, 3], [2])
        >>> TolerantBatches(numbers, "skip")[[1, 2, 4]][0].tolist()
        [1, 4]
    """

    def __init__(
        self,
        iterator: DatasetIterator[SampleT_co],
        on_bad: OnBad = "raise",
        *,
        errors: tuple[type[Exception], ...] = (DatasetFileCorruptError,),
    ) -> None:
        super().__init__(iterator)
        if on_bad not in get_args(OnBad):
            raise ValueError(f"on_bad must be one of {', '.join(map(repr, get_args(OnBad)))}, not {on_bad!r}")
        self._on_bad, self._errors = on_bad, errors

    @property
    def on_bad(self) -> OnBad:
        """What becomes of a sample that can't be read."""
        return self._on_bad

    def __getitem__(self, indices: Indices) -> tuple[Any, ...]:
        """The columns at many indices, and the bad samples among them."""
        wanted = as_indices(indices, len(self._iterator))
        try:
            return (*self._iterator.take(wanted), [])
        except self._errors:
            bad = self._found(wanted)
        if self._on_bad == "raise":
            ((index, error),) = list(bad.items())[:1]
            raise DatasetFileCorruptError(str(BadSample.of(self._iterator, index, error))) from error
        good = self._chosen(wanted, bad)
        found = [BadSample.of(self._iterator, index, error).as_dict() for index, error in bad.items()]
        return (*self._iterator.take(good), found)

    def _found(self, indices: IndexArray) -> dict[int, Exception]:
        """The bad samples: halves are read until single ones are left."""
        try:
            self._iterator.take(indices)
        except self._errors as error:
            if len(indices) == 1:
                return {int(indices[0]): error}
        else:
            return {}
        middle = len(indices) // 2
        return {**self._found(indices[:middle]), **self._found(indices[middle:])}

    def _chosen(self, wanted: IndexArray, bad: dict[int, Exception]) -> list[int]:
        skipped = [index for index in wanted.tolist() if index not in bad]
        if self._on_bad == "skip" and skipped:
            return skipped
        replaced = [index if index not in bad else self._next_good(index, bad) for index in wanted.tolist()]
        return replaced if self._on_bad == "replace" else replaced[:1]

    def _next_good(self, index: int, bad: dict[int, Exception]) -> int:
        for step in range(1, min(_MOST_TRIED, len(self._iterator))):
            other = (index + step) % len(self._iterator)
            if other not in bad and not self._found(as_indices([other], len(self._iterator))):
                return other
        raise DatasetFileCorruptError(
            f"{BadSample.of(self._iterator, index, bad[index])}; nor can any of the {_MOST_TRIED - 1} samples after it"
        )


def quarantined(batch: Any) -> tuple[Any, Sequence[dict[str, Any]]]:
    """A batch of ``TolerantBatches`` without its list of bad samples, and that list."""
    *columns, bad = batch
    return tuple(columns), bad
