"""A ``.npy`` file in any store as samples: its first axis counts them, and each is read by exact byte ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatastackError
from datastack_fs.formats.stored_array import StoredArray
from datastack_fs.iterators.base import DatasetMeta
from datastack_fs.iterators.columns import ArrayColumn, Column, ColumnsDatasetIterator, ConstantColumn
from datastack_fs.resource import StreamedResource

_HEADER_READERS: Final = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


class NpyDatasetIterator(ColumnsDatasetIterator[tuple[Any, Any, Any]]):
    """The rows of a ``.npy`` file as samples, with labels from a second file or an array.

    A batch is one request for exactly its rows (nearby ones joined); a file of this machine is mapped into memory
    instead. Nothing is ever unpickled: arrays of objects are refused.

    Args:
        resource: the file of the samples. It may be closed afterwards.
        targets: as many labels: another such file, or an array; without, every target is None.
        meta: what is known about it; its tag is the tag of every sample.

    Raises:
        DatasetFileCorruptError: it is no whole ``.npy`` file, or one that rows can't be read from.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("npy-example"), io.BytesIO()
        >>> np.save(file, np.arange(6).reshape(3, 2))
        >>> info = connector.set_resource("pairs.npy", file.getvalue())
        >>> iterator = NpyDatasetIterator(connector.get_resource("pairs.npy"), targets=[0, 1, 0])
        >>> pair, target, tag = iterator[1]
        >>> pair.tolist(), int(target), tag
        ([2, 3], 1, None)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        targets: StreamedResource | Sequence[Any] | npt.NDArray[Any] | None = None,
        meta: DatasetMeta | None = None,
    ) -> None:
        meta = meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).stem)
        if sorted(meta.positions) != [0, 1, 2]:
            raise ValueError(f"positions {meta.positions}: samples here are (sample, target, tag), in any order")
        samples = NpyColumn(resource)
        length = len(samples)
        columns = [samples, _target_column(targets, length), ConstantColumn(meta.tag, length)]
        if len(columns[1]) != length:
            raise ValueError(f"{resource.identifier} has {length} rows, but there are {len(columns[1])} targets")
        placed = sorted(zip(meta.positions, columns, strict=True), key=lambda pair: pair[0])
        super().__init__(meta, [column for _, column in placed], length)


class NpyColumn(StoredArray):
    """The rows of the array in a ``.npy`` file, as a column; it pickles as the file's address and version."""

    def __init__(self, resource: StreamedResource) -> None:
        super().__init__(resource, *_read_header(resource))


def _target_column(targets: Any, length: int) -> Column:
    if targets is None:
        return ConstantColumn(None, length)
    if isinstance(targets, StreamedResource):
        return NpyColumn(targets)
    array = np.asarray(targets)
    if array.ndim == 0:
        raise TypeError("targets must be a .npy resource or an array with one label for each row")
    return ArrayColumn(array)


def _read_header(resource: StreamedResource) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and the place of the first byte of data, checked against the size of the file."""
    what = f"{resource.identifier} in {resource.connector.url}"
    resource.seek(0)
    try:
        version = npy_format.read_magic(resource)
        if version not in _HEADER_READERS:
            raise ValueError(f"format version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
        shape, fortran_order, dtype = _HEADER_READERS[version](resource)
    except DatastackError:
        raise
    except Exception as error:  # the translating edge: numpy's parser raises whatever a broken header leads to
        raise DatasetFileCorruptError(f"{what} is not a .npy file that can be read: {error}") from error
    offset = resource.tell()
    if dtype.hasobject:
        raise DatasetFileCorruptError(f"{what} holds Python objects ({dtype}): reading them would run code from data")
    if not shape:
        raise DatasetFileCorruptError(f"{what} holds a single value: there is no first axis to count samples by")
    if min(shape) < 0:
        raise DatasetFileCorruptError(f"{what} has a header with the shape {shape}")
    if fortran_order and len(shape) > 1:
        raise DatasetFileCorruptError(
            f"{what} is in Fortran order, so its rows are scattered over the file; np.save(path, "
            "np.ascontiguousarray(array)) writes one that can be read by rows"
        )
    expected = offset + math.prod(shape) * dtype.itemsize
    if resource.size != expected:
        raise DatasetFileCorruptError(
            f"{what} has {resource.size:,} bytes, and its header ({dtype}, shape {shape}) promises {expected:,}"
        )
    return shape, dtype, offset
