"""Batches as flat columns with names, as tables have them: mappings and tuples are taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.meta import DatasetMeta

_ARRAY = re.compile(r"(\w+)(?: \(([\d, ]+)\))?")


def named_columns(columns: tuple[Any, ...], meta: DatasetMeta) -> dict[str, npt.NDArray[Any]]:
    """The columns of a batch, as ``take`` gives them, by name.

    A sample that is one value is called ``sample``. The parts of one that is a mapping keep their own names, those of a
    tuple are ``sample.0``, ``sample.1``, and what is nested deeper has a dot for each step. Targets are called
    ``target`` (``target.0``, ``target.left``), tags ``tag``, what stands at further positions ``value.3``. Where
    targets or tags are all None, there is no such column.

    Raises:
        ValueError: two columns would have one name.

    Examples:
        >>> meta = DatasetMeta("pairs", "pairs")
        >>> batch = ({"left": np.zeros((2, 8, 8)), "right": np.ones(2)}, np.array([0, 1]), np.array([None, None]))
        >>> list(named_columns(batch, meta))
        ['left', 'right', 'target']
        >>> list(named_columns(((np.zeros(2), np.ones(2)), *batch[1:]), meta))
        ['sample.0', 'sample.1', 'target']
    """
    names = dict(zip(meta.positions, ("sample", "target", "tag"), strict=True))
    found: dict[str, npt.NDArray[Any]] = {}
    for position, column in enumerate(columns):
        name = names.get(position, f"value.{position}")
        if position != meta.sample_pos and isinstance(column, np.ndarray) and is_empty(column):
            continue
        whole = position == meta.sample_pos and isinstance(column, Mapping)
        for path, part in _parts("" if whole else name, column):
            if path in found:
                raise ValueError(f"{meta.identifier}: two columns are called {path!r}; map() gives samples other names")
            found[path] = part
    return found


def is_empty(column: npt.NDArray[Any]) -> bool:
    """Whether a column holds nothing but None."""
    return column.dtype == np.object_ and all(value is None for value in column)


def bytes_of_sample(iterator: DatasetIterator[Any]) -> int | None:
    """How many bytes a sample takes unpacked, where its type is known without reading one.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> bytes_of_sample(SequenceDatasetIterator(np.zeros((5, 8, 8), "f4"), range(5)))
        256
        >>> bytes_of_sample(SequenceDatasetIterator(["owl", "wren"])) is None
        True
    """
    words = (iterator._contents() or ())[iterator.meta.sample_pos : iterator.meta.sample_pos + 1]
    match = _ARRAY.fullmatch(words[0]) if words and words[0] else None
    if match is None:
        return None
    try:
        dtype = np.dtype(match[1])
    except TypeError:  # text, say, or the name of a class
        return None
    shape = [int(axis) for axis in (match[2] or "").replace(" ", "").split(",") if axis]
    return None if dtype.hasobject else int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _parts(name: str, column: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    if isinstance(column, (Mapping, tuple)):
        inner = column.items() if isinstance(column, Mapping) else enumerate(column)
        for key, part in inner:
            yield from _parts(f"{name}.{key}" if name else str(key), part)
    else:
        yield name, column
