"""Samples that are in memory, kept by position: all samples, all targets, all tags."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.columnar import constant
from datastack_fs.iterators.contents import described, element_type
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import as_column, label_array
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan, joint
from datastack_fs.iterators.stacking import SampleT_co

RowType: TypeAlias = tuple[np.dtype[Any], tuple[int, ...]]
"""Type and shape of a row."""

_IN_MEMORY = frozenset({list, tuple, range})


class Column(ABC):
    """One position of all samples.

    Arrays are handed out as copies, so that a caller who changes one in place changes only their own.

    Attributes:
        keeps_types: whether ``value`` gives just what stands in the row of ``column``, also its type.
        row_type: type and shape of the rows of ``column``, where it is always one array of the same.
    """

    keeps_types: bool = False
    row_type: RowType | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many values there are."""

    @abstractmethod
    def value(self, index: int) -> Any:
        """The value at a checked index."""

    @abstractmethod
    def values(self, indices: IndexArray) -> Sequence[Any]:
        """The values at checked indices."""

    def labels(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The values at checked indices, as an array."""
        return label_array(self.values(indices))

    def column(self, indices: IndexArray) -> Any:
        """The values at checked indices, as a column (see ``as_column``)."""
        return as_column(self.values(indices))

    def plan(self, indices: IndexArray) -> Plan[Any]:
        """What ``column`` would fetch, and the column made of that."""
        return Plan.unfetched(lambda: self.column(indices))

    def is_planned(self) -> bool:
        """Whether ``plan`` has something to fetch."""
        return False

    def blocks(self) -> Blocks | None:
        """Which values are fetched together; None if each is by itself."""
        return None

    def contents(self) -> str | None:
        """What a value is, in words, where that is known without reading one."""
        return None


class ArrayColumn(Column):
    """The rows of an array.

    Examples:
        >>> column = ArrayColumn(np.arange(6).reshape(3, 2))
        >>> column.value(2).tolist(), [row.tolist() for row in column.values(np.array([1, 0]))]
        ([4, 5], [[2, 3], [0, 1]])
    """

    keeps_types = True

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = np.asarray(array)  # of a memory map, whose rows would be memory maps, too
        self._holds_values = array.ndim == 1 and not array.dtype.hasobject and array.dtype.kind != "V"
        self._holds_rows = array.ndim > 1
        self.row_type = array.dtype, array.shape[1:]

    def __len__(self) -> int:
        return len(self._array)

    def value(self, index: int) -> Any:
        """A copy of one row."""
        value = self._array[index]
        if self._holds_values:
            return value
        return value.copy() if self._holds_rows else own(value)

    def values(self, indices: IndexArray) -> Sequence[Any]:
        """Rows of one new block: a single gather, not one copy for each."""
        rows = list(self.labels(indices))
        return [own(row) for row in rows] if self._array.dtype.hasobject else rows

    def labels(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows as they are, in the array's own type."""
        return rows_at(self._array, indices)

    def column(self, indices: IndexArray) -> Any:
        """The rows as one new array."""
        return rows_at(self._array, indices)

    def contents(self) -> str | None:
        """Type and shape of a row."""
        if self._array.dtype.hasobject:
            return described(self._array[0]) if len(self._array) else None
        return element_type(self._array.dtype, self._array.shape[1:])


class SequenceColumn(Column):
    """The values of a list, or of anything with length and index.

    Examples:
        >>> SequenceColumn(["a", "b", "c"]).values(np.array([2, 0]))
        ['c', 'a']
    """

    def __init__(self, sequence: Sequence[Any]) -> None:
        self._sequence = sequence

    def __len__(self) -> int:
        return len(self._sequence)

    def value(self, index: int) -> Any:
        """The very object, or a copy of an array."""
        return own(self._sequence[index])

    def values(self, indices: IndexArray) -> Sequence[Any]:
        """The very objects, or copies of arrays."""
        return [own(self._sequence[index]) for index in indices.tolist()]

    def labels(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The values as an array; a tensor knows its own way to be one."""
        if hasattr(self._sequence, "__array__"):
            return np.asarray(np.asarray(self._sequence)[indices])
        return super().labels(indices)

    def contents(self) -> str | None:
        """What the first value of a list is; another sequence may have to read it."""
        return described(self._sequence[0]) if type(self._sequence) in _IN_MEMORY and len(self) else None


class ConstantColumn(Column):
    """One value for all samples.

    Attributes:
        constant: the value.

    Examples:
        >>> ConstantColumn("train", length=1000).values(np.array([999, 0]))
        ['train', 'train']
    """

    keeps_types = True

    def __init__(self, constant: Any, length: int) -> None:
        self.constant = constant
        self._length = length

    def __len__(self) -> int:
        return self._length

    def value(self, index: int) -> Any:
        """The one value."""
        return self.constant

    def values(self, indices: IndexArray) -> Sequence[Any]:
        """The one value, as often as asked."""
        return [self.constant] * len(indices)

    def column(self, indices: IndexArray) -> Any:
        """An array of the one object."""
        return constant(self.constant, len(indices))

    def contents(self) -> str | None:
        """What the value is, if there is one."""
        return None if self.constant is None else described(self.constant)


class PartedColumn(Column):
    """Mappings or tuples of what stands in several columns.

    Examples:
        >>> column = PartedColumn(dict, {"x": ArrayColumn(np.array([1, 2]))}, length=2)
        >>> column.value(1), column.column(np.array([1, 0]))
        ({'x': np.int64(2)}, {'x': array([2, 1])})
    """

    def __init__(self, kind: type, parts: Mapping[Any, Column], length: int) -> None:
        self._kind = kind
        self._parts = dict(parts)
        self._length = length
        self.keeps_types = all(part.keeps_types for part in self._parts.values())

    def __len__(self) -> int:
        return self._length

    def value(self, index: int) -> Any:
        """A new mapping or tuple of values."""
        return self._joined({key: part.value(index) for key, part in self._parts.items()})

    def values(self, indices: IndexArray) -> Sequence[Any]:
        """As many new mappings or tuples."""
        rows = zip(*[part.values(indices) for part in self._parts.values()], strict=True)
        return list(rows) if self._kind is tuple else [dict(zip(self._parts, row, strict=True)) for row in rows]

    def column(self, indices: IndexArray) -> Any:
        """A mapping or tuple of columns."""
        return self._joined({key: part.column(indices) for key, part in self._parts.items()})

    def plan(self, indices: IndexArray) -> Plan[Any]:
        """The plans of the parts, put together."""
        plans = [part.plan(indices) for part in self._parts.values()]
        return joint(plans, lambda columns: self._joined(dict(zip(self._parts, columns, strict=True))))

    def is_planned(self) -> bool:
        """Whether any part has something to fetch."""
        return any(part.is_planned() for part in self._parts.values())

    def blocks(self) -> Blocks | None:
        """Those of the first part that has any."""
        return next((found for part in self._parts.values() if (found := part.blocks()) is not None), None)

    def _joined(self, parts: dict[Any, Any]) -> Any:
        return tuple(parts.values()) if self._kind is tuple else parts


class ColumnsDatasetIterator(DatasetIterator[SampleT_co]):
    """Samples put together from columns of equal length; ``make_sample`` for those that aren't plain tuples."""

    def __init__(
        self,
        meta: DatasetMeta,
        columns: Iterable[Column],
        length: int,
        make_sample: Callable[[Iterable[Any]], SampleT_co] | None = None,
    ) -> None:
        super().__init__(meta)
        self._columns = tuple(columns)
        self._length = length
        self._make_sample: Callable[[Iterable[Any]], Any] = make_sample or tuple

    def __len__(self) -> int:
        return self._length

    def _sample(self, index: int) -> SampleT_co:
        values = []
        for column in self._columns:  # before Python 3.12 a comprehension costs as much as two of these calls
            values.append(column.value(index))
        sample: SampleT_co = self._make_sample(values)
        return sample

    def _samples(self, indices: IndexArray) -> list[SampleT_co]:
        columns = [column.values(indices) for column in self._columns]
        return list(map(self._make_sample, zip(*columns, strict=True)))  # tuple(a tuple) is that tuple: no copy

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        if self._is_plain():
            return tuple(column.column(indices) for column in self._columns)
        return super()._take(indices)

    def plain_columns(self) -> tuple[Column, ...]:
        """The columns that ``take`` gives rows of; none if a subclass makes its own of them."""
        return self._columns if self._is_plain() and type(self)._take is ColumnsDatasetIterator._take else ()

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        return joint([column.plan(indices) for column in self._columns], tuple)

    def _is_planned(self) -> bool:
        return self._is_plain() and any(column.is_planned() for column in self._columns)

    def _blocks(self) -> Blocks | None:
        return self._columns[self.meta.sample_pos].blocks() if self._is_plain() else None

    def _is_columnar(self) -> bool:
        plain = self._is_plain() and self._make_sample is tuple
        return plain and all(column.keeps_types for column in self._columns)

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._columns[self.meta.target_pos].labels(indices)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._columns[self.meta.tag_pos].labels(indices) if self._is_plain() else super()._tags(indices)

    def _contents(self) -> tuple[str | None, ...] | None:
        return tuple(column.contents() for column in self._columns) if self._is_plain() else None

    def _is_plain(self) -> bool:
        """Whether samples are nothing but the columns: a subclass that reads in its own way must not be passed over."""
        return type(self)._samples is ColumnsDatasetIterator._samples


def rows_at(array: npt.NDArray[Any], indices: IndexArray) -> npt.NDArray[Any]:
    """Returns rows of an array as a new one.

    Examples:
        >>> rows_at(np.array([5, 6, 7]), np.array([2, 0]))
        array([7, 5])
    """
    # Of rows that lie one after the other, numpy's take is twice as quick as its index; others it would copy first.
    flags = array.flags
    return array.take(indices, axis=0) if flags.c_contiguous and flags.aligned else array[indices]


def own(value: Any) -> Any:
    """Returns an array as a copy, and anything else as it is."""
    return value.copy() if isinstance(value, (np.ndarray, np.void)) else value
