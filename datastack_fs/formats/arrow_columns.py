"""Columns of Arrow as numpy arrays: one rule for every format that Arrow reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from datastack_fs.iterators.labels import join_labels, rows_of

_EXACT_IN_FLOAT64: Final = 2**53


def numpy_column(column: pa.ChunkedArray, *, nullable: bool = False) -> npt.NDArray[Any]:
    """Returns a column of Arrow as a numpy array with a row for each value; it may share memory with the column.

    =========================== ==============================================================================
    Arrow                       numpy
    =========================== ==============================================================================
    numbers, bool               as they are; with missing values: floats have NaN, integers become float64 with
                                NaN (Python integers and None if it would round one of these), bools objects
    text, binary, decimal, null objects: ``str``, ``bytes``, ``Decimal``, None
    date                        ``datetime64[D]``
    timestamp                   ``datetime64`` of the same unit; one with a time zone in UTC
    duration, time of day       ``timedelta64`` of the same unit; a time of day since midnight
    list                        an array for each row; those of one length and type are stacked
    struct                      a mapping for each row, in which what is missing is None
    dictionary                  the values themselves
    =========================== ==============================================================================

    Args:
        column: of any type.
        nullable: convert as if a value were missing, so that all parts of a column come in one type.

    Examples:
        >>> numpy_column(pa.chunked_array([[1, None], [3]])).tolist()
        [1.0, nan, 3.0]
        >>> numpy_column(pa.chunked_array([[[1, 2], [3, 4]]])).shape
        (2, 2)
    """
    nullable = nullable or column.null_count > 0
    chunks = column.chunks or [pa.array([], column.type)]
    return join_labels([_values(chunk, nullable) for chunk in chunks])


def lacks_missing(kind: pa.DataType) -> bool:
    """Whether numpy has no value of this type for what is missing, so that one makes another type of the column.

    Examples:
        >>> lacks_missing(pa.int8()), lacks_missing(pa.float64())
        (True, False)
    """
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_integer(kind) or types.is_boolean(kind))


def _values(array: pa.Array, nullable: bool) -> npt.NDArray[Any]:
    array = _plain(array)
    kind = array.type
    if types.is_integer(kind):
        return _floats(array) if nullable else _as_it_is(array)
    if types.is_boolean(kind):
        return _as_it_is(array).astype(object) if nullable else _as_it_is(array)
    if types.is_date64(kind):
        return _as_it_is(array).astype("datetime64[D]")
    if types.is_time(kind):
        counts = array.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
        return _as_it_is(counts.cast(pa.int64()).cast(pa.duration(kind.unit)))
    if types.is_struct(kind):
        return _mappings(array)
    if isinstance(kind, pa.FixedShapeTensorType):
        return _tensors(array)
    if types.is_fixed_size_list(kind):
        return _stacked(array, (kind.list_size,))
    if types.is_list(kind) or types.is_large_list(kind):
        return _lists(array)
    return _as_it_is(array)


def _plain(array: pa.Array) -> pa.Array:
    """The array without what only saves room or names a meaning."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
        return _plain(array.storage)
    if types.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    if types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(array))
    return array


def _as_it_is(array: pa.Array) -> npt.NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _floats(array: pa.Array) -> npt.NDArray[Any]:
    """Integers, of which some may be missing, as floats; as objects where a float would not be exact."""
    known = array.drop_null()
    if len(known):
        extremes = pc.min_max(known).as_py()
        if max(abs(extremes["min"]), abs(extremes["max"])) > _EXACT_IN_FLOAT64:
            return _objects(array.to_pylist())
    return _as_it_is(array).astype(np.float64)


def _mappings(array: pa.StructArray) -> npt.NDArray[Any]:
    names = [field.name for field in array.type]
    columns = [_with_none(part) for part in array.flatten()]
    rows: list[Any] = [dict(zip(names, row, strict=True)) for row in zip(*map(rows_of, columns), strict=True)]
    mappings = _objects(rows if names else [{} for _ in range(len(array))])
    mappings[_missing(array)] = None
    return mappings


def _with_none(array: pa.Array) -> npt.NDArray[Any]:
    """Values in which None is what is missing, so that a row doesn't depend on its neighbours."""
    missing = _missing(array)
    if not missing.any():
        return _values(array, nullable=False)
    known = _values(array.drop_null(), nullable=False)
    values = np.empty(len(array), dtype=object)
    for place, value in zip(np.flatnonzero(~missing).tolist(), rows_of(known), strict=True):
        values[place] = value
    return values


def _lists(array: pa.Array) -> npt.NDArray[Any]:
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return _rows(array.flatten(), np.concatenate([[0], np.cumsum(lengths)]), _missing(array))


def _tensors(array: pa.FixedShapeTensorArray) -> npt.NDArray[Any]:
    rows = _stacked(array.storage, tuple(array.type.shape))
    order = array.type.permutation or range(len(array.type.shape))
    if rows.ndim == 1:
        return _objects([row if row is None else row.transpose(*order) for row in rows])
    return np.transpose(rows, (0, *(axis + 1 for axis in order)))


def _stacked(array: pa.Array, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Lists of one length, as the rows of one array; as objects where a row or a value is missing."""
    missing = _missing(array)
    values = array.flatten()  # without those of rows that are missing
    size = int(np.prod(shape))
    if not missing.any() and not values.null_count:
        stacked = _values(values, nullable=False)
        return stacked.reshape(len(array), *shape, *stacked.shape[1:])
    rows = _rows(values, np.concatenate([[0], np.cumsum(np.where(missing, 0, size))]), missing)
    return _objects([row if row is None else row.reshape(*shape, *row.shape[1:]) for row in rows])


def _rows(values: pa.Array, edges: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The values between each two edges, as a row of their own; each row has the type that it has alone."""
    rows = list(_cut(values, edges.tolist()))
    if not missing.any() and len({(row.shape, row.dtype) for row in rows}) == 1:
        return np.stack(rows)
    found = _objects(rows)
    found[missing] = None
    return found


def _cut(values: pa.Array, edges: list[int]) -> Iterator[npt.NDArray[Any]]:
    nested = types.is_nested(values.type) or isinstance(values.type, pa.BaseExtensionType)
    if values.null_count or nested:
        for start, stop in pairwise(edges):
            part = values.slice(start, stop - start)
            yield np.array(_values(part, part.null_count > 0))
        return
    whole = np.array(_values(values, nullable=False))
    for start, stop in pairwise(edges):
        yield whole[start:stop]


def _missing(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def _objects(values: list[Any]) -> npt.NDArray[Any]:
    found = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):  # one by one: numpy would take lists and arrays apart
        found[position] = value
    return found
