"""Sequences and arrays in memory, as an iterator."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from datastack_fs.iterators.columnar import check_triple
from datastack_fs.iterators.columns import (
    ArrayColumn,
    Column,
    ColumnsDatasetIterator,
    ConstantColumn,
    SequenceColumn,
)
from datastack_fs.iterators.meta import DatasetMeta

_IN_MEMORY = DatasetMeta("in-memory", "in-memory")


class SequenceDatasetIterator(ColumnsDatasetIterator[tuple[Any, Any, Any]]):
    """Sequences or arrays in memory, one for the samples, one for the targets, one for the tags.

    Args:
        samples: a sequence, an array (its rows are the samples), or anything with ``to_numpy()``.
        targets: as many labels; without, every target is None.
        tags: as many tags, or one word for all; without, every tag is ``meta.tag``.
        meta: what is known about it.

    The sequences are kept, not copied: don't change them. Samples that are arrays are handed out as copies.

    Examples:
        >>> iterator = SequenceDatasetIterator(["wren.png", "owl.png"], [1, 0], tags="train")
        >>> iterator[0]
        ('wren.png', 1, 'train')
    """

    def __init__(
        self,
        samples: Sequence[Any] | np.ndarray[Any, Any],
        targets: Sequence[Any] | np.ndarray[Any, Any] | None = None,
        tags: Sequence[Any] | np.ndarray[Any, Any] | str | None = None,
        *,
        meta: DatasetMeta = _IN_MEMORY,
    ) -> None:
        check_triple(meta)
        first = _column("samples", samples)
        length = len(first)
        named: dict[str, Column] = {"samples": first}
        named["targets"] = ConstantColumn(None, length) if targets is None else _column("targets", targets)
        if tags is None or isinstance(tags, str):
            named["tags"] = ConstantColumn(meta.tag if tags is None else tags, length)
        else:
            named["tags"] = _column("tags", tags)
        for name, column in named.items():
            if len(column) != length:
                raise ValueError(f"there are {length} samples but {len(column)} {name}")
        placed = sorted(zip(meta.positions, named.values(), strict=True), key=lambda pair: pair[0])
        super().__init__(meta, [column for _, column in placed], length)


def _column(name: str, values: Any) -> Column:
    if hasattr(values, "to_numpy"):  # a pandas Series would take an index for one of its own labels
        values = values.to_numpy()
    if type(values) in (np.ndarray, np.memmap):
        if values.ndim == 0:
            raise TypeError(f"{name} must have one row for each sample; this array is a single value")
        return ArrayColumn(values)
    indexable = hasattr(values, "__getitem__") and hasattr(values, "__len__")
    if not indexable or isinstance(values, (str, bytes, bytearray, dict)):
        raise TypeError(f"{name} must be a sequence or an array, not {type(values).__name__}")
    return SequenceColumn(values)
