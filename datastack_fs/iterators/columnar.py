"""A batch as columns: what stands at one position of many samples, stacked into one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.contents import listed, one_line
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import label_array, rows_of, samples_of
from datastack_fs.iterators.meta import DatasetMeta

Names: TypeAlias = str | Sequence[str] | Mapping[str, str]
"""What stands at one position: the column of that name, a tuple of several, or a mapping of new names to columns."""


class ColumnarDatasetIterator(DatasetIterator[tuple[Any, Any, Any]]):
    """A dataset that is read by columns: its authors write ``_take``, and samples are made of the columns.

    Besides ``__len__`` there is one hook to write, ``_take(indices)``; ``_targets(indices)`` where labels can be read
    without samples. What ``_take`` gives must be new arrays: they become the caller's own.

    Examples:
        >>> from datastack_fs.iterators.meta import DatasetMeta
        >>> class Squares(ColumnarDatasetIterator):
        ...     def __len__(self):
        ...         return 10
        ...     def _take(self, indices):
        ...         return indices, indices**2, constant(None, len(indices))
        >>> squares = Squares(DatasetMeta("squares", "squares"))
        >>> squares[3], squares.take([2, 3])[1].tolist()
        ((np.int64(3), np.int64(9), None), [4, 9])
    """

    def _samples(self, indices: IndexArray) -> list[tuple[Any, Any, Any]]:
        return samples_of(self._take(indices))

    def _is_columnar(self) -> bool:
        return type(self)._samples is ColumnarDatasetIterator._samples

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return label_array(rows_of(self._take(indices)[self.meta.target_pos]))


def names_in(names: Names | None) -> tuple[str, ...]:
    """The columns that are asked for, in order.

    Examples:
        >>> names_in("image"), names_in(("left", "right")), names_in({"x": "image"}), names_in(None)
        (('image',), ('left', 'right'), ('image',), ())
    """
    if names is None:
        return ()
    if isinstance(names, str):
        return (names,)
    found = tuple(names.values() if isinstance(names, Mapping) else names)
    if not found or not all(isinstance(name, str) for name in found):
        raise TypeError(f"a name, a list of names, or a mapping to names is needed, not {names!r}")
    return found


def arranged(names: Names, columns: Mapping[str, Any]) -> Any:
    """The column of one position, as the names say.

    Examples:
        >>> columns = {"a": np.array([1, 2]), "b": np.array([3, 4])}
        >>> arranged({"x": "b"}, columns)
        {'x': array([3, 4])}
        >>> arranged(["a", "b"], columns)
        (array([1, 2]), array([3, 4]))
    """
    if isinstance(names, str):
        return columns[names]
    if isinstance(names, Mapping):
        return {key: columns[name] for key, name in names.items()}
    return tuple(columns[name] for name in names)


def labels_at(
    names: Names | None,
    otherwise: Any,
    indices: IndexArray,
    read: Callable[[Sequence[str], IndexArray], Mapping[str, Any]],
) -> npt.NDArray[Any]:
    """The labels of one position, of whose columns alone ``read`` is asked.

    Examples:
        >>> read = lambda names, indices: {name: indices * 2 for name in names}
        >>> labels_at(["a", "b"], None, np.array([3, 1]), read).tolist()
        [(np.int64(6), np.int64(6)), (np.int64(2), np.int64(2))]
    """
    if names is None:
        return constant(otherwise, len(indices))
    column = arranged(names, read(list(dict.fromkeys(names_in(names))), indices))
    return column if isinstance(column, np.ndarray) else label_array(rows_of(column))


def triple(
    meta: DatasetMeta, names: Sequence[Names | None], columns: Mapping[str, Any], length: int
) -> tuple[Any, Any, Any]:
    """Columns of sample, target and tag by their names, each at its position; a target or tag without is constant."""
    parts: dict[int, Any] = {}
    for position, each, otherwise in zip(meta.positions, names, (None, None, meta.tag), strict=True):
        parts[position] = constant(otherwise, length) if each is None else arranged(each, columns)
    return parts[0], parts[1], parts[2]


def contents_of(
    meta: DatasetMeta, names: Sequence[Names | None], known: Mapping[str, str | None]
) -> tuple[str | None, ...]:
    """What stands at each position, in words, by the names of its columns and what is known of those.

    Examples:
        >>> contents_of(DatasetMeta("t", "t"), ({"x": "width"}, "kind", None), {"width": "float64"})
        ('{x: float64}', None, None)
    """
    words: list[str | None] = []
    for each in names:
        if each is None or isinstance(each, str):
            words.append(known.get(each) if each else None)
        else:
            keys = list(each) if isinstance(each, Mapping) else names_in(each)
            pairs = [
                f"{one_line(key, 30)}: {known[name]}" if known.get(name) else one_line(key, 30)
                for key, name in zip(keys, names_in(each), strict=True)
            ]
            words.append("{" + listed(pairs, len(pairs)) + "}")
    parts = dict(zip(meta.positions, words, strict=True))
    return parts[0], parts[1], parts[2]


def check_triple(meta: DatasetMeta) -> None:
    """Refuses positions that are not those of three values."""
    if sorted(meta.positions) != [0, 1, 2]:
        raise ValueError(f"positions {meta.positions}: samples here are (sample, target, tag), in any order")


def constant(value: Any, length: int) -> npt.NDArray[Any]:
    """A column that holds one object throughout.

    Examples:
        >>> constant("train", 2)
        array(['train', 'train'], dtype=object)
    """
    column = np.empty(length, dtype=object)  # holds None
    if value is not None:
        column.fill(value)
    return column
