"""Columns of several parts gathered into one, row by row at its place."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.labels import join_columns, pick

Rows: TypeAlias = slice | npt.NDArray[np.int64]


class GatheredColumns:
    """The columns of a batch while the parts of it come in.

    As long as what comes is alike, rows go straight to their places in one array for each column, so that no second
    copy of the batch is made; what differs in type or shape is joined at the end, as ``join_columns`` does.

    Examples:
        >>> gathered = GatheredColumns(3)
        >>> gathered.add((np.array([10, 12]),), np.array([0, 2]))
        >>> gathered.add((np.array([11]),), np.array([1]))
        >>> gathered.finished()
        (array([10, 11, 12]),)
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._columns: tuple[Any, ...] = ()
        self._apart: list[tuple[Any, ...]] = []
        self._rows: list[Rows] = []

    def add(self, columns: tuple[Any, ...], rows: Rows) -> None:
        """Takes the columns of one part, and says which rows of the batch they are."""
        if not self._rows:
            self._columns = tuple(_room(column, self._length) for column in columns)
        if not self._apart and _fits(columns, self._columns):
            _put(columns, self._columns, rows)
        else:
            if not self._apart:
                self._apart = [_picked(self._columns, before) for before in self._rows]
            self._apart.append(columns)
        self._rows.append(rows)

    def finished(self) -> tuple[Any, ...]:
        """The whole columns.

        Raises:
            ValueError: those of the parts have nothing in common.
        """
        if not self._apart:
            return self._columns
        order = np.concatenate([np.arange(self._length)[rows] for rows in self._rows])
        places = np.empty_like(order)
        places[order] = np.arange(self._length)
        return tuple(pick(join_columns(parts), places) for parts in zip(*self._apart, strict=True))


def _room(column: Any, length: int) -> Any:
    """A column like that one, for so many rows."""
    if isinstance(column, dict):
        return {key: _room(part, length) for key, part in column.items()}
    if isinstance(column, tuple):
        return tuple(_room(part, length) for part in column)
    return np.empty((length, *column.shape[1:]), dtype=column.dtype)


def _fits(column: Any, room: Any) -> bool:
    if isinstance(column, np.ndarray):
        return isinstance(room, np.ndarray) and column.dtype == room.dtype and column.shape[1:] == room.shape[1:]
    if type(column) is not type(room) or len(column) != len(room):
        return False
    if isinstance(column, dict):
        return all(key in room and _fits(part, room[key]) for key, part in column.items())
    return all(map(_fits, column, room))


def _put(column: Any, room: Any, rows: Rows) -> None:
    if isinstance(column, np.ndarray):
        room[rows] = column
        return
    for key in column if isinstance(column, dict) else range(len(column)):
        _put(column[key], room[key], rows)


def _picked(columns: tuple[Any, ...], rows: Rows) -> tuple[Any, ...]:
    picked: tuple[Any, ...] = pick(columns, rows)
    return picked
