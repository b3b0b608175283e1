"""Labels as one numpy array, none of them changed on the way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS = (int, float, complex, np.number, np.bool_)
_NUMBER_KINDS = frozenset("biufc")


def label_array(labels: Sequence[Any]) -> npt.NDArray[Any]:
    """Returns numbers as a numeric array, arrays of one shape stacked, and anything else as objects.

    Text stays Python text: numpy's own would make ``[1, "a"]`` two texts, cut NULs off the end, and give every
    label the room of the longest.

    Examples:
        >>> label_array([3, 1]).tolist(), label_array(["cat", None]).tolist()
        ([3, 1], ['cat', None])
    """
    kinds = set(map(type, labels))
    if kinds and all(issubclass(kind, _NUMBERS) for kind in kinds):
        return np.array(labels)
    if kinds == {np.ndarray} and len({(label.shape, label.dtype) for label in labels}) == 1:
        return np.stack(labels)
    return _objects(labels)


def join_labels(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Returns one array after the other, as objects when their kinds don't go together.

    Examples:
        >>> join_labels([np.array([1, 2]), np.array(["cat"], dtype=object)]).tolist() == [1, 2, "cat"]
        True
    """
    dtypes = {array.dtype for array in arrays}
    alike = len(dtypes) == 1 or all(dtype.kind in _NUMBER_KINDS for dtype in dtypes)
    if alike and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return _objects([label for array in arrays for label in array])


def _objects(labels: Sequence[Any]) -> npt.NDArray[Any]:
    array = np.empty(len(labels), dtype=object)
    for position, label in enumerate(labels):  # one by one: numpy would take labels that are lists apart
        array[position] = label
    return array
