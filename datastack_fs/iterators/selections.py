"""Which samples of another iterator, and in which order: a range, a narrow array of indices, or a rule for them."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import Any, Final, SupportsIndex, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.indices import IndexArray, Indices, as_array, checked


class Computed(ABC):
    """Indices that are computed where they are asked for, and take no memory."""

    __slots__ = ()

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def _one(self, place: int) -> int:
        """The index at a place, which is checked and not negative."""

    @abstractmethod
    def at(self, places: npt.NDArray[np.signedinteger[Any]]) -> IndexArray:
        """The indices at many places, which must be places of it, as a new array."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Computed: ...
    def __getitem__(self, place: SupportsIndex | slice) -> int | Computed:
        """The index at a place; a slice is computed where it is asked for, too."""
        if isinstance(place, slice):
            return Layered(self, range(len(self))[place])
        number = operator.index(place)
        return self._one(number if 0 <= number < len(self) else range(len(self))[number])


Selection: TypeAlias = range | npt.NDArray[np.signedinteger[Any]] | Computed
"""Checked indices, none negative: a range takes no memory, an array four bytes an index below 2^31 samples."""


class Layered(Computed):
    """What one selection selects of another.

    Examples:
        >>> Layered(range(10, 20), range(9, -1, -3)).at(np.array([0, 1])).tolist()
        [19, 16]
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Selection, inner: Selection) -> None:
        self._outer, self._inner = outer, inner

    def __len__(self) -> int:
        return len(self._inner)

    def _one(self, place: int) -> int:
        return int(self._outer[int(self._inner[place])])

    def at(self, places: npt.NDArray[np.signedinteger[Any]]) -> IndexArray:  # noqa: D102
        return looked_up(self._outer, looked_up(self._inner, places))


_BLOCK: Final = 1 << 20  # numpy looks indices up as int64: a block at a time, the copy stays small


def as_selection(indices: Indices, length: int) -> Selection:
    """Returns many indices as a selection of the caller's own, or the places where a mask is true.

    Raises:
        IndexError: one of them is outside an iterator of that length.
        TypeError: they are neither one row of integers nor of bools.
        ValueError: the mask has not one bool for each sample.

    Examples:
        >>> as_selection([True, False, True], length=3).tolist()
        [0, 2]
        >>> as_selection(range(1, 3), length=3)
        range(1, 3)
    """
    if isinstance(indices, range) and all(0 <= end < length for end in _ends(indices)):
        return indices
    array = as_array(indices)
    if array.dtype != np.bool_:
        return checked(indices, array, length, narrowest(length))
    if array.shape != (length,):
        raise ValueError(f"a mask needs one bool for each of the {length} samples; this has shape {array.shape}")
    return places_of(array)


def composed(outer: Selection | None, inner: Selection) -> Selection:
    """Returns what ``inner`` selects of what ``outer`` does; an array ``inner`` is used up, and may be written over.

    Examples:
        >>> composed(range(10, 20), range(9, -1, -3))
        range(19, 9, -3)
        >>> composed(np.array([5, 6, 7]), np.array([2, 0])).tolist()
        [7, 5]
    """
    if outer is None:
        return inner
    if isinstance(inner, range):
        return _part(outer, inner)
    if isinstance(inner, Computed):
        return Layered(outer, inner)
    if isinstance(outer, Computed):
        dtype = np.dtype(np.int64)
    else:
        dtype = narrowest(max(_ends(outer), default=0) + 1) if isinstance(outer, range) else outer.dtype
    found = inner if inner.dtype == dtype else np.empty(len(inner), dtype)
    for start in range(0, len(inner), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[block] = looked_up(outer, inner[block])
    return found


def looked_up(selection: Selection, indices: npt.NDArray[np.signedinteger[Any]]) -> IndexArray:
    """Returns the indices that stand at some places of a selection, as a new int64 array.

    Examples:
        >>> looked_up(range(10, 20, 2), np.array([4, 0])).tolist()
        [18, 10]
    """
    if isinstance(selection, range):
        # Of fewer than two, a slice's step may be any number, beyond 64 bits too.
        step, start = selection.step if len(selection) > 1 else 1, selection.start if len(selection) else 0
        found = indices * np.int64(step) + np.int64(start)
    elif isinstance(selection, Computed):
        return selection.at(indices)
    else:
        found = selection[indices]
    wide: IndexArray = found.astype(np.int64, copy=False)
    return wide


def read_only(selection: Selection) -> Selection:
    """Returns the same selection, its array closed to writing: iterators share theirs."""
    if isinstance(selection, np.ndarray):
        selection.flags.writeable = False
    return selection


def places_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.signedinteger[Any]]:
    """Returns where a mask is true, in the narrowest integers.

    Examples:
        >>> places_of(np.array([False, True, True]))
        array([1, 2], dtype=int32)
    """
    places = np.empty(np.count_nonzero(mask), narrowest(len(mask)))
    filled = 0
    for start in range(0, len(mask), _BLOCK):
        found = np.flatnonzero(mask[start : start + _BLOCK])
        places[filled : filled + len(found)] = found + start
        filled += len(found)
    return places


def narrowest(length: int) -> np.dtype[np.signedinteger[Any]]:
    """The integers that indices into so many samples are kept in.

    Examples:
        >>> narrowest(100_000_000), narrowest(1 << 31)
        (dtype('int32'), dtype('int64'))
    """
    return np.dtype(np.int32 if length < 1 << 31 else np.int64)


def _part(outer: Selection, inner: range) -> Selection:
    if not inner:
        return range(0)
    # A range that runs down to 0 stops below it, where a slice would count from the end.
    part = slice(inner.start, inner.stop if inner.stop >= 0 else None, inner.step)
    if not isinstance(outer, np.ndarray):
        return outer[part]
    found: npt.NDArray[np.signedinteger[Any]] = outer[part]
    return found if 2 * len(found) > len(outer) else found.copy()  # a small part must not keep all of it in memory


def _ends(numbers: range) -> tuple[int, ...]:
    return (numbers[0], numbers[-1]) if numbers else ()
