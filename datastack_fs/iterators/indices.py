"""Indices of samples, checked once and kept as one int64 array: the one place that knows what an index may be."""

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

IndexArray: TypeAlias = npt.NDArray[np.int64]
"""Checked indices: one dimension, each ``0 <= i < len(iterator)``, in any order, with repeats."""

Indices: TypeAlias = Sequence[SupportsIndex] | npt.NDArray[Any]
"""What callers may give for many indices: a sequence, a range or an array of integers."""

_IntegerT = TypeVar("_IntegerT", bound=np.signedinteger[Any])

_BOOLS = frozenset({bool, np.bool_})


def as_index(index: SupportsIndex, length: int) -> int:
    """Returns one index as a Python int that is not negative.

    Raises:
        IndexError: it is outside an iterator of that length.
        TypeError: it is no integer; bools are refused, since they are most often a mask or a mistake.

    Examples:
        >>> as_index(-1, length=3)
        2
    """
    if isinstance(index, (bool, np.bool_)):
        raise TypeError(f"index {index}: a bool is no index; for a mask use .view(mask)")
    try:
        number = operator.index(index)
    except TypeError:
        found = type(index).__name__
        raise TypeError(
            f"an index must be an integer or a slice, not {found}; for many indices use .view(indices)"
        ) from None
    if 0 <= number < length:
        return number
    if -length <= number < 0:
        return number + length
    raise _out_of_range(number, length)


def as_indices(indices: Indices, length: int) -> IndexArray:
    """Returns many indices as a new int64 array, none of them negative.

    Raises:
        IndexError: one of them is outside an iterator of that length.
        TypeError: they are not one row of integers.

    Examples:
        >>> as_indices([2, -1, 0], length=3).tolist()
        [2, 2, 0]
    """
    if isinstance(indices, range) and indices.step == 1 and 0 <= indices.start <= indices.stop <= length:
        return np.arange(indices.start, indices.stop)  # the batches of an epoch
    usual = type(indices) is np.ndarray and indices.dtype == np.int64 and indices.ndim == 1 and len(indices) > 0
    # Read as unsigned, negative ones are the largest: one look tells that none is out of range.
    if usual and int(np.maximum.reduce(np.asarray(indices).view(np.uint64))) < length:
        return np.array(indices)
    return checked(indices, as_array(indices), length, np.dtype(np.int64))


def as_array(indices: Indices) -> npt.NDArray[Any]:
    """Returns what callers give as an array of whatever it holds."""
    if isinstance(indices, range):
        return np.arange(indices.start, indices.stop, indices.step)
    return np.asarray(indices)


def checked(
    indices: Indices, array: npt.NDArray[Any], length: int, dtype: np.dtype[_IntegerT]
) -> npt.NDArray[_IntegerT]:
    """Returns the array of the indices in a type that holds them, checked; the indices themselves serve for messages.

    It is a new one, which nobody else holds. Errors are those of ``as_indices``.
    """
    if array.ndim != 1:
        raise TypeError(f"indices must be one row of integers, not {_describe(indices, array)}")
    if array.size == 0:
        return np.empty(0, dtype=dtype)
    if array.dtype.kind not in "iu":
        array = _from_objects(indices, array)
    elif isinstance(indices, (list, tuple)) and not _BOOLS.isdisjoint(map(type, indices)):
        raise TypeError("indices must be integers: a bool stands among them")  # numpy reads [True, 7] as [1, 7]
    lowest, highest = int(array.min()), int(array.max())
    if lowest < -length or highest >= length:
        raise _out_of_range(highest if highest >= length else lowest, length)
    # What was made from these kinds here is new already.
    own = array.astype(dtype, order="C", subok=False, copy=not isinstance(indices, (range, list, tuple)))
    if lowest < 0:
        np.add(own, length, out=own, where=own < 0)
    return own


def _from_objects(indices: Indices, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Objects that know ``__index__``: numpy can't tell them from others, and mixed integers it makes floats."""
    if isinstance(indices, (list, tuple)):
        array = np.fromiter(indices, dtype=object, count=len(indices))
    if array.dtype.kind != "O" or not _BOOLS.isdisjoint(map(type, array)):
        raise TypeError(f"indices must be integers, not {_describe(indices, array)}")
    try:
        numbers = [operator.index(number) for number in array]
    except TypeError as error:
        raise TypeError(f"indices must be integers: {error}") from None
    # Still objects: min() and max() of Python ints are exact, also beyond 64 bits.
    return np.array(numbers, dtype=object)


def _describe(indices: object, array: npt.NDArray[Any]) -> str:
    if array.ndim == 0:
        return f"{type(indices).__name__} (a set or a generator: give list(...))"
    return f"an array of {array.dtype} with shape {array.shape}"


def _out_of_range(index: int, length: int) -> IndexError:
    return IndexError(f"index {index} is out of range: the iterator has {length} samples")
