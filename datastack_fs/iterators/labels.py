"""Labels, and whole columns, as numpy arrays: none of the values changed on the way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS = (int, float, complex, np.number, np.bool_)
_FLOATS = (float, np.floating, np.bool_)
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
        array = np.array(labels)
        # Among floats (or beyond 64 bits) numpy would round large integers.
        exact = array.dtype.kind != "f" or all(
            isinstance(label, _FLOATS) or label == int(float(label)) for label in labels
        )
        return array if exact else _objects(labels)
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


def as_column(values: Sequence[Any]) -> Any:
    """Returns what stands at one position of many samples as a column: ``label_array``, but of each part.

    Mappings with the same keys become a mapping of columns, and tuples of one length a tuple of columns.

    Examples:
        >>> as_column([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}])
        {'x': array([1, 2]), 'y': array(['a', 'b'], dtype=object)}
    """
    kinds = set(map(type, values))
    if kinds == {dict} and len({tuple(value) for value in values}) == 1:
        return {key: as_column([value[key] for value in values]) for key in values[0]}
    if kinds == {tuple} and len(set(map(len, values))) == 1 and values[0]:
        return tuple(as_column(part) for part in zip(*values, strict=True))
    return label_array(values)


def join_columns(columns: Sequence[Any]) -> Any:
    """Returns one column after the other, as ``join_labels`` does, part by part.

    Raises:
        ValueError: they are made of different parts.

    Examples:
        >>> join_columns([{"x": np.array([1])}, {"x": np.array([2])}])
        {'x': array([1, 2])}
    """
    first = columns[0]
    if all(isinstance(column, np.ndarray) for column in columns):
        return join_labels(columns)
    if all(isinstance(column, dict) and column.keys() == first.keys() for column in columns):
        return {key: join_columns([column[key] for column in columns]) for key in first}
    if all(isinstance(column, tuple) and len(column) == len(first) for column in columns):
        return tuple(join_columns(parts) for parts in zip(*columns, strict=True))
    raise ValueError("samples of different kinds have no common columns: read them as samples, not by take()")


def pick(column: Any, places: npt.NDArray[np.int64] | slice) -> Any:
    """Returns the rows of a column at some places, as a new column.

    Examples:
        >>> pick((np.array([4, 5, 6]),), np.array([2, 0]))
        (array([6, 4]),)
    """
    if isinstance(column, dict):
        return {key: pick(part, places) for key, part in column.items()}
    if isinstance(column, tuple):
        return tuple(pick(part, places) for part in column)
    return column[places]


def _objects(labels: Sequence[Any]) -> npt.NDArray[Any]:
    array = np.empty(len(labels), dtype=object)
    for position, label in enumerate(labels):  # one by one: numpy would take labels that are lists apart
        array[position] = label
    return array


def rows_of(column: Any) -> Sequence[Any]:
    """The values of a column, one for each sample: mappings and tuples of columns become those of values.

    Examples:
        >>> rows_of({"x": np.array([1, 2]), "y": (np.array([3, 4]),)})
        [{'x': np.int64(1), 'y': (np.int64(3),)}, {'x': np.int64(2), 'y': (np.int64(4),)}]
    """
    if isinstance(column, dict):
        return [dict(zip(column, row, strict=True)) for row in zip(*map(rows_of, column.values()), strict=True)]
    if isinstance(column, tuple):
        return list(zip(*map(rows_of, column), strict=True))
    if column.dtype.kind == "V" or (column.dtype.hasobject and column.ndim > 1):
        return [row.copy() for row in column]  # the others are values, or views of an array that is theirs
    return list(column)


def samples_of(columns: Sequence[Any]) -> list[Any]:
    """The samples of a batch of columns.

    Examples:
        >>> samples_of((np.array([1, 2]), np.array(["a", "b"], object)))
        [(np.int64(1), 'a'), (np.int64(2), 'b')]
    """
    return list(zip(*map(rows_of, columns), strict=True))


def columns_of(samples: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The columns of a batch of samples, of which there is one at least.

    Examples:
        >>> columns_of([(1, "a"), (2, "b")])
        (array([1, 2]), array(['a', 'b'], dtype=object))
    """
    return tuple(as_column(values) for values in zip(*samples, strict=True))
