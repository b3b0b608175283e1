"""Rows of an array that lies unpacked in a resource: one request for a batch, or a memory map of a local file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.local import PinnedFile
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.columns import Column, own, rows_at
from datastack_fs.iterators.contents import element_type
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.planning import ByteRanges, Plan
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Content, Range, ResourceInfo, ResourceOpener, StreamedResource

_LARGEST: Final = 1 << 62


class StoredArray(Column):
    """The rows of one array in a resource, as a column; it pickles as the resource's address and version.

    Args:
        resource: where it lies. It may be closed afterwards.
        shape: of the array, in C order; the first axis counts the rows.
        dtype: of its elements, byte order included.
        offset: where its first byte is.

    Raises:
        DatasetFileCorruptError: the resource ends before the array does.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("stored-array-example")
        >>> info = connector.set_resource("raw", bytes(range(8)))
        >>> rows = StoredArray(connector.get_resource("raw"), (3, 2), np.dtype(np.uint8), offset=2)
        >>> rows.labels(np.array([2, 0])).tolist()
        [[6, 7], [2, 3]]
    """

    keeps_types = True

    def __init__(self, resource: StreamedResource, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> None:
        self._connector: ResourceOpener = resource.connector
        self._info: ResourceInfo = resource.info
        self._shape, self._dtype, self._offset = shape, dtype, offset
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self._is_local = resource.local_path is not None
        self._map: _MappedArray | None = None
        end = offset + shape[0] * self._row_bytes
        if (
            math.prod(filter(None, shape)) * max(dtype.itemsize, 1) > _LARGEST
        ):  # a zero among them hides it from the end
            raise DatasetFileCorruptError(
                f"{resource.identifier} in {resource.connector.url}: no array has the shape {shape} of its header"
            )
        if end > resource.size:
            raise DatasetFileCorruptError(
                f"{resource.identifier} in {resource.connector.url} has {resource.size:,} bytes, and its header "
                f"({dtype}, shape {shape}) promises data up to byte {end:,}"
            )
        none = self._decoded(np.empty((0, *shape[1:]), dtype))
        self.row_type = none.dtype, none.shape[1:]

    def __len__(self) -> int:
        return self._shape[0]

    def value(self, index: int) -> Any:
        """One row, the caller's own."""
        return self.labels(np.array([index], dtype=np.int64))[0]

    def values(self, indices: IndexArray) -> Sequence[Any]:
        """Rows of one new block."""
        return list(self.labels(indices))

    def column(self, indices: IndexArray) -> Any:
        """The rows as one new array."""
        return self.labels(indices)

    def labels(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows as one new array."""
        if self._row_bytes == 0 or not len(indices):
            return self._decoded(np.empty((len(indices), *self._shape[1:]), dtype=self._dtype))
        if self._is_local:
            return self._decoded(self._mapped().take(indices))
        rows: npt.NDArray[Any] = self.plan(indices).read()
        return rows

    def contents(self) -> str | None:
        """Type and shape of a row."""
        return element_type(self._dtype, self._shape[1:])

    def plan(self, indices: IndexArray) -> Plan[Any]:
        """The bytes of the rows, neighbours together; nothing of a local file."""
        if not self.is_planned() or not len(indices):
            return super().plan(indices)
        batch = RowBatch(self._offset + indices * self._row_bytes, self._row_bytes)
        request = ByteRanges(self._connector, self._info.identifier, self._info, batch.ranges)
        shape = self._shape[1:]
        return Plan.of([request], lambda answers: self._decoded(batch.rows(answers[0], shape, self._dtype)))

    def is_planned(self) -> bool:
        """Whether the bytes are far away."""
        return not self._is_local and self._row_bytes > 0

    def blocks(self) -> Blocks | None:
        """About a megabyte of rows each, wherever the array lies."""
        return Blocks.of_bytes(len(self), self._row_bytes)

    def _decoded(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What is handed out for rows as they are stored."""
        return rows

    def _mapped(self) -> _MappedArray:
        if self._map is None:
            resource = self._connector.get_resource(self._info.identifier, info=self._info)
            self._map = _MappedArray(resource, self._shape, self._dtype, self._offset)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}


class RowBatch:
    """Which bytes of a resource a batch of rows needs, and the rows once the bytes are there.

    Args:
        addresses: where each row begins, in any order, with repeats.
        row_bytes: of each, not 0.

    Examples:
        >>> batch = RowBatch(np.array([16, 4, 8, 16]), 4)
        >>> batch.ranges, batch.rows([b"wrenowls", b"hoot"], (4,), np.dtype("S1"))[0].tobytes()
        ([(4, 12), (16, 20)], b'hoot')
    """

    def __init__(self, addresses: IndexArray, row_bytes: int) -> None:
        wanted, self._places = np.unique(addresses, return_inverse=True)
        self._count = len(wanted)
        ends = np.flatnonzero(np.diff(wanted) != row_bytes)
        starts, stops = wanted[np.append(0, ends + 1)], wanted[np.append(ends, len(wanted) - 1)] + row_bytes
        self.ranges: list[Range] = list(zip(starts.tolist(), stops.tolist(), strict=True))

    def rows(self, answers: Sequence[Content], shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The rows, each of that shape and type, in the order of their addresses, as a new array."""
        # One call puts hundreds of small rows together; taking them in their order copies once more, and is as quick.
        rows: npt.NDArray[Any] = np.ndarray((self._count, *shape), dtype, b"".join(answers))
        return rows.take(self._places, axis=0)


class LoadedArray(Column):
    """The rows of an array that must be unpacked as a whole: in each process when it is first read.

    Args:
        load: gives the array; it must pickle.
        length: how many rows there are.
        reason: why it is loaded, said as a warning in the process where that happens first.
    """

    keeps_types = True

    def __init__(self, load: Callable[[], npt.NDArray[Any]], length: int, reason: str) -> None:
        self._arrays = PerProcess(partial(_load, load, reason))
        self._length = length

    def __len__(self) -> int:
        return self._length

    def value(self, index: int) -> Any:
        """A copy of one row."""
        return own(self._arrays.get()[index])

    def values(self, indices: IndexArray) -> Sequence[Any]:
        """Rows of one new block."""
        return list(self.labels(indices))

    def labels(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows as one new array."""
        return rows_at(self._arrays.get(), indices)

    def column(self, indices: IndexArray) -> Any:
        """The rows as one new array."""
        return self.labels(indices)

    def plan(self, indices: IndexArray) -> Plan[Any]:
        """Nothing that is known: all of the file, in the process where it is first read."""
        return Plan.unfetched(lambda: self.labels(indices), is_known=False)


def _load(load: Callable[[], npt.NDArray[Any]], reason: str) -> npt.NDArray[Any]:
    warnings.warn(reason, stacklevel=2)
    return load()


class _MappedArray:
    """The array in a local file, mapped into memory."""

    def __init__(self, resource: StreamedResource, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> None:
        self._file = PinnedFile.of(resource)
        self._array = self._file.array(shape, dtype, offset)

    def take(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._file.take(self._array, indices)
