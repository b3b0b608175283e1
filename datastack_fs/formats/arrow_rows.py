"""Rows of Arrow's columns: picked from groups, and put in the order that they were asked for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datastack_fs.iterators.indices import IndexArray


def pickable_type(kind: pa.DataType) -> pa.DataType:
    """The type itself, or one of the same values whose rows Arrow can pick: of views of text it can't.

    Examples:
        >>> pickable_type(pa.string_view()), pickable_type(pa.int8())
        (DataType(large_string), DataType(int8))
    """
    if kind == pa.string_view():
        return pa.large_string()
    return pa.large_binary() if kind == pa.binary_view() else kind


def pickable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column whose rows can be picked."""
    kind = pickable_type(column.type)
    return column if kind == column.type else column.cast(kind)


def picked(column: pa.ChunkedArray, rows: IndexArray) -> list[pa.Array]:
    """Sorted rows of a column, chunk by chunk: put together, chunks of text could be too long for Arrow.

    Examples:
        >>> [rows.to_pylist() for rows in picked(pa.chunked_array([[1, 2], [3, 4, 5]]), np.array([1, 2, 4]))]
        [[2], [3, 5]]
    """
    found = []
    offset = 0
    for chunk in column.chunks:
        first, stop = np.searchsorted(rows, [offset, offset + len(chunk)]).tolist()
        if first < stop:
            of_chunk = rows[first:stop] - offset
            if len(of_chunk) == of_chunk[-1] - of_chunk[0] + 1:
                found.append(chunk.slice(of_chunk[0], len(of_chunk)))
            else:
                found.append(chunk.take(pa.array(of_chunk)))
        offset += len(chunk)
    return found


def placed(column: npt.NDArray[Any], places: IndexArray, *, repeats: bool) -> npt.NDArray[Any]:
    """The values at some places; where some repeat, arrays and mappings that come twice are copies of each other.

    Examples:
        >>> placed(np.array([7, 8]), np.array([1, 0, 1]), repeats=True).tolist()
        [8, 7, 8]
    """
    found = column[places]
    if repeats and column.dtype.hasobject and column.ndim == 1:
        for position, value in enumerate(found):
            found[position] = copy.deepcopy(value)
    return found
