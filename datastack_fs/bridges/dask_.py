"""dask: tables read as data frames, partition by partition."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.bridges.cuts import cuts
from datastack_fs.bridges.named_columns import named_columns
from datastack_fs.errors import MissingDependencyError
from datastack_fs.iterators.base import check_iterator

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd

    from datastack_fs.iterators.base import DatasetIterator

PARTITION_BYTES: Final = 64 << 20
"""About so large is a partition."""

_FIRST: Final = 100


def to_dask(iterator: DatasetIterator[Any], *, partitions: int | None = None) -> dask.dataframe.DataFrame:
    """The samples of an iterator over a table as a ``dask.dataframe``, read when it is computed, where that happens.

    Columns are those of samples that are mappings by their keys, and ``target`` and ``tag``; a sample that is a vector
    gives a column for each of its values, called by ``meta.feature_names`` or ``sample.0``, ``sample.1``, …. Partitions
    end where row groups and chunks do; the index counts the samples. The first samples are read at once, for the types.

    Args:
        iterator: any stack whose samples are made of single values.
        partitions: how many; by default one for about 64 MiB.

    Raises:
        MissingDependencyError: dask is not installed.
        TypeError: a column holds arrays.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> birds = SequenceDatasetIterator([{"grams": 480.0}, {"grams": 9.0}], ["owl", "wren"])
        >>> to_dask(birds).compute()  # doctest: +SKIP
           grams target
        0  480.0    owl
        1    9.0   wren
    """
    check_iterator(iterator)
    try:
        import dask.dataframe
    except ModuleNotFoundError as error:
        raise MissingDependencyError("to_dask() needs dask: pip install 'datastack-fs[dask]'", name="dask") from error
    if not len(iterator):
        raise ValueError(f"{iterator.meta.identifier} has no samples: a data frame has the types of the first")
    first = _frame(range(min(_FIRST, len(iterator))), iterator)
    bytes_each = int(first.memory_usage(deep=True, index=False).sum()) // len(first)
    count = partitions or -(-len(iterator) * bytes_each // PARTITION_BYTES)
    runs = cuts(iterator, count)
    divisions = (*(run.start for run in runs), len(iterator) - 1)
    read = partial(_frame, iterator=iterator, names=tuple(first.columns))
    return dask.dataframe.from_map(read, runs, meta=first.iloc[:0], divisions=divisions)


def _frame(run: range, iterator: DatasetIterator[Any], names: tuple[str, ...] | None = None) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, column in named_columns(iterator.take(run), iterator.meta).items():
        if column.ndim == 1:
            columns[name] = column
        elif column.ndim == 2 and name == "sample":
            features = iterator.meta.feature_names or [f"sample.{place}" for place in range(column.shape[1])]
            columns.update(zip(features, column.T, strict=True))
        else:
            raise TypeError(f"column {name!r} holds arrays of shape {column.shape[1:]}: to_dask() is for tables")
    frame = pd.DataFrame(columns, index=pd.RangeIndex(run.start, run.stop))
    return frame if names is None else frame.reindex(columns=list(names))
