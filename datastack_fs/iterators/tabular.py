"""Tables as iterators: rows with named columns, of which some are the sample, the target and the tag."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError, MissingDependencyError
from datastack_fs.iterators.columnar import (
    ColumnarDatasetIterator,
    Names,
    check_triple,
    contents_of,
    labels_at,
    names_in,
    triple,
)
from datastack_fs.iterators.indices import IndexArray, Indices, as_indices
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan

if TYPE_CHECKING:
    import pandas as pd

TARGET_NAMES: Final = ("targets", "labels", "target", "label", "y", "Y")
"""Columns that are taken for the target where a caller names neither sample nor target."""

_NUMBER_KINDS = frozenset("biuf")
_MOST_LISTED = 20
_VECTOR = "\0vector"  # no column is called that


class TabularDatasetIterator(ColumnarDatasetIterator):
    """Rows of a table as (sample, target, tag). A kind of table writes ``__len__`` and ``_read_columns``.

    Args:
        column_names: the columns of the table, in order.
        meta: what is known about it.
        sample: a column; several, which make a tuple; or a mapping of new names to columns, which makes a mapping.
            Without, a mapping of all columns but target and tag.
        target: the same for the target. Without sample and target, the target is the first of the columns ``targets
            labels target label y Y`` that there is; with ``sample`` alone, every target is None.
        tag: the same for the tag; without, every tag is that of ``meta``.
        vector: give the columns of a sample, which must be numbers, as one array of shape ``(columns,)``.

    Raises:
        DatasetNotFoundError: there is no column of that name, or none is left for the sample; the message lists those
            that there are.
    """

    def __init__(
        self,
        column_names: Sequence[str],
        meta: DatasetMeta,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        vector: bool = False,
    ) -> None:
        super().__init__(meta)
        check_triple(meta)
        self._column_names = tuple(column_names)
        repeated = sorted({name for name in self._column_names if self._column_names.count(name) > 1})
        if repeated:
            raise DatasetFileCorruptError(f"{meta.identifier} has several columns {', '.join(map(repr, repeated))}")
        if sample is None and target is None:
            target = next((name for name in TARGET_NAMES if name in self._column_names), None)
        for name in (*names_in(sample), *names_in(target), *names_in(tag)):
            if name not in self._column_names:
                raise DatasetNotFoundError(f"no column {name!r} in {meta.identifier}; it has {self._listing()}")
        if sample is None:
            taken = {*names_in(target), *names_in(tag)}
            sample = {name: name for name in self._column_names if name not in taken}
            if not sample:
                raise DatasetNotFoundError(
                    f"no column of {meta.identifier} is left for the sample: it has {self._listing()}, and target and "
                    "tag take these; say sample=… (with it alone, there is no target)"
                )
        self._names: tuple[Names | None, ...] = (sample, target, tag)
        self._vector = vector

    @abstractmethod
    def _read_columns(self, names: Sequence[str], indices: IndexArray) -> Mapping[str, npt.NDArray[Any]]:
        """Reads some columns at checked indices, as new arrays; there may be no index, and no name."""

    def _plan_columns(self, names: Sequence[str], indices: IndexArray) -> Plan[Mapping[str, npt.NDArray[Any]]]:
        """What ``_read_columns`` would fetch, and the columns made of that; this default knows nothing of it."""
        return Plan.unfetched(lambda: self._read_columns(names, indices), is_known=False)

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns of the table, in order."""
        return self._column_names

    def to_pandas(self, indices: Indices | None = None) -> pd.DataFrame:
        """The table, or some of its rows, as a pandas frame with all its columns.

        A column whose values are arrays becomes one of objects, since a frame has columns of single values.

        Args:
            indices: which rows; by default all.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            reason = "to_pandas() needs pandas: pip install 'datastack-fs[parquet]'"
            raise MissingDependencyError(reason, name="pandas") from error
        wanted = np.arange(len(self), dtype=np.int64) if indices is None else as_indices(indices, len(self))
        columns = self._read_columns(self._column_names, wanted)
        flat = {name: column if column.ndim == 1 else list(column) for name, column in columns.items()}
        return pd.DataFrame(flat, columns=list(self._column_names), index=pd.RangeIndex(len(wanted)))

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return self._arranged(self._read_columns(self._wanted(), indices), len(indices))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        return self._plan_columns(self._wanted(), indices).then(lambda columns: self._arranged(columns, len(indices)))

    def _wanted(self) -> list[str]:
        return list(dict.fromkeys(name for each in self._names for name in names_in(each)))

    def _arranged(self, columns: Mapping[str, npt.NDArray[Any]], length: int) -> tuple[Any, ...]:
        if not self._vector:
            return triple(self.meta, self._names, columns, length)
        vectors = {**columns, _VECTOR: self._vectors(columns)}
        return triple(self.meta, (_VECTOR, *self._names[1:]), vectors, length)

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return labels_at(self._names[1], None, indices, self._read_columns)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return labels_at(self._names[2], self.meta.tag, indices, self._read_columns)

    def _contents(self) -> tuple[str | None, ...] | None:
        return contents_of(self.meta, self._names, {})

    def _vectors(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        names = names_in(self._names[0])
        for name in names:
            if columns[name].dtype.kind not in _NUMBER_KINDS or columns[name].ndim != 1:
                raise DatasetFileCorruptError(
                    f"column {name!r} of {self.meta.identifier} holds no plain numbers, so it is no part of a vector: "
                    "name the columns that do by sample=[…]"
                )
        return np.stack([columns[name] for name in names], axis=1)

    def _listing(self) -> str:
        shown = ", ".join(map(repr, self._column_names[:_MOST_LISTED])) or "none"
        more = len(self._column_names) - _MOST_LISTED
        return shown + (f" and {more} more" if more > 0 else "")
