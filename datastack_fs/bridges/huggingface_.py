"""Hugging Face datasets: iterators read as streams of Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.bridges.cuts import cuts
from datastack_fs.bridges.named_columns import named_columns
from datastack_fs.errors import MissingDependencyError
from datastack_fs.iterators.base import check_iterator

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from datastack_fs.iterators.base import DatasetIterator

SHARDS: Final = 64
"""So many shards by default: as many workers can share a dataset."""

_TABLE_BYTES: Final = 8 << 20
_MOST_AXES: Final = 5


def to_hf(iterator: DatasetIterator[Any], *, shards: int = SHARDS) -> datasets.IterableDataset:
    """The samples of an iterator as a ``datasets.IterableDataset``, read from the store as it is passed through.

    Nothing is copied to a cache of its own. Shards end where chunks and row groups do; the workers of a DataLoader, and
    ranks by ``split_dataset_by_node``, share them. Targets whose classes have names are ``ClassLabel``; arrays of two
    to five axes are ``Array2D`` to ``Array5D``, vectors lists of that length. Columns are ``sample``, ``target`` and
    ``tag``, or the keys of samples that are mappings. The first samples are read at once, for the types.

    Args:
        iterator: any stack whose samples all have the same types and shapes.
        shards: at most so many.

    Raises:
        MissingDependencyError: ``datasets`` is not installed.
        TypeError: a column holds values of no common type and shape.

    Examples:
        >>> import datastack_fs
        >>> digits = datastack_fs.load_dataset("digits", storage="memory://hf-example")
        >>> to_hf(digits).features["target"].names[:2]  # doctest: +SKIP
        ['0', '1']
    """
    check_iterator(iterator)
    try:
        import datasets
        from datasets.iterable_dataset import ArrowExamplesIterable
    except ModuleNotFoundError as error:
        reason = "to_hf() needs datasets: pip install 'datastack-fs[hf]'"
        raise MissingDependencyError(reason, name="datasets") from error
    if not len(iterator):
        raise ValueError(f"{iterator.meta.identifier} has no samples: features have the types of the first")
    first = named_columns(iterator.take([0]), iterator.meta)
    features = datasets.Features({name: _feature(name, column, iterator) for name, column in first.items()})
    rows = max(1, _TABLE_BYTES // max(1, sum(column.nbytes for column in first.values())))
    runs = [(run.start, run.stop) for run in cuts(iterator, shards)]
    examples = ArrowExamplesIterable(_tables, {"iterator": iterator, "runs": runs, "rows": rows, "features": features})
    return datasets.IterableDataset(examples, datasets.DatasetInfo(features=features))


def _feature(name: str, column: npt.NDArray[Any], iterator: DatasetIterator[Any]) -> Any:
    import datasets

    classes = iterator.meta.class_names
    if name == "target" and classes and column.ndim == 1 and column.dtype.kind in "iu":
        return datasets.ClassLabel(names=list(classes))
    if column.dtype.kind == "U" or (column.dtype.hasobject and isinstance(column[0], str)):
        return datasets.Value("string")
    if column.dtype.hasobject or column.dtype.kind not in "biuf" or column.ndim > _MOST_AXES + 1:
        raise TypeError(
            f"column {name!r} holds {type(column[0]).__name__} ({column.dtype}): to_hf() has no feature for it"
        )
    kind = column.dtype.name
    if column.ndim == 1:
        return datasets.Value(kind)
    if column.ndim == 2:
        return datasets.List(datasets.Value(kind), length=column.shape[1])
    return getattr(datasets, f"Array{column.ndim - 1}D")(column.shape[1:], kind)


def _tables(
    iterator: DatasetIterator[Any], runs: list[tuple[int, int]], rows: int, features: datasets.Features
) -> Iterator[tuple[str, pa.Table]]:
    for start, stop in runs:
        for number, columns in enumerate(iterator.batches(rows, range(start, stop), prefetch=2)):
            yield f"{start}_{number}", _table(named_columns(columns, iterator.meta), features)


def _table(columns: dict[str, npt.NDArray[Any]], features: datasets.Features) -> pa.Table:
    import pyarrow as pa

    schema = features.arrow_schema
    arrays = []
    for field in schema:
        column = columns[field.name]
        if isinstance(field.type, pa.BaseExtensionType):
            storage = _nested(column, field.type.storage_type)
            arrays.append(pa.ExtensionArray.from_storage(field.type, storage))
        elif column.ndim == 2:
            flat = pa.array(column.reshape(-1), field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, column.shape[1]).cast(field.type))
        else:
            arrays.append(pa.array(column, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _nested(column: npt.NDArray[Any], kind: Any) -> pa.Array:
    """An array of several axes as lists of lists, without a Python object for each."""
    import pyarrow as pa

    values = pa.array(column.reshape(-1))
    for axis in range(column.ndim - 1, 0, -1):
        count = int(np.prod(column.shape[:axis], dtype=np.int64))
        offsets = np.arange(count + 1, dtype=np.int32) * column.shape[axis]
        values = pa.ListArray.from_arrays(offsets, values)
    return values.cast(kind)
